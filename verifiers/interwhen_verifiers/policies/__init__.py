"""Policies that ship with interwhen, as rules for the verifier ``tool_policy``."""
