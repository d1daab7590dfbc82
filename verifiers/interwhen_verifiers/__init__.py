"""The domain verifiers that ship with interwhen, a file a domain."""
