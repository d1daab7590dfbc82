"""Shared parts of the readers of recorded conversations."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from interwhen import Message
from interwhen.models import read_turn
from interwhen.testing import Turn


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of JSON lines, which is compressed if its name ends in ``.gz``."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=dict[str, Any])


def turns_of(messages: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """Return the assistant's turns in *messages*. The prompt of a turn is the messages before it.

    Messages with an unknown role are left out.
    """
    read = tuple(message for message in map(read_turn, messages) if message is not None)
    return tuple(_turn(read, at) for at, message in enumerate(read) if message.role == "assistant")


def _turn(messages: tuple[Message, ...], at: int) -> Turn:
    return Turn(prompt=messages[:at], text=messages[at].content, calls=messages[at].calls)
