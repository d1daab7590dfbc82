"""Readers of public data sets, a file a data set."""
