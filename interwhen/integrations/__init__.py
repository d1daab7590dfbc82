"""Connects interwhen to other libraries. Each module imports its library only when it is used.

`langchain`, `pydantic_ai`, `openai_agents`, `smolagents` and `litellm` show what interwhen found in the place where the
library keeps such facts. Each of them has a function `supervise` (litellm: `attach_facts`). The facts are JSON values
under the key ``interwhen``; :func:`facts_of` makes them. (smolagents keeps the call itself there, and `facts_in`
returns its facts.) `ray` runs checks and batches of prompts on a cluster. See docs/integrations.md and docs/ray.md.
"""

from interwhen.integrations._facts import KEY, facts_of

__all__ = ["KEY", "facts_of"]
