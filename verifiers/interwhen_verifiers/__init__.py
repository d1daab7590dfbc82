"""The verifiers that ship with interwhen, a module for each domain, and readers of public data sets to try them on."""
