"""Makes the recognizers of four puzzle verifiers: countdown, logic, maze and spatialmap."""
