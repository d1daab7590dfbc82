"""The private parts of the verifier ``command``. The verifier ``python`` also uses them, to run mypy."""
