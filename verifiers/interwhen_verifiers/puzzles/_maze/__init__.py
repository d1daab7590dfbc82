"""The private parts of the maze verifier."""
