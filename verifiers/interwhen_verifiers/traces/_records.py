"""Shared parts of the readers: records, joined steps, and turns of a conversation."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interwhen import Message, Span
from interwhen.models import read_turn
from interwhen.testing import Label, LabelledTrace, Mistake, Turn


def records(path: Path, file: str = "") -> Iterator[dict[str, Any]]:
    files = [path / file] if file else sorted(path.glob("*.jsonl.gz"))
    for each in files if path.is_dir() else [path]:
        with (gzip.open if each.suffix == ".gz" else open)(each, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, filter(str.strip, lines))


def joined(steps: Sequence[str], between: str) -> tuple[str, list[Span]]:
    spans, at = [], 0
    for step in steps:
        spans.append(Span(at, at + len(step)))
        at += len(step) + len(between)
    return between.join(steps), spans


def one_turn(name: str, prompt: str, text: str, label: Label, mistake: Span | None = None) -> LabelledTrace:
    first_wrong = None if mistake is None else Mistake(turn=0, span=mistake)
    return LabelledTrace(name=name, turns=(Turn(prompt=prompt, text=text),), label=label, mistake=first_wrong)


def turns_of(messages: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    # Messages with an unknown role, for which `read_turn` gives `None`, are left out.
    read = tuple(message for message in map(read_turn, messages) if message is not None)
    return tuple(_turn(read, at) for at, message in enumerate(read) if message.role == "assistant")


def _turn(messages: tuple[Message, ...], at: int) -> Turn:
    return Turn(prompt=messages[:at], text=messages[at].content, calls=messages[at].calls)
