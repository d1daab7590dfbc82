"""The compact form of a timeline: JSON for browsers, made of what a scribe has recorded, whole or in parts.

docs/journal.md describes it. A redacted journal stores these parts in place of text and facts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from interwhen._types.models import Usage
from interwhen._types.results import Verified
from interwhen._types.segments import Span, sha256
from interwhen._types.verdicts import Cancelled, Errored, Judged, Outcome, Pass, Skipped, TimedOut, Unknown, Violation
from interwhen.journal._files import SCHEMA
from interwhen.journal._records import Header
from interwhen.journal._scribe import UPSERTED, Scribe

VERSION = 2
"""The version of the compact form."""

OutcomeName = Literal["pass", "violation", "unknown", "error", "timed_out", "cancelled", "skipped"]


@dataclass(slots=True)
class PartMark:
    """Stores how much of a timeline was already returned as parts. Times are in microseconds.

    Each consumer of one timeline needs a mark of its own.
    """

    begun: bool = False
    """Whether the first part, which has the settings of the run, was returned."""
    offset: int = 0
    """The end of the last part in the journal, in bytes."""
    restarts: int = 0
    """How often the timeline had begun again when the last part was made."""
    outlines: int = 0
    """How many parts of a redacted journal were returned."""
    changes: int = 0
    """How many changes of entries the timeline had when the last part was made."""
    entries: int = 0
    numbers: int = 0
    styles: int = 0
    cuts: int = 0
    frontier: int = 0
    shown: int = 0
    time: int = 0
    frontier_time: int = 0
    shown_time: int = 0


class CompactForm:
    """Makes the compact form of what *scribe* has recorded: :meth:`whole` at once, or :meth:`part` by part.

    If the journal is redacted, the form contains no prompt, text, keys of claims and reasons of verdicts.
    """

    def __init__(self, scribe: Scribe, keyed: Callable[[str], str] = str) -> None:
        self._scribe = scribe
        self._keyed = keyed
        """Makes of each hash the one that is stored."""
        self._redacted = scribe.header.redacted
        self._mark = PartMark()

    def whole(self, path: str, size: int, left_out: int = 0) -> dict[str, Any]:
        """Return the compact form of the whole timeline up to now, as an object for JSON.

        *left_out* is how many bytes at the end of the journal could not be read.
        """
        found = {"version": VERSION, **self._head(path), **self._columns(PartMark())}
        for name in UPSERTED:
            if rows := [self._row(name, number) for number in range(len(self._scribe.entries(name)))]:
                found[name] = rows
        found.update(self._state(size, left_out))
        return found

    def part(self, path: str, mark: PartMark | None = None) -> dict[str, Any]:
        """Return what is new or changed in the compact form since *mark*, as an object for JSON. Move *mark* to now.

        Without *mark*, that of this object is used. Only the first part after a new mark has the settings of the run.
        """
        mark = self._mark if mark is None else mark
        found: dict[str, Any] = {}
        if not mark.begun:
            found = {"version": VERSION, **self._head(path)}
            mark.begun = True
        found.update(self._columns(mark))
        for name, numbers in self._scribe.changed_after(mark.changes).items():
            found[name] = {str(number): self._row(name, number) for number in numbers}
        mark.changes = self._scribe.changes
        found.update(self._state(0, 0))
        return found

    def _row(self, name: str, number: int) -> dict[str, Any]:
        makers: dict[str, Any] = {
            "requests": self._request_row,
            "checks": self._check_row,
            "forks": self._fork_row,
            "remedies": self._remedy_row,
            "incidents": self._incident_row,
        }
        row: dict[str, Any] = makers[name](number)
        return row

    def _head(self, path: str) -> dict[str, Any]:
        header = self._scribe.header
        redacted = self._redacted
        monitors = []
        for one in header.monitors:
            who = header.verifiers[one.verifier]
            fields = one.fields
            remedy = fields.get("remedy")
            monitors.append(
                _short(
                    name=one.title,
                    verifier=who.name,
                    version=who.version,
                    delivery=fields.get("delivery"),
                    worker=who.worker,
                    deadline=who.deadline,
                    remedy=remedy.get("type", "").lower() if isinstance(remedy, dict) else remedy,
                    required=fields.get("required"),
                    scope=fields.get("scope"),
                    forks=one.forks,
                )
            )
        return _short(
            path=path,
            interwhen=header.interwhen,
            schema=SCHEMA,
            call=None if header.call is None else msgspec.to_builtins(header.call),
            written=header.written,
            model=header.model,
            prompt=None if redacted else msgspec.to_builtins(header.prompt),
            prompt_sha256=header.prompt_sha256 if redacted else "",
            redacted=redacted,
            monitors=monitors,
        )

    def _columns(self, mark: PartMark) -> dict[str, Any]:
        """Return what was added since *mark* to the lists that only grow, such as texts and cuts; move *mark* on."""
        scribe, tape = self._scribe, self._scribe.tape
        texts = tape.texts[mark.entries :]
        times = [_micros(at) for at in tape.times[mark.entries :]]
        tokens = tape.tokens[mark.entries :]
        first = mark.entries
        frontier = scribe.frontier[mark.frontier :]
        shown = scribe.shown[mark.shown :]
        found = _short(
            text="" if self._redacted else "".join(texts),
            tokens=_short(chars=[_width(text) for text in texts], gaps=_gaps(times, mark.time)),
            numbers=[list(number) for number in tape.numbers[mark.numbers :]],
            weights=[[first + place, weight] for place, weight in enumerate(tokens) if weight != 1],
            styles=[list(style) for style in tape.styles[mark.styles :]],
            cuts=[[one.entry, one.wide, _micros(one.at), one.remedy, one.number] for one in tape.cuts[mark.cuts :]],
            frontier=_steps(frontier, mark.frontier_time),
            shown=_steps(shown, mark.shown_time),
        )
        mark.entries, mark.numbers = len(tape.texts), len(tape.numbers)
        mark.styles, mark.cuts = len(tape.styles), len(tape.cuts)
        mark.frontier, mark.shown = len(scribe.frontier), len(scribe.shown)
        mark.time = times[-1] if times else mark.time
        mark.frontier_time = _micros(frontier[-1][1]) if frontier else mark.frontier_time
        mark.shown_time = _micros(shown[-1][1]) if shown else mark.shown_time
        return found

    def _state(self, size: int, left_out: int) -> dict[str, Any]:
        scribe = self._scribe
        result = scribe.result
        found = _short(size=size, left_out=left_out, end=_micros(scribe.at))
        if scribe.called is not None:
            found["call"] = called_fields(scribe.header, scribe.called)
        if result is None:
            return found
        if self._redacted:
            found["text_sha256"] = self._keyed(sha256(result.text))
        found["status"], found["label"] = result.status, result.label
        said = getattr(result, "reason", "") or getattr(result, "error", "")
        found["result"] = _short(
            finish_reason=result.finish_reason,
            reason="" if self._redacted else said,
            scope=result.certificate.scope if isinstance(result, Verified) else None,
            unverified=[
                _short(
                    monitor=one.monitor,
                    span=self._final(one.span),
                    why="" if self._redacted else one.why,
                    verifier=one.verifier,
                )
                for one in getattr(result, "unverified_reasons", ())
            ],
            insertions=[{"span": self._final(one.span), "origin": one.origin} for one in result.insertions],
            hidden_reasoning=result.hidden_reasoning,
            resume=None if result.resume is None else msgspec.to_builtins(result.resume),
            ledger=msgspec.to_builtins(result.ledger),
            timing=msgspec.to_builtins(result.timing),
            # The samples of skipped events quote what a server sent.
            wire=None if self._redacted or result.wire == type(result.wire)() else msgspec.to_builtins(result.wire),
        )
        if isinstance(result, Verified):
            found["certificate"] = self._certificate(result)
        return found

    def _final(self, span: Span | None) -> list[int] | None:
        wide = self._scribe.tape.u16_span(span)
        return None if wide is None else [wide.start, wide.end]

    def _certificate(self, result: Verified) -> dict[str, Any]:
        certificate = result.certificate
        places: dict[tuple[str, str, Span | None], int] = {}
        for number, check in enumerate(self._scribe.checks):
            if check.cut is None and check.record is not None:
                places[check.record.monitor, check.key, check.span] = number
        known = [places.get((one.monitor, one.key, one.span)) for one in certificate.checks]
        return _short(
            text_sha256=self._keyed(certificate.text_sha256),
            prompt_sha256=self._keyed(certificate.prompt_sha256),
            chain_sha256=self._keyed(certificate.chain_sha256),
            signer=certificate.signer,
            model=certificate.model,
            interwhen=certificate.interwhen,
            scope=certificate.scope,
            coverage=certificate.coverage,
            covered=[self._final(span) for span in certificate.covered],
            refuted=[self._final(span) for span in certificate.refuted],
            checks=[number for number in known if number is not None],
            hidden_reasoning=certificate.hidden_reasoning,
        )

    def _request_row(self, number: int) -> dict[str, Any]:
        one = self._scribe.requests[number]
        usage = one.usage or Usage()
        uncached = None
        if usage.prompt_tokens is not None and usage.cached_tokens is not None:
            uncached = max(usage.prompt_tokens - usage.cached_tokens, 0)
        row = _times(sent=one.sent, accepted=one.accepted, first=one.first, ended=one.ended)
        row.update(
            _short(
                how=None if one.how == "open" else one.how,
                error="" if self._redacted else one.error,
                resume=one.resume,
                reason=one.reason,
                entry=one.entry,
                at=one.start,
                number=one.number,
            )
        )
        row.update(
            _present(
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                uncached_tokens=uncached,
                completion_tokens=usage.completion_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                remedy=one.remedy if one.remedy is not None or not number else -1,
            )
        )
        return row

    def _check_row(self, number: int) -> dict[str, Any]:
        one = self._scribe.checks[number]
        record, redacted = one.record, self._redacted
        span, segment = (one.span, one.segment) if one.wide is None else one.wide
        outcome, why, verdict = None, "", None
        if record is not None:
            outcome, why = outcome_words(record.outcome)
            verdict = record.outcome.verdict if isinstance(record.outcome, Judged) else None
        row: dict[str, Any] = {"monitor": one.monitor}
        row.update(
            _short(
                key="" if redacted else one.key,
                span=_pair(span),
                segment=_pair(segment),
                numbers=[one.number, one.settled] if one.settled else [one.number],
            )
        )
        row.update(_times(ordered=one.ordered, began=one.began, ended=one.ended))
        row.update(_short(worker=one.worker, outcome=outcome, why="" if redacted else why))
        if isinstance(verdict, Violation) and not redacted:
            where = verdict.where
            row.update(_short(witness=verdict.witness, repair=verdict.repair))
            if where is not None and span is not None:
                row["where"] = [span.start + where.start, span.start + where.end]
        if isinstance(verdict, Pass) and verdict.scope != "steps":
            row["scope"] = verdict.scope
        if record is not None and record.tries > 1:
            row["tries"] = record.tries
        if redacted and record is not None:
            row.update(_short(sha256=self._keyed(record.claim_sha256)))
        row.update(_short(lag=one.lag, interrupted=one.interrupted))
        row.update(_present(cut=one.cut, remedy=one.remedy, fork=one.fork))
        return row

    def _fork_row(self, number: int) -> dict[str, Any]:
        one = self._scribe.forks[number]
        outcome, why = ("claims", "") if one.outcome is None else outcome_words(one.outcome)
        row = {"monitor": one.monitor, "segment": _pair(one.wide or one.segment), "number": one.number}
        row.update(_times(ordered=one.ordered, began=one.began, ended=one.ended))
        row.update(
            _short(
                worker=one.worker,
                outcome=None if one.ended is None else outcome,
                claims=one.claims,
                why="" if self._redacted else why,
                tokens=one.tokens,
                prompt_tokens=one.prompt_tokens,
                cached_tokens=one.cached_tokens,
            )
        )
        return row

    def _remedy_row(self, number: int) -> dict[str, Any]:
        one = self._scribe.remedies[number]
        violation, redacted = one.violation, self._redacted
        request = None if one.request is None else self._scribe.requests[one.request]
        row = _short(kind=violation.remedy, number=one.number)
        row.update(_present(check=one.check, monitor=self._scribe.numbers[violation.monitor]))
        row["span"] = _pair(one.wide or violation.span)
        if not redacted:
            row.update(
                _short(quote=violation.quote, why=violation.why, witness=violation.witness, inserted=violation.inserted)
            )
        row.update(
            _times(
                found=one.found,
                closed=one.closed,
                cut_at=one.cut,
                written=one.written,
                sent=None if request is None else request.sent,
                accepted=None if request is None else request.accepted,
                first=None if request is None else request.first,
            )
        )
        row.update(_present(to=one.to, request=one.request, entry=one.entry))
        row.update(_short(cut_chars=one.removed, cut_tokens=one.removed_tokens))
        return row

    def _incident_row(self, number: int) -> dict[str, Any]:
        one = self._scribe.incidents[number]
        return {
            "at": _micros(one.at),
            "number": one.number,
            "what": one.what,
            **_short(text="" if self._redacted else one.text),
        }


def called_fields(header: Header, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields for the compact form that describe the call: *record* and the call data in *header*.

    Checks, violations, monitors, content, ledger and timing of *record* are left out.
    """
    known = {} if header.call is None else msgspec.to_builtins(header.call)
    apart = ("checks", "violations", "monitors", "content", "ledger", "timing")
    return {**known, **{name: value for name, value in record.items() if name not in apart}}


def to_json(value: object) -> bytes:
    """Return *value* as JSON. Lone surrogates, which UTF-8 cannot encode, are escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _steps(steps: Sequence[tuple[int, float, int, int]], before: int) -> dict[str, Any]:
    return _short(
        gaps=_gaps([_micros(at) for _, at, _, _ in steps], before),
        to=[to for *_, to in steps],
        numbers=[number for number, *_ in steps],
    )


def _gaps(times: Sequence[int], before: int) -> list[int]:
    found = []
    for at in times:
        found.append(at - before)
        before = at
    return found


def _width(text: str) -> int:
    """Return the length of *text* in UTF-16 code units."""
    return len(text) if text.isascii() else len(text) + sum(char > "\uffff" for char in text)


def _pair(span: Span | None) -> list[int] | None:
    return None if span is None else [span.start, span.end]


def _short(**fields: Any) -> dict[str, Any]:
    """Return *fields* without those that have an empty value: ``None``, an empty text or list, zero or false."""
    return {name: value for name, value in fields.items() if value or value is True}


def _present(**fields: Any) -> dict[str, Any]:
    """Return *fields* without those that are ``None``. Zeros stay."""
    return {name: value for name, value in fields.items() if value is not None}


def _times(**fields: float | None) -> dict[str, Any]:
    return {name: _micros(at) for name, at in fields.items() if at is not None}


def outcome_words(outcome: Outcome) -> tuple[OutcomeName, str]:
    """Return the name of *outcome* in the compact form, such as ``violation``, and the reason or evidence for it."""
    match outcome:
        case Judged(verdict=Pass(evidence=why)):
            return "pass", why
        case Judged(verdict=Violation(why=why)):
            return "violation", why
        case Judged(verdict=Unknown(why=why)):
            return "unknown", why
        case Errored(error=why):
            return "error", why
        case TimedOut(deadline=deadline):
            return "timed_out", f"after {deadline:g} s"
        case Cancelled(why=why):
            return "cancelled", why
        case Skipped(why=why):
            return "skipped", why
    raise AssertionError(outcome)
