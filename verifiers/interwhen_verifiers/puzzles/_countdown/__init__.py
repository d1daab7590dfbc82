"""The parts of the countdown verifier: private to it."""
