"""The private parts of the zebralogic verifier."""
