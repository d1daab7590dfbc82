"""Shows what interwhen found in the place where other libraries keep such facts.

Each module is for one library, imports it only when it is used, and has a function `supervise` (litellm:
`attach_facts`): `langchain`, `pydantic_ai`, `openai_agents`, `smolagents` and `litellm`. The facts are JSON values
under the key ``interwhen``; :func:`facts_of` makes them. See docs/integrations.md.
"""

from interwhen.integrations._facts import KEY, facts_of

__all__ = ["KEY", "facts_of"]
