"""The private parts of the verifier ``python``."""
