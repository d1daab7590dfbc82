"""The contexts of the benchmark, in which it is known what is true, and the monitor that knows it."""

from tests.benchmarks.precompute_world import MistakeRates, sources

__all__ = ["MistakeRates", "sources"]
