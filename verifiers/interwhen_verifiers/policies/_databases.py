"""Databases of JSON tables, compressed or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import msgspec
from interwhen import UsageError


def read_tables(folder: Path, names: tuple[str, ...]) -> dict[str, dict[str, dict[str, Any]]]:
    """Read the tables *names* of *folder*: ``NAME.json`` or ``NAME.json.gz``. Raises :class:`UsageError`."""
    return {name: _table(folder, name) for name in names}


def _table(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    plain, packed = folder / f"{name}.json", folder / f"{name}.json.gz"
    path = plain if plain.exists() else packed
    try:
        data = path.read_bytes()
        return msgspec.json.decode(gzip.decompress(data) if path == packed else data, type=dict[str, dict[str, Any]])
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
        raise UsageError(f"the table {name!r} cannot be read from {str(folder)!r}: {error}") from error
