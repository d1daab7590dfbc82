"""Checks on a Ray cluster. See docs/ray.md.

This package is imported without Ray; :class:`RayWorkers` imports Ray when it connects to a cluster (extra ``ray``).
"""

from interwhen.integrations.ray._workers import RayWorkers

__all__ = ["RayWorkers"]
