"""Whether a recorded result is what its own certificate says: judged by its hashes, without any verifier."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interwhen._types.results import CheckRecord, Result, Verified, sha256
from interwhen._types.spans import Span
from interwhen._types.verdicts import Judged, Pass

__all__ = ["flaws"]


def flaws(result: Result) -> tuple[str, ...]:
    """Return what in *result* does not fit together; empty: nothing.

    A record that somebody changed, checksums and all, differs from its certificate, and its checks from its text.
    Hashes that a record of an earlier version lacks are not looked at.
    """
    return tuple(_flaws(result))


def _flaws(result: Result) -> Iterator[str]:
    for check in result.checks:
        yield from _check_flaws(check, result.text)
    for insertion in result.insertions:
        if insertion.span.end > len(result.text):
            yield f"an insertion at {insertion.span!r} lies outside its text of {len(result.text)} characters"
    if isinstance(result, Verified):
        yield from _certificate_flaws(result)


def _certificate_flaws(result: Verified) -> Iterator[str]:
    certificate = result.certificate
    if not certificate.matches(result.text):
        yield "its certificate is for another text"
    if not certificate.checks:
        yield "its certificate lists no check"
    for check in certificate.checks:
        yield from _check_flaws(check, result.text)
        if not (isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass)):
            yield f"its certificate lists a check of {check.monitor!r} that is no pass"
        if check not in result.checks:
            yield f"its certificate lists a check of {check.monitor!r} that the result does not have"
    covered = _merged([check.span for check in certificate.checks if check.span is not None])
    if covered != list(certificate.covered):
        yield "its certificate covers other text than its checks do"
    share = sum(map(len, covered)) / len(result.text) if result.text else 0.0
    if share != certificate.coverage:
        yield f"its certificate says a coverage of {certificate.coverage:.2f}, its checks have {share:.2f}"
    if result.finish_reason not in ("stop", "tool_calls"):
        yield f"it is verified, and its model stopped because of {result.finish_reason!r}"


def _check_flaws(check: CheckRecord, text: str) -> Iterator[str]:
    span = check.span
    if span is None:
        return
    if span.end > len(text):
        yield f"a check of {check.monitor!r} is about {span!r}, outside its text of {len(text)} characters"
    elif check.claim_sha256 and check.claim_sha256 != sha256(text[span.start : span.end]):
        yield f"a check of {check.monitor!r} at {span!r} judged other words than stand there"


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


# What a verifier's code is, as one hash: its version is a promise, and this is what it was when it judged.


def code_digest(verifier: Any) -> str:
    """Return the SHA-256 of the module file that *verifier*'s check is written in; empty where there is none.

    The whole file counts, since a check uses what stands beside it. What the module imports does not.
    """
    check = inspect.unwrap(getattr(verifier, "check", verifier))
    check = getattr(check, "func", check)  # of a partial
    module = getattr(check, "__module__", None) or type(verifier).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    return _of_file(file) if isinstance(file, str) else ""


@functools.lru_cache(maxsize=256)
def _of_file(file: str) -> str:
    try:
        import hashlib

        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""
