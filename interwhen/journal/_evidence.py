"""Checks a recorded result against its certificate and its hashes. No verifier runs."""

from __future__ import annotations

from collections.abc import Iterator

from interwhen._core.release import merge, passed
from interwhen._types.results import Certificate, CheckRecord, Result, Verified
from interwhen._types.segments import sha256

__all__ = ["flaws"]


def flaws(result: Result) -> tuple[str, ...]:
    """Return the contradictions between the text of *result*, its certificate and its checks.

    A contradiction usually means that somebody changed the record. A missing hash of a claim is not one.
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
        yield from _reasoning_flaws(result)


def _certificate_flaws(result: Verified) -> Iterator[str]:
    certificate = result.certificate
    yield from certificate_flaws(certificate, result.text)
    for check in certificate.checks:
        if check not in result.checks:
            yield f"its certificate lists a check of {check.monitor!r} that the result does not have"
    if result.finish_reason not in ("stop", "tool_calls"):
        yield f"it is verified, and its model stopped because of {result.finish_reason!r}"


def certificate_flaws(certificate: Certificate, text: str) -> Iterator[str]:
    if not certificate.matches(text):
        yield "its certificate is for another text"
    if not certificate.checks:
        yield "its certificate lists no check"
    for check in certificate.checks:
        yield from _check_flaws(check, text)
        if not passed(check.outcome):
            yield f"its certificate lists a check of {check.monitor!r} that is no pass"
    covered = merge(check.span for check in certificate.checks if check.span is not None)
    if covered != certificate.covered:
        yield "its certificate covers other text than its checks do"
    share = sum(map(len, covered)) / len(text) if text else 0.0
    if share != certificate.coverage:
        yield f"its certificate has a coverage of {certificate.coverage:.2f}, and its checks of {share:.2f}"


def _reasoning_flaws(result: Verified) -> Iterator[str]:
    certificate = result.certificate
    if certificate.hidden_reasoning != result.hidden_reasoning:
        yield "its certificate contradicts it about reasoning that the server did not send"
    if certificate.hidden_reasoning and certificate.scope != "answer":
        yield "its certificate covers steps, and the server did not send the reasoning"


def _check_flaws(check: CheckRecord, text: str) -> Iterator[str]:
    span = check.span
    if span is None:
        return
    if span.end > len(text):
        yield f"a check of {check.monitor!r} is at {span!r}, outside its text of {len(text)} characters"
    elif check.claim_sha256 and check.claim_sha256 != sha256(text[span.start : span.end]):
        yield f"a check of {check.monitor!r} at {span!r} judged other text than is there now"
