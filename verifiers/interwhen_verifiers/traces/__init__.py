"""Readers of public data sets, as labelled traces."""
