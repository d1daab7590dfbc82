"""Shared parts of the verifiers of tool calls."""
