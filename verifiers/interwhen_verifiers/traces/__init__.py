"""Readers of public data sets, as labelled traces: one function a set."""
