"""The parts of the spatialmap verifier: private to it."""
