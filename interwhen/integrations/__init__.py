"""Connects interwhen to other libraries. See docs/integrations.md and docs/ray.md."""

from interwhen.integrations._facts import KEY, facts_of

__all__ = ["KEY", "facts_of"]
