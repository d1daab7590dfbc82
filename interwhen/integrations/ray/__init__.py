"""Checks and batches of prompts on a Ray cluster. See docs/ray.md.

This package is imported without Ray; :class:`RayWorkers` imports Ray when it connects to a cluster (extra ``ray``).
"""

from interwhen.integrations.ray._batches import map_batches
from interwhen.integrations.ray._workers import RayWorkers

__all__ = ["RayWorkers", "map_batches"]
