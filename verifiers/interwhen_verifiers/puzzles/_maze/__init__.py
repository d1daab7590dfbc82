"""The parts of the maze verifier: private to it."""
