"""The shipped producers of precomputed things, one module each; found through entry points."""
