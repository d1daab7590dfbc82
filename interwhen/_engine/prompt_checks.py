"""Runs the monitors of a prompt, in their order, before the model is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread
import msgspec

from interwhen._log import log_info, log_warning
from interwhen._types.models import Message, Prompt
from interwhen._types.prompts import PromptAction, PromptFinding, PromptMonitor, PromptRefused, PromptText
from interwhen._types.results import PromptOutcome, PromptRecord
from interwhen._types.segments import Span

_OUTCOMES: dict[PromptAction, PromptOutcome] = {"observe": "observed", "refuse": "refused", "rewrite": "rewritten"}
MOST_FINDINGS = 100
"""The most findings of one monitor that are recorded. All of them are acted on."""


@dataclass(frozen=True, slots=True)
class CheckedPrompt:
    """The texts of a prompt after all monitors have read and rewritten them, and the record of the findings."""

    texts: tuple[PromptText, ...]
    records: tuple[PromptRecord, ...]


async def check_texts(texts: Sequence[PromptText], monitors: Sequence[PromptMonitor]) -> CheckedPrompt:
    """Run *monitors* over *texts* in order. A later monitor reads the text that an earlier one has rewritten.

    Raises :class:`PromptRefused` if a monitor refuses the prompt, or if a monitor fails whose ``is_closed`` is true.
    This happens only after all monitors have run, so that the error names all findings.
    """
    current = tuple(texts)
    records: list[PromptRecord] = []
    is_refused = False
    for monitor in monitors:
        outcome, found = await _run(monitor, current)
        records += found
        if outcome is None:
            is_refused = is_refused or monitor.is_closed
        else:
            current = outcome
            is_refused = is_refused or any(one.outcome == "refused" for one in found)
    if records:
        acted = [one.outcome for one in records if one.outcome != "observed"]
        log_info("prompt.checked", findings=len(records), acted=len(acted), refused=is_refused)
    if is_refused:
        raise PromptRefused(tuple(records))
    return CheckedPrompt(current, tuple(records))


async def _run(
    monitor: PromptMonitor, texts: tuple[PromptText, ...]
) -> tuple[tuple[PromptText, ...] | None, list[PromptRecord]]:
    """Run *monitor* on *texts*. Return the resulting texts (``None`` if the monitor failed) and its records."""
    try:
        with anyio.fail_after(monitor.deadline):
            # A function that blocks must not stop the loop; one that never returns keeps its thread.
            return await anyio.to_thread.run_sync(_apply, monitor, texts, abandon_on_cancel=True)
    except TimeoutError:
        why = f"it did not answer within {monitor.deadline:g} s"
    except Exception as error:  # noqa: BLE001  a plug-in; whether the prompt is sent depends on the monitor
        why = f"it raised {type(error).__name__}"
    log_warning("prompt_monitor.failed", monitor=monitor.name, why=why, closed=monitor.is_closed)
    return None, [PromptRecord(monitor.name, monitor.version, "failed", None, None, None, why)]


def _apply(monitor: PromptMonitor, texts: tuple[PromptText, ...]) -> tuple[tuple[PromptText, ...], list[PromptRecord]]:
    changed = list(texts)
    records: list[PromptRecord] = []
    for number, text in enumerate(texts):
        if text.role not in monitor.roles or not text.text:
            continue
        found = _found(monitor, text)
        if monitor.action == "rewrite" and found:
            changed[number] = replace(text, text=_rewritten(monitor, text, found))
        records += [_record(monitor, text, one) for one in found[: MOST_FINDINGS - len(records)]]
    return tuple(changed), records


def _found(monitor: PromptMonitor, text: PromptText) -> list[PromptFinding]:
    """Return the findings of *monitor* in *text*, sorted by position.

    Raises :class:`TypeError` for an invalid value.
    """
    found = list(monitor.find(text))
    for one in found:
        fits = isinstance(one, PromptFinding) and isinstance(one.span, Span)
        if not fits or not 0 <= one.span.start < one.span.end <= len(text.text):
            raise TypeError(f"find must return findings inside of the text, got {one!r:.80}")
    return sorted(found, key=lambda one: (one.span.start, -one.span.end))


def _rewritten(monitor: PromptMonitor, text: PromptText, found: Sequence[PromptFinding]) -> str:
    """Replace the findings in *text* and return it. A finding that begins inside another one counts as part of it."""
    assert monitor.rewrite is not None
    parts: list[str] = []
    at = 0
    for one in found:
        if one.span.start < at:
            if one.span.end > at:  # the rest of it is found text, too
                parts.append(_replacement(monitor, text, PromptFinding(Span(at, one.span.end), one.why)))
                at = one.span.end
            continue
        parts += [text.text[at : one.span.start], _replacement(monitor, text, one)]
        at = one.span.end
    made = "".join(parts) + text.text[at:]
    if _found(monitor, replace(text, text=made)):
        raise ValueError("the rewritten text must have no findings")
    return made


def _replacement(monitor: PromptMonitor, text: PromptText, one: PromptFinding) -> str:
    assert monitor.rewrite is not None
    made = monitor.rewrite(text, one)
    if not isinstance(made, str):
        raise TypeError(f"rewrite must return a text, got a {type(made).__name__}")
    return made


def _record(monitor: PromptMonitor, text: PromptText, one: PromptFinding) -> PromptRecord:
    outcome = _OUTCOMES[monitor.action]
    return PromptRecord(monitor.name, monitor.version, outcome, text.role, text.index, one.span, one.why[:200])


async def check_prompt(prompt: Prompt, monitors: Sequence[PromptMonitor]) -> tuple[Prompt, tuple[PromptRecord, ...]]:
    """Run *monitors* over *prompt*. Return the prompt to send to the model, and the records of the findings.

    The arguments of tool calls in earlier messages count as texts of the assistant. Raises :class:`PromptRefused`.
    """
    if isinstance(prompt, str):
        checked = await check_texts([PromptText(prompt, "user")], monitors)
        return checked.texts[0].text, checked.records
    texts = [
        PromptText(text, message.role, number)
        for number, message in enumerate(prompt)
        for text in (message.content, *(call.arguments for call in message.calls))
    ]
    checked = await check_texts(texts, monitors)
    left = iter(checked.texts)
    return tuple(_with_texts(message, left) for message in prompt), checked.records


def _with_texts(message: Message, texts: Iterator[PromptText]) -> Message:
    content = next(texts).text
    calls = tuple(msgspec.structs.replace(call, arguments=next(texts).text) for call in message.calls)
    return msgspec.structs.replace(message, content=content, calls=calls)
