"""What a request says about tool calls: the tools that it offers, and how its prompt shows calls in text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from interwhen._types.models import Prompt
from interwhen._types.monitors import Monitor
from interwhen._types.triggers import ToolCalls

_MOST_NAMES = 1_000
"""The largest number of tools that are read from a prompt."""


class ToolOffer(msgspec.Struct, frozen=True):
    """The tools of one request, and the unmarked formats in which its prompt shows calls.

    An unmarked format has no special tags, so it is read only if the request shows that such calls may come.
    """

    tools: Mapping[str, Mapping[str, str]] = {}
    """The offered tools by name; for each tool the types of its parameters by name (an empty type: not known)."""
    in_field: bool = False
    """Whether the tools were offered in a field of the request, so that the server sends calls in a field, too."""
    react: bool = False
    """Whether the prompt asks for ``Action:`` lines."""
    code: tuple[tuple[str, str], ...] = ()
    """The tags around code, as opening and closing tag, if the prompt is that of an agent that writes code."""

    @property
    def expects_text(self) -> bool:
        """Whether somebody may run a call that the model quotes, for example in a fenced block."""
        return bool(self.tools or self.react or self.code)


NO_OFFER = ToolOffer()
FENCES = (("```python", "\n```"), ("```py", "\n```"))
"""The opening and the closing of a fenced block of Python code."""
_TAGS = (("<code>", "</code>"), *FENCES)

_NAME = re.compile(r'"name"\s*:\s*"([A-Za-z_][\w.-]{0,99})"')
_DEFINED = re.compile(r"^[ \t]{0,40}def ([A-Za-z_]\w{0,99})\(([^()\n]{0,2000})\)", re.MULTILINE)
_PARAMETER = re.compile(r"([A-Za-z_]\w*)\s*(?::\s*([^,=]+))?")
_CODE = re.compile(r"(?:<code>|```\S{0,40})[ \t]{0,9}\n[ \t]{0,40}def [A-Za-z_]")


def offer_for(monitors: Sequence[Monitor], prompt: Prompt, extra: Mapping[str, object]) -> ToolOffer:
    """Return :func:`read_offer` of *prompt* and *extra*, or an empty offer if no monitor reads tool calls."""
    if not any(isinstance(monitor.trigger, ToolCalls) for monitor in monitors):
        return NO_OFFER
    return read_offer(prompt, extra)


def read_offer(prompt: Prompt, extra: Mapping[str, object]) -> ToolOffer:
    """Return what *prompt* and *extra*, the additional fields of the request's body, say about tool calls.

    A system message, or a prompt that is a plain text, may describe tools: as JSON schemas, or as Python functions for
    an agent that writes code. Results of tools are not read, because other people may have written them.
    """
    fields = _offered(extra)
    if isinstance(prompt, str):
        instructions = said = prompt
    else:
        instructions = "\n".join(turn.content for turn in prompt if turn.role in ("system", "developer"))
        said = "\n".join(turn.content for turn in prompt if turn.role in ("system", "developer", "user"))
    code = _code_tags(instructions)
    tools = {**_described(instructions), **(_defined(instructions) if code else {}), **fields}
    return ToolOffer(tools=tools, in_field=bool(fields), react=_asks_for_actions(said), code=code)


def _offered(extra: Mapping[str, object]) -> dict[str, Mapping[str, str]]:
    """Return the tools in the fields ``tools`` and ``functions``, in the form of the chat or of the Responses API."""
    found: dict[str, Mapping[str, str]] = {}
    for field in ("tools", "functions"):
        entries = extra.get(field)
        for entry in entries if isinstance(entries, list | tuple) else ():
            tool = entry.get("function", entry) if isinstance(entry, Mapping) else None
            if isinstance(tool, Mapping) and isinstance(tool.get("name"), str):
                found[tool["name"]] = _types(tool.get("parameters"))
    return found


def _types(schema: Any) -> dict[str, str]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    found = {}
    for name, inner in properties.items():
        kind = inner.get("type") if isinstance(inner, Mapping) else None
        found[str(name)] = kind if isinstance(kind, str) else ""
    return found


def _described(text: str) -> dict[str, Mapping[str, str]]:
    """Return the tools that *text* describes as JSON schemas."""
    if '"parameters"' not in text or '"properties"' not in text:
        return {}
    return {name: {} for name in _first(_NAME.findall(text))}


def _defined(text: str) -> dict[str, Mapping[str, str]]:
    """Return the tools that *text* describes as Python functions."""
    found: dict[str, Mapping[str, str]] = {}
    for name, parameters in _first(_DEFINED.findall(text)):
        read = (_PARAMETER.match(part.strip()) for part in parameters.split(","))
        found[name] = {match[1]: "" for match in read if match is not None}
    return found


def _first(found: Iterable[Any]) -> list[Any]:
    return list(found)[:_MOST_NAMES]


def _asks_for_actions(text: str) -> bool:
    return "Action:" in text and "Observation" in text


def _code_tags(text: str) -> tuple[tuple[str, str], ...]:
    """Return the tags around code, if *text* defines tools as Python functions for a loop of code and observations."""
    if "Observation" not in text or "Thought" not in text or _CODE.search(text) is None:
        return ()
    return _TAGS
