"""Readers of public data sets. Each function yields the labelled traces of a file, or of the folder with it."""
