"""What the verifiers of code share: private to them."""
