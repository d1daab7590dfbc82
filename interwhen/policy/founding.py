"""A new folder for a policy, from its text, its tools and its schema."""

from __future__ import annotations

from pathlib import Path

from interwhen.errors import UsageError
from interwhen.policy import limits


def found_folder(folder: Path, text: Path, tools: Path | None, schema: Path | None) -> None:
    """Make *folder* a policy folder with copies of the given files; nothing that is there is overwritten.

    Raises :class:`UsageError`, too where the folder holds another text.
    """
    if tools is None and schema is None and not (folder / "policy.toml").exists():
        raise UsageError("give --tools or --schema: rules are checked against what the tools take")
    if tools is not None and tools.suffix not in (".json", ".py"):
        raise UsageError(f"tools are read from a .json or a .py file, not from {str(tools)!r}")
    folder.mkdir(parents=True, exist_ok=True)
    _copy(text, folder / "policy.md")
    lines = [f'name = "{_word(text.stem)}"']
    if tools is not None:
        _copy(tools, folder / f"tools{tools.suffix}")
        lines.append(f'tools = "tools{tools.suffix}"')
    if schema is not None:
        _copy(schema, folder / "schema.toml")
    head = folder / "policy.toml"
    if not head.exists():
        head.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _word(text: str) -> str:
    return "".join(char for char in text if char.isalnum() or char in "-_ ")[:60] or "policy"


def _copy(source: Path, target: Path) -> None:
    try:
        if source.stat().st_size > limits.FILE_BYTES:
            raise UsageError(f"{str(source)!r} is larger than {limits.FILE_BYTES:,} bytes")
        data = source.read_bytes()
    except OSError as error:
        raise UsageError(f"{str(source)!r} cannot be read: {error}") from error
    if target.exists() and target.read_bytes() != data:
        raise UsageError(
            f"{str(target)!r} is there already, and is something else than {str(source)!r}: choose another --out"
        )
    target.write_bytes(data)
