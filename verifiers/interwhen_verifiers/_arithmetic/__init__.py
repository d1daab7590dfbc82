"""The private parts of the arithmetic verifier."""
