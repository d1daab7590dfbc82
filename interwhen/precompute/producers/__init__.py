"""The shipped producers of precomputed items, one module each. They are found through entry points."""
