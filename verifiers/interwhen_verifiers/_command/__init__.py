"""The parts of the verifier ``command``: private to it."""
