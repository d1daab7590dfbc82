"""Reads JSON while it streams, and judges unfinished and complete documents by a schema."""
