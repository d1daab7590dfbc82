"""The recognizer that the puzzle verifiers share."""
