"""Shared parts of the verifiers of tool calls: the calls, and the conversation before them with earlier results."""
