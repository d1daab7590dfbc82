"""Errors of upstreams, counted and logged."""

from __future__ import annotations

from interwhen._log import log_warning
from interwhen.errors import ModelError
from interwhen.gateway.gateway import Gateway
from interwhen.gateway.problems import Problem, problem_of
from interwhen.gateway.wire import Upstream


def noted(gateway: Gateway, upstream: Upstream, error: ModelError) -> Problem:
    """Return *error* as a problem, once it is counted and logged."""
    problem = problem_of(error)
    gateway.meters.upstream_errors.labels(upstream.host, _kind(problem)).inc()
    log_warning("upstream.failed", upstream=upstream.host, error=type(error).__name__, status=problem.status)
    return problem


def _kind(problem: Problem) -> str:
    """Return a label for *problem*; an upstream's own codes are not ours to bound."""
    own = ("upstream_unreachable", "upstream_timeout", "upstream_protocol")
    return problem.code if problem.code in own else f"status_{problem.status}"
