"""The parts of the arithmetic verifier: private to it."""
