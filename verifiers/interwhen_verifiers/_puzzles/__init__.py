"""What the puzzle verifiers share: private to them."""
