"""`interwhen bench`: what supervision costs and gains. `evaluation/` is `interwhen eval`."""
