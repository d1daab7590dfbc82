"""The parts of the logic verifier: private to it."""
