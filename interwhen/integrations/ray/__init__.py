"""Checks and batches of prompts on a Ray cluster. See docs/ray.md.

Importing this package does not import Ray.
"""

from interwhen.integrations.ray._batches import map_batches
from interwhen.integrations.ray._workers import RayWorkers

__all__ = ["RayWorkers", "map_batches"]
