"""Reads JSON while it streams, and judges unfinished documents by a schema."""
