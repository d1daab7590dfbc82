"""The private parts that the puzzle verifiers share."""
