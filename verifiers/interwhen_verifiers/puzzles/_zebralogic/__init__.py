"""The parts of the zebralogic verifier: private to it."""
