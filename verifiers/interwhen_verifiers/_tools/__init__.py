"""Shared parts of the verifiers of tool calls: the conversation before a call, with its results."""
