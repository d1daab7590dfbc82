"""What the verifiers of tool calls share: the conversation before a call, with its results."""
