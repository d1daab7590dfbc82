"""Decides which monitors and models that a file names may be made.

A file may come from anybody. So its monitors are made only if their plug-ins are declared safe, or if the user trusts
the file, and its model only in the second case. No other module reads these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from interwhen._types.errors import JournalError, UsageError, without_user
from interwhen._types.models import Model
from interwhen._types.monitors import Monitor
from interwhen.journal._records import Header, MonitorRecord
from interwhen.registry import Api, MonitorSpec, load_from_data, load_model, load_monitors

_LONGEST_WHY = 600


class Chosen(NamedTuple):
    """The monitors that may run, in order, and the reason for each other one, by its name in the file."""

    monitors: tuple[Monitor, ...]
    left_out: Mapping[str, str]
    spent: float | None
    """The seconds that it took to make them; ``None`` if the user asked for them, so that their time is not limited."""


def monitors_given(specs: MonitorSpec | Iterable[MonitorSpec]) -> Chosen:
    return Chosen(load_monitors(specs), {}, None)


def monitors_of(records: Iterable[MonitorRecord], *, trust: bool = False) -> Chosen:
    records = tuple(records)
    specs = [one.untrusted_spec for one in records if one.untrusted_spec is not None]
    specs = [spec for at, spec in enumerate(specs) if spec not in specs[:at]]
    left_out = {
        name: f"the journal must say how to make the monitor {name!r:.80}, and does not, because it was given as an "
        "object or a function, has a secret option, or was made from the request: give it with -m or monitors=[...]"
        for name in (one.name for one in records if one.untrusted_spec is None)
    }
    if trust:
        return Chosen(load_monitors(specs), left_out, None)
    made: dict[str, Monitor] = {}
    loaded = load_from_data(specs)
    for spec, monitors in zip(specs, loaded.monitors, strict=True):
        if isinstance(monitors, UsageError):
            why = str(monitors)[:_LONGEST_WHY]
            left_out.update((one.name, why) for one in records if one.untrusted_spec == spec)
        else:
            made.update((one.name, one) for one in monitors)
    return Chosen(tuple(made.values()), left_out, loaded.seconds)


def monitors_named(text: str) -> Chosen:
    loaded = load_from_data([text])
    [monitors] = loaded.monitors
    if isinstance(monitors, UsageError):
        raise monitors
    return Chosen(monitors, {}, loaded.seconds)


def model_of(header: Header, path: str, *, trust: bool) -> Model:
    named = header.untrusted_model
    if named is None:
        raise JournalError(
            path, f"it must say how to open its model {header.model!r:.80}, and does not: give model=..., or --model"
        )
    if not trust:
        name = f" with the model {named.name!r:.80}" if named.name else ""
        raise JournalError(
            path,
            "its run is not over, and a file must not choose who gets its text: give the model with --base-url and "
            f"--model, or model=...; or trust the file with --trust, or trust=True. It names "
            f"{without_user(named.spec)!r:.200}{name}",
        )
    api: Api = "chat" if named.api == "chat" else "completions"
    # The key of the user is for the servers that the user names.
    return load_model(named.spec, name=named.name, api=api, api_key="")
