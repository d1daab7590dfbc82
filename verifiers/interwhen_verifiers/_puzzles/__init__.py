"""The parts of the verifier `puzzles`: private to it."""
