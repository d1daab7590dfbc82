"""The families of problems. None of them imports interwhen: a generator must not know its verifier."""

from __future__ import annotations

from tools.train_tiny.tasks import Family

from .countdown import countdown
from .maze import maze
from .ordering import ordering
from .stock import stock
from .totals import totals

FAMILIES: dict[str, Family] = {
    "totals": totals,
    "countdown": countdown,
    "maze": maze,
    "ordering": ordering,
    "stock": stock,
}
