"""Documents packed into rows of a fixed length; none is cut, and the rest of a row is padding."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from .charset import PAD
from .documents import Document, document
from .tasks import Split

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Ids and targets, both (rows, length)."""

IGNORED = -100
"""The target of a position if the next token is not taught."""
_WAITING = 48
"""How many documents are held ready to fill a row."""


def batches(seed: int, rows: int, length: int, split: Split = "train") -> Iterator[Batch]:
    rng = random.Random(seed)
    waiting: list[Document] = []
    while True:
        packed = [_fill(rng, waiting, length, split) for _ in range(rows)]
        yield (
            torch.tensor([ids for ids, _ in packed]),
            torch.tensor([targets for _, targets in packed]),
        )


def _fill(rng: random.Random, waiting: list[Document], length: int, split: Split) -> tuple[list[int], list[int]]:
    ids, targets = list[int](), list[int]()
    while True:
        while len(waiting) < _WAITING:
            new = document(rng, split)
            if len(new.ids) <= length + 1:
                waiting.append(new)
        room = length - len(ids) + 1
        fitting = [at for at, one in enumerate(waiting) if len(one.ids) <= room]
        if not fitting:
            break
        # The first of a row is taken as it comes, so that long documents are not left over.
        at = fitting[0] if not ids else max(fitting, key=lambda at: len(waiting[at].ids))
        one = waiting.pop(at)
        ids += one.ids[:-1]
        targets += [after if taught else IGNORED for after, taught in zip(one.ids[1:], one.taught[1:], strict=True)]
    padding = length - len(ids)
    return ids + [PAD] * padding, targets + [IGNORED] * padding
