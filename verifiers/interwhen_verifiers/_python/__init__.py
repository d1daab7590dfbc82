"""The parts of the verifier ``python``: private to it."""
