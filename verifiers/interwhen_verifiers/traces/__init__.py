"""Readers of public data sets. Each set has one function, which yields labelled traces."""
