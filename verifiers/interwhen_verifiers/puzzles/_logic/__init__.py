"""The private parts of the logic verifier."""
