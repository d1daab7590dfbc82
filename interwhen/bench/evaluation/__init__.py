"""``interwhen eval``: many prompts, several servers, and results that survive a kill.

docs/scale.md says when to use it.
"""
