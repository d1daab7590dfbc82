"""The domain verifiers that ship with interwhen, one file for each domain."""
