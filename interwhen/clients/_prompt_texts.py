"""The texts of a request body, for monitors of the prompt; and the body with other texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from interwhen._engine.monitors import check_texts
from interwhen._types.models import Role
from interwhen._types.prompts import PromptMonitor, PromptText
from interwhen._types.results import PromptRecord
from interwhen.clients._calls import ApiCall

Path = tuple[str | int, ...]
"""The keys and indices that lead from the body to a text."""

_ROLES = frozenset(get_args(Role))
_NOT_TEXT = frozenset(
    ("role", "type", "id", "call_id", "tool_call_id", "status", "url", "image_url", "file_url", "data", "file_data")
) | {"file_id", "encrypted_content", "detail", "format", "cache_control", "phase"}
"""Fields of messages and items whose strings are names, addresses or encoded data."""
_TOOL_ITEMS = ("_output", "_result", "file_search_call", "web_search_call", "code_interpreter_call", "mcp_call")
"""The ends of the types of items of the Responses API that hold what a tool returned."""


class PlacedText(NamedTuple):
    path: Path
    text: PromptText


def texts_of(call: ApiCall) -> list[PlacedText]:
    # Names of functions, ids, addresses, encoded data and the definitions of tools are left out.
    body = call.body
    texts = list(_leaves(body.get("documents"), "tool", 0, ("documents",)))
    if call.api == "completions":
        return [*_leaves(body.get("prompt"), "user", 0, ("prompt",)), *texts]
    if call.api == "chat":
        name = "messages"
        texts += _leaves(body.get("prediction"), "user", 0, ("prediction",))
    else:
        name, stored = "input", body.get("prompt")
        variables = stored.get("variables") if isinstance(stored, Mapping) else None
        for each, value in variables.items() if isinstance(variables, Mapping) else ():  # the caller chose the names
            texts += _leaves(value, "user", 0, ("prompt", "variables", each))
    texts += _leaves(body.get("instructions"), "system", 0, ("instructions",))
    items = body.get(name)
    if not isinstance(items, list | tuple):
        return [*texts, *_leaves(items, "user", 0, (name,))]
    for number, item in enumerate(items):
        texts += _leaves(item, _role(item), number, (name, number))
    return texts


async def checked_call(call: ApiCall, monitors: Sequence[PromptMonitor]) -> tuple[ApiCall, tuple[PromptRecord, ...]]:
    # Raises `PromptRefused` if a monitor refuses the prompt, or fails and is closed.
    placed = texts_of(call)
    checked = await check_texts([one.text for one in placed], monitors)
    changes = {
        one.path: text.text for one, text in zip(placed, checked.texts, strict=True) if text.text != one.text.text
    }
    if not changes:
        return call, checked.records
    body = {name: _changed(value, (name,), changes) for name, value in call.body.items()}
    return dataclasses.replace(call, body=body), checked.records


def _role(item: object) -> Role:
    if not isinstance(item, Mapping):
        return "user"
    role = item.get("role")
    if role == "function":
        return "tool"
    if isinstance(role, str) and role in _ROLES:
        return role  # type: ignore[return-value]
    kind = item.get("type")
    is_tool = isinstance(kind, str) and kind.endswith(_TOOL_ITEMS)
    # An unknown role is read like the user's; items without one were made by the model or by a tool.
    return "tool" if is_tool else "user" if role is not None else "assistant"


def _leaves(value: object, role: Role, index: int, path: Path) -> Iterator[PlacedText]:
    if isinstance(value, str):
        yield PlacedText(path, PromptText(value, role, index))
    elif isinstance(value, Mapping):
        is_call = value.get("type") == "function" or "arguments" in value
        for name, inner in value.items():
            if name not in _NOT_TEXT and not (is_call and name == "name"):
                yield from _leaves(inner, role, index, (*path, name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, role, index, (*path, number))


def _changed(value: Any, path: Path, changes: Mapping[Path, str]) -> Any:
    if isinstance(value, str):
        return changes.get(path, value)
    if isinstance(value, Mapping):
        return {name: _changed(inner, (*path, name), changes) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(inner, (*path, number), changes) for number, inner in enumerate(value)]
    return value
