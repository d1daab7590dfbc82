"""The private parts of the countdown verifier."""
