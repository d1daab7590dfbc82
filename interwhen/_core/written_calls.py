"""Tool calls that models write as text: what a request says about them, how they are read, and where they are found.

docs/tool-calls.md lists the formats and the conditions.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from interwhen._core.messages import NO_OFFER, ToolOffer
from interwhen._core.scanners import Scanner
from interwhen._core.transcript import Transcript
from interwhen._types.models import Prompt
from interwhen._types.python_source import parse_python
from interwhen._types.segments import CallFormat, Span, ToolCall, WrittenCalls, unique
from interwhen._types.triggers import DEFAULT_TAGS, ToolCalls

# What a request says about tool calls: the tools that it offers, and how its prompt shows calls in text.

_MOST_NAMES = 1_000
"""The largest number of tools that are read from a prompt."""

FENCES = (("```python", "\n```"), ("```py", "\n```"))
"""The opening and the closing of a fenced block of Python code."""
_TAGS = (("<code>", "</code>"), *FENCES)

_NAME = re.compile(r'"name"\s*:\s*"([A-Za-z_][\w.-]{0,99})"')
_DEFINED = re.compile(r"^[ \t]{0,40}def ([A-Za-z_]\w{0,99})\(([^()\n]{0,2000})\)", re.MULTILINE)
_DESCRIBED_PARAMETER = re.compile(r"([A-Za-z_]\w*)\s*(?::\s*([^,=]+))?")
_CODE = re.compile(r"(?:<code>|```\S{0,40})[ \t]{0,9}\n[ \t]{0,40}def [A-Za-z_]")


def read_offer(prompt: Prompt, extra: Mapping[str, object]) -> ToolOffer:
    """Return what *prompt* and *extra*, the additional fields of the request's body, say about tool calls.

    A system message, or a prompt that is a plain text, may describe tools: as JSON schemas, or as Python functions for
    an agent that writes code. A message of the user is read only to see whether it asks for ``Action:`` lines.
    """
    fields = _offered(extra)
    # Results of tools are not read, because other people may have written them.
    if isinstance(prompt, str):
        instructions = said = prompt
    else:
        instructions = "\n".join(turn.content for turn in prompt if turn.role in ("system", "developer"))
        said = "\n".join(turn.content for turn in prompt if turn.role in ("system", "developer", "user"))
    code = _code_tags(instructions)
    tools = {**_described(instructions), **(_defined(instructions) if code else {}), **fields}
    return ToolOffer(tools=tools, in_field=bool(fields), react=_asks_for_actions(said), code=code)


def _offered(extra: Mapping[str, object]) -> dict[str, Mapping[str, str]]:
    """Map each tool in the fields ``tools`` and ``functions`` of *extra* to the types of its parameters, by name."""
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
    """Return at most 1,000 tools that *text* seems to describe as JSON schemas, by name, without their parameters."""
    if '"parameters"' not in text or '"properties"' not in text:
        return {}
    return {name: {} for name in _first(_NAME.findall(text))}


def _defined(text: str) -> dict[str, Mapping[str, str]]:
    """Return at most 1,000 tools that *text* defines as Python functions, by name, each with its parameters' names."""
    found: dict[str, Mapping[str, str]] = {}
    for name, parameters in _first(_DEFINED.findall(text)):
        read = (_DESCRIBED_PARAMETER.match(part.strip()) for part in parameters.split(","))
        found[name] = {match[1]: "" for match in read if match is not None}
    return found


def _first(found: Iterable[Any]) -> list[Any]:
    return list(found)[:_MOST_NAMES]


def _asks_for_actions(text: str) -> bool:
    return "Action:" in text and "Observation" in text


def _code_tags(text: str) -> tuple[tuple[str, str], ...]:
    """Return the tags around code if *text* seems to define tools as Python functions for a code agent; else none."""
    if "Observation" not in text or "Thought" not in text or _CODE.search(text) is None:
        return ()
    return _TAGS


# Readers of tool calls, one for each format. A reader gets the whole text of a call. The text is never evaluated:
# Python code is only parsed.

LONGEST_JSON = 200_000
"""The longest text of a call, in characters, that is read."""
LONGEST_CODE = 20_000
"""The longest program code, in characters, that is parsed. Parsing takes about 1 ms for 2,000 characters."""
INTERPRETER = "python_interpreter"
"""The name of the tool that runs the code of a code agent. It has one argument, ``code``."""

NAME = r"[A-Za-z_][\w.-]{0,99}"
_FUNCTION = re.compile(rf"<function=({NAME})>")
_PARAMETER = re.compile(r"<parameter=([^>\n]{1,100})>")
_CALLED = re.compile(rf"{NAME}\(")
_GEMMA_END = re.compile(r"(?:<tool_call\|>|<end_function_call>)\s*\Z")
_LLAMA_END = re.compile(r"(?:<\|eom_id\|>|<\|eot_id\|>|<\|python_end\|>)\s*\Z")
_KEY = re.compile(r"<arg_key>([^<]{1,200})</arg_key>\s{0,20}<arg_value>")
_GLM_NAME = re.compile(rf"({NAME})\s*(?=<arg_key>|\Z)")
_BAR = "\uff5c"  # the wide bar in the tags of DeepSeek
_JSON_CALLS = re.compile(r"\s*+(?:\[\s*+)?\{")
"""The beginning of a JSON object, or of a list of them."""
_INVOKE = re.compile(rf'<(?:{_BAR}DSML{_BAR})?invoke name="([^"\n]{{1,100}})">')
_INVOKED = re.compile(rf'<(?:{_BAR}DSML{_BAR})?parameter name="([^"\n]{{1,100}})"(?: string="(true|false)")?>')
_DEEPSEEK_BEGIN = re.compile(f"<{_BAR}tool\u2581call\u2581begin{_BAR}>")
_DEEPSEEK = re.compile(
    rf"(?:function<{_BAR}tool\u2581sep{_BAR}>)?({NAME})(?:<{_BAR}tool\u2581sep{_BAR}>|\s)(.*)", re.DOTALL
)
_KIMI_BEGIN = re.compile(r"<\|tool_call_begin\|>")
_KIMI = re.compile(rf"\s*(?:functions\.)?({NAME})(?::\d{{1,9}})?\s*<\|tool_call_argument_begin\|>(.*)", re.DOTALL)
_MISTRAL = re.compile(rf"({NAME})(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{{)")
_HARMONY = re.compile(rf"=(?:functions\.)?({NAME})")
_GEMMA = re.compile(rf"call:\s*({NAME})\s*(?=\{{)")
_GEMMA_TOKEN = re.compile(
    r'(?P<quote><\|"\|>|<escape>)|(?P<json>"(?:[^"\\]|\\.)*")|(?P<sign>[{}\[\]:,])'
    r"|(?P<bare>[^\s{}\[\]:,\"<][^{}\[\]:,\"<]*)|\s+",
    re.DOTALL,
)
_CALL_METHOD = re.compile(rf"({NAME})\.call\((.*)\)\s*", re.DOTALL)
_ACTION = re.compile(r"\s*Action[ \t]{0,9}\d{0,9}[ \t]{0,9}:(.*)", re.DOTALL)
_ACTION_INPUT = re.compile(r"\n[ \t]{0,20}Action[ \t]{0,9}\d{0,9}[ \t]{0,9}Input[ \t]{0,9}\d{0,9}[ \t]{0,9}:")
_BRACKETED = re.compile(rf"({NAME})\[(.*)\]\s*", re.DOTALL)
_BUILTINS = frozenset(("print", "len", "str", "int", "float", "list", "dict", "range", "sorted", "sum", "min", "max"))


class Unreadable(ValueError):
    """Raised by a parser of tool calls for text that looks like a call and cannot be read. The message says why."""


def read_written(
    form: CallFormat, text: str, offer: ToolOffer, tags: tuple[str, str] = ("", "")
) -> WrittenCalls | None:
    """Return the calls in *text*, which a scanner found as *form*; ``None``: it is not a call.

    A text that looks like a call and cannot be read gives a record with the ``problem`` and without calls. *offer* has
    the types of arguments. *tags* are the tags around the call, for formats that have them.
    """
    if len(text) > LONGEST_JSON:
        return WrittenCalls(form, problem=f"a call of more than {LONGEST_JSON:,} characters is not read")
    opening, closing = tags
    body = text.removeprefix(opening).removesuffix(closing)
    reading = _Reading(offer)
    try:
        found = tuple(_READERS[form](reading, body))
    except Unreadable as error:
        return WrittenCalls(form, problem=str(error))
    except (RecursionError, MemoryError):
        return WrittenCalls(form, problem="the call is nested too deeply")
    if not found:
        return None
    return WrittenCalls(form, found, untyped=reading.untyped)


class _Reading:
    """Converts the calls of one text to tool calls, by the types of the offered tools."""

    def __init__(self, offer: ToolOffer) -> None:
        self.offer = offer
        self.untyped = False
        """Whether the type of an argument was guessed."""

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolCall:
        return ToolCall("", name, json.dumps(arguments, ensure_ascii=False))

    def typed(self, name: str, arguments: Iterable[tuple[str, str]]) -> ToolCall:
        """Return the call of tool *name*, with each of the *arguments* converted from its text by :meth:`value`."""
        return self.call(name, _once((each, self.value(name, each, text)) for each, text in arguments))

    def value(self, name: str, parameter: str, text: str) -> Any:
        """Convert *text*, the written value of *parameter* of tool *name*, to the type that the tool declares for it.

        Valid JSON is decoded, unless a string is declared; other text stays a string. Without a declared type, a JSON
        string stays as written, and :attr:`untyped` is set for JSON other than objects and lists.
        """
        kind = self.offer.tools.get(name, {}).get(parameter, "")
        if kind == "string":
            return text
        try:
            value = json.loads(text, object_pairs_hook=_once)
        except Unreadable:
            raise
        except ValueError:
            return text
        if not kind and not isinstance(value, dict | list):
            self.untyped = True
        return text if isinstance(value, str) and not kind else value


# JSON


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return unique(pairs)
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"the call has {error}") from error


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"the call is not valid JSON: {error}") from error


def _json_calls(reading: _Reading, text: str) -> Iterator[ToolCall]:
    """Yield the calls in *text*: one call as JSON, a list of calls, or calls separated by semicolons or commas.

    Raises :class:`Unreadable` if *text* is empty or not such JSON, or if an object has a name twice.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    at, text = 0, text.strip()
    if not text:
        raise Unreadable("the call is empty")
    while at < len(text):
        try:
            found, at = decoder.raw_decode(text, at)
        except Unreadable:
            raise
        except ValueError as error:
            raise Unreadable(f"the call is not valid JSON: {error}") from error
        for entry in found if isinstance(found, list) else [found]:
            yield _json_call(reading, entry)
        while at < len(text) and text[at] in " \t\r\n;,":
            at += 1


_NAMES = ("name", "tool", "tool_name", "function", "action")
_ARGUMENTS = ("arguments", "parameters", "args", "action_input", "tool_input", "input")


def _json_call(reading: _Reading, entry: Any) -> ToolCall:
    if not isinstance(entry, dict):
        raise Unreadable("the call is not a JSON object")
    inner = entry.get("function")
    if isinstance(inner, dict):
        return _json_call(reading, inner)
    name = next((entry[key] for key in _NAMES if key in entry), None)
    arguments: Any = next((entry[key] for key in _ARGUMENTS if key in entry), {})
    if isinstance(arguments, str):
        arguments = _decoded(arguments)
    if not isinstance(name, str) or not name:
        raise Unreadable("the call has no name")
    if not isinstance(arguments, dict):
        raise Unreadable(f"the arguments of {name!r:.80} are not a JSON object")
    return reading.call(name, arguments)


def _decoded(text: str) -> Any:
    """Return the JSON object in *text*. If *text* is not a JSON object, return ``{"input": text}``."""
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except Unreadable:
        raise
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"input": text}


# Formats with tags


def _tagged(reading: _Reading, body: str) -> Iterator[ToolCall]:
    body = body.strip()
    if body.startswith("<function="):
        yield from _function_tags(reading, body)
    elif body[:1] in ("{", "["):
        yield from _json_calls(reading, body)
    elif (match := _GLM_NAME.match(body)) is not None:
        yield _pairs(reading, match[1], body[match.end() :])
    elif _CALLED.match(body):
        yield from _pythonic(reading, body)
    else:
        raise Unreadable("the text between the tags is no call in a known format")


def _pairs(reading: _Reading, name: str, rest: str) -> ToolCall:
    pairs = _elements(rest, _KEY, ("</arg_value>",))
    return reading.typed(name, ((match[1].strip(), value) for match, value in pairs))


def _elements(
    text: str, opening: re.Pattern[str], closings: Sequence[str], *, lenient: bool = False
) -> Iterator[tuple[re.Match[str], str]]:
    """Yield each element of *text*: its *opening* tag, and the text up to the next of the tags *closings*.

    Raises :class:`Unreadable` for other text between the elements, and, unless *lenient*, for a missing closing tag.
    """
    at = 0
    while (match := opening.search(text, at)) is not None:
        if text[at : match.start()].strip():
            break
        ends = [(end, closing) for closing in closings if (end := text.find(closing, match.end())) >= 0]
        if not ends and not lenient:
            raise Unreadable(f"{match[0]!r:.80} is not closed")
        end, closing = min(ends, default=(len(text), ""))
        yield match, text[match.end() : end]
        at = end + len(closing)
    if text[at:].strip():
        raise Unreadable(f"there is other text in the call: {text[at:].strip()!r:.80}")


def _function_tags(reading: _Reading, body: str) -> Iterator[ToolCall]:
    for match, inner in _elements(body, _FUNCTION, ("</function>",), lenient=True):
        name = match[1]
        if inner.strip().startswith("{"):
            yield reading.call(name, _object(name, inner))
        else:
            found = _elements(inner, _PARAMETER, ("</parameter>",), lenient=True)
            values = ((key[1].strip(), value.removeprefix("\n").removesuffix("\n")) for key, value in found)
            yield reading.typed(name, values)


def _invoked(reading: _Reading, body: str) -> Iterator[ToolCall]:
    if _INVOKE.search(body) is None:
        yield from _json_calls(reading, body) if _JSON_CALLS.match(body) else _pythonic(reading, body)
        return
    ends = ("</invoke>", f"</{_BAR}DSML{_BAR}invoke>")
    for match, inner in _elements(body, _INVOKE, ends):
        name = match[1]
        if inner.strip().startswith("{"):
            yield reading.call(name, _object(name, inner))
            continue
        values: list[tuple[str, Any]] = []
        for key, value in _elements(inner, _INVOKED, ("</parameter>", f"</{_BAR}DSML{_BAR}parameter>")):
            match key[2]:
                case "true":
                    values.append((key[1], value))
                case "false":
                    values.append((key[1], _json(value)))
                case _:
                    values.append((key[1], reading.value(name, key[1], value)))
        yield reading.call(name, _once(values))


def _object(name: str, text: str) -> dict[str, Any]:
    found = _json(_unfenced(text) or "{}")
    if not isinstance(found, dict):
        raise Unreadable(f"the arguments of {name!r:.80} are not a JSON object")
    return found


def _unfenced(text: str) -> str:
    """Return *text* without the fence of a Markdown code block (three backticks) around it."""
    text = text.strip()
    if not text.startswith("```"):
        return text
    inner = text.partition("\n")[2]
    return inner.partition("```")[0].strip()


def _deepseek(reading: _Reading, body: str) -> Iterator[ToolCall]:
    ends = (f"<{_BAR}tool\u2581call\u2581end{_BAR}>",)
    for mark in ("begin", "end"):
        body = body.replace(f"<{_BAR}tool\u2581calls\u2581{mark}{_BAR}>", "")
    yield from _named(reading, _DEEPSEEK, _elements(body, _DEEPSEEK_BEGIN, ends, lenient=True))


def _kimi(reading: _Reading, body: str) -> Iterator[ToolCall]:
    for mark in ("begin", "end"):
        body = body.replace(f"<|tool_calls_section_{mark}|>", "")
    yield from _named(reading, _KIMI, _elements(body, _KIMI_BEGIN, ("<|tool_call_end|>",), lenient=True))


def _named(
    reading: _Reading, pattern: re.Pattern[str], elements: Iterator[tuple[re.Match[str], str]]
) -> Iterator[ToolCall]:
    for _, inner in elements:
        match = pattern.fullmatch(inner)
        if match is None:
            raise Unreadable("there is no name of a tool in the call")
        yield reading.call(match[1], _object(match[1], match[2]))


def _mistral(reading: _Reading, body: str) -> Iterator[ToolCall]:
    body = body.strip()
    match = _MISTRAL.match(body)
    if match is None:
        yield from _json_calls(reading, body)
    else:
        yield reading.call(match[1], _object(match[1], body[match.end() :]))


def _harmony(reading: _Reading, body: str) -> Iterator[ToolCall]:
    match, brace = _HARMONY.search(body), body.find("{")
    if match is None or brace < 0:
        raise Unreadable("there is no name of a tool, or no JSON object in the call")
    yield reading.call(match[1], _object(match[1], body[brace:]))


def _gemma(reading: _Reading, body: str) -> Iterator[ToolCall]:
    if body.startswith("```tool_code"):
        code = body.removeprefix("```tool_code").strip().removesuffix("```")
        yield from _code_calls(reading, code, interpreter=False)
        return
    match = _GEMMA.search(body)
    if match is None:
        raise Unreadable("there is no call:name{...} between the tags")
    inner = _GEMMA_END.sub("", body[match.end() :])
    yield reading.call(match[1], _object(match[1], _as_json(inner)))


def _as_json(text: str) -> str:
    """Convert *text*, an object in Gemma's notation with bare keys, to JSON, which may still be invalid.

    Raises :class:`Unreadable` if a part of *text* is not in this notation.
    """
    written: list[str] = []
    at, bare = 0, ""
    while at < len(text):
        token = _GEMMA_TOKEN.match(text, at)
        if token is None:
            raise Unreadable("the arguments are not in the notation of Gemma")
        at = token.end()
        if bare and (token["sign"] or token["quote"]):
            # A word before a colon is a key. Another word is a number, true, false or null, or a text without quotes.
            written.append(bare if token["sign"] != ":" and _is_json(bare) else json.dumps(bare))
            bare = ""
        if token["quote"]:
            end = text.find(token["quote"], at)
            if end < 0:
                raise Unreadable("a text in the arguments does not end")
            written.append(json.dumps(text[at:end]))
            at = end + len(token["quote"])
        elif token["bare"]:
            bare = token["bare"].strip()
        else:
            written.append(token[0].strip())
    return "".join(written) + bare


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _llama(reading: _Reading, body: str) -> Iterator[ToolCall]:
    """Yield the calls in *body*, the text after ``<|python_tag|>``: JSON, Python calls, or program code.

    Raises :class:`Unreadable` if it is none of these.
    """
    body = _LLAMA_END.sub("", body).strip()
    if body.startswith("{"):
        yield from _json_calls(reading, body)
    elif (match := _CALL_METHOD.fullmatch(body)) is not None:
        yield from _pythonic(reading, f"{match[1]}({match[2]})")
    elif body.startswith("["):
        yield from _pythonic(reading, body)
    else:
        yield from _code_calls(reading, body, interpreter=True)


# Python


def _parse(text: str) -> ast.Module:
    if len(text) > LONGEST_CODE:
        raise Unreadable(f"code of more than {LONGEST_CODE:,} characters is not read")
    try:
        return parse_python(text)
    except (SyntaxError, ValueError) as error:
        raise Unreadable(f"the call is not valid Python: {getattr(error, 'msg', error)}") from error


def _pythonic(reading: _Reading, body: str) -> Iterator[ToolCall]:
    """Yield the calls in *body*: a call such as ``name(key="value")``, or a list of calls.

    Raises :class:`Unreadable` for any other text.
    """
    module = _parse(body.removeprefix("<|python_start|>").removesuffix("<|python_end|>").strip())
    if len(module.body) != 1 or not isinstance(module.body[0], ast.Expr):
        raise Unreadable("the text is not a list of calls")
    value = module.body[0].value
    for entry in value.elts if isinstance(value, ast.List | ast.Tuple) else [value]:
        name = _called(entry)
        if not name or not isinstance(entry, ast.Call):
            raise Unreadable("an entry of the list is not a call")
        yield _python_call(reading, entry, name, {})


def _called(node: ast.AST) -> str:
    """Return the name of the function that *node* calls; empty: it is no call of a named function."""
    if not isinstance(node, ast.Call):
        return ""
    function, parts = node.func, []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    return ".".join([function.id, *reversed(parts)]) if isinstance(function, ast.Name) else ""


def _python_call(reading: _Reading, node: ast.Call, name: str, known: Mapping[str, Any]) -> ToolCall:
    """Convert *node*, a call of the tool *name* in Python, to a tool call.

    *known* has the values of constant variables. If an argument is not known before the code runs, the call has the
    arguments as source text.
    """
    try:
        values = _values(node, list(reading.offer.tools.get(name, {})), known)
    except (ValueError, TypeError):
        arguments = ", ".join(ast.unparse(each) for each in [*node.args, *node.keywords])
        return ToolCall("", name, arguments, "code")
    return reading.call(name, values)


def _values(node: ast.Call, parameters: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of *node* by name. *parameters* names the positional ones.

    *known* has the values of constant variables. Raises :class:`ValueError` or :class:`TypeError` if a name or a value
    is known only when the code runs.
    """
    if len(node.args) > len(parameters):
        raise ValueError("the name of an argument is not known")
    values = {key: _literal(arg, known) for key, arg in zip(parameters, node.args, strict=False)}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in values:
            raise ValueError("the names of the arguments are not known")
        values[keyword.arg] = _literal(keyword.value, known)
    return values


_WORDS = {"true": True, "false": False, "null": None}


def _literal(node: ast.expr, known: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
        case ast.List(elts=entries) | ast.Tuple(elts=entries):
            return [_literal(entry, known) for entry in entries]
        case ast.Dict(keys=keys, values=values):
            return {_key(key, known): _literal(value, known) for key, value in zip(keys, values, strict=True)}
    value = ast.literal_eval(node)
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError  # noqa: TRY004  the text is wrong, not a type
    return value


def _key(node: ast.expr | None, known: Mapping[str, Any]) -> str:
    key = None if node is None else _literal(node, known)
    if not isinstance(key, str):
        raise ValueError  # noqa: TRY004  the same
    return key


def _code(reading: _Reading, body: str) -> Iterator[ToolCall]:
    return _code_calls(reading, body, interpreter=True)


def _code_calls(reading: _Reading, code: str, *, interpreter: bool) -> Iterator[ToolCall]:
    """Yield the calls of tools in the program *code*. With *interpreter*, the code itself is the first call.

    If the request offers no tools, each named function that is not a builtin counts as one, unless *interpreter*.
    Raises :class:`Unreadable` if *code* is too long or not Python, or if it calls no tool and *interpreter* is false.
    """
    code = code.strip("\n").removesuffix("<end_code>").strip()
    module = _parse(code)
    if interpreter:
        yield reading.call(INTERPRETER, {"code": code})
    tools, known = reading.offer.tools, _constants(module)
    nodes = [node for node in ast.walk(module) if isinstance(node, ast.Call | ast.Name)]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset, isinstance(node, ast.Name)))
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    found = False
    for node in nodes:
        name = _called(node)
        is_tool = name in tools if tools else not interpreter and bool(name) and name not in _BUILTINS
        if is_tool and isinstance(node, ast.Call):
            found = True
            yield _python_call(reading, node, name, known)
        elif isinstance(node, ast.Name) and node.id in tools and id(node) not in functions:
            found = True  # the tool gets another name, so that its calls cannot be seen
            yield ToolCall("", node.id, "...", "code")
    if not found and not interpreter:
        raise Unreadable("there is no call of a tool in the code")


def _constants(module: ast.Module) -> dict[str, Any]:
    """Return the values of variables that *module* sets exactly once, at its top level, to a constant."""
    stores: dict[str, int] = {}
    for node in ast.walk(module):
        for name in _bound(node):
            stores[name] = stores.get(name, 0) + 1
    if "*" in stores:  # a star import may set any name
        return {}
    known: dict[str, Any] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if stores[name] == 1 and isinstance(node.value, ast.Constant):
                known[name] = node.value.value
    return known


def _bound(node: ast.AST) -> Sequence[str]:
    """Return the names to which the statement or expression *node* assigns or binds a value."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            return (name,)
        case ast.alias(name=name, asname=asname):
            return (asname or name.partition(".")[0],)
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return names
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler():
            return (node.name,) if node.name else ()
        case ast.MatchAs() | ast.MatchStar():
            return (node.name,) if node.name else ()
        case ast.MatchMapping():
            return (node.rest,) if node.rest else ()
        case _:
            return ()


# ReAct


def _react(reading: _Reading, body: str) -> Iterator[ToolCall]:
    """Yield the call in *body*, a ReAct action; none if it has another form.

    Raises :class:`Unreadable` if the name or the JSON cannot be read.
    """
    match = _ACTION.match(body)
    if match is None:
        return
    said = match[1]
    given = _ACTION_INPUT.search(said)
    if given is None:
        blob = _unfenced(said)
        if blob[:1] == "{":
            yield from _json_calls(reading, blob)
        elif (one := _BRACKETED.fullmatch(said.strip())) is not None:
            yield reading.call(one[1], _single(reading, one[1], one[2]))
        return
    name = said[: given.start()].strip().strip("`*'\"")
    text = _unfenced(said[given.end() :])
    if not name or "\n" in name:
        raise Unreadable("the Action is not the name of a tool on one line")
    if text[:1] == "{":
        arguments = _object(name, text)
    else:
        arguments = _single(reading, name, text.strip("\"'") if "\n" not in text else text)
    yield reading.call(name, arguments)


def _single(reading: _Reading, name: str, text: str) -> dict[str, Any]:
    """Return *text* as the value of the only parameter of the tool *name*.

    If the tool does not have exactly one parameter, the name of the parameter is ``input``.
    """
    parameters: Sequence[str] = list(reading.offer.tools.get(name, {}))
    return {parameters[0] if len(parameters) == 1 else "input": text}


def _known_json(reading: _Reading, body: str) -> Iterator[ToolCall]:
    """Yield the calls in *body*, JSON without tags around it, if one names an offered tool or no tools are offered.

    Raises :class:`Unreadable` if *body* cannot be read and has the name of an offered tool.
    """
    tools = reading.offer.tools
    try:
        calls = list(_json_calls(reading, body))
    except Unreadable:
        if any(f'"{name}"' in body for name in tools):
            raise
        return
    yield from calls if not tools or any(call.name in tools for call in calls) else ()


_READERS: Mapping[CallFormat, Callable[[_Reading, str], Iterator[ToolCall]]] = {
    "tagged": _tagged,
    "function_tag": _function_tags,
    "invoke": _invoked,
    "mistral": _mistral,
    "deepseek": _deepseek,
    "kimi": _kimi,
    "harmony": _harmony,
    "gemma": _gemma,
    "llama": _llama,
    "phi": _json_calls,
    "json": _known_json,
    "pythonic": _pythonic,
    "react": _react,
    "code": _code,
}


# The scanner. It finds where a call begins and ends, in all formats. A call begins with an *opening*: a fixed text,
# such as ``<tool_call>``. A format without tags, such as plain JSON, has an opening like ``{``, which counts only at
# the start of a line. The text after the opening (the *head*) decides whether it is a call. Then the end is searched: a
# closing tag, or the bracket that closes the first one.

_HEAD = 400
"""The longest text after an opening, in characters, that decides whether it is a call."""
_INDENT = 40
"""How many characters before a call without tags are searched for the end of the line before it."""


class Opening(NamedTuple):
    """A text that begins a tool call, such as ``<tool_call>``, with its format and with what ends the call."""

    text: str
    form: CallFormat
    closings: tuple[str, ...] = ()
    """The texts that end the call. They belong to it, except in the format ``react``. Empty: a closing bracket ends
    it."""
    head: str = ""
    """A pattern for the text after the opening. If a bracket ends the call, the pattern stops before the first
    bracket."""
    begun: str = ""
    """A pattern for an incomplete head: text that may still become one when more text comes."""
    marked: bool = True
    """Whether this opening counts anywhere. If not, it counts only at the start of a line."""
    python: bool = False
    """Whether the brackets are those of Python, where quotes are strings, too."""


_WIDE = "\uff5c"
_CALLS_END = f"<{_WIDE}tool\u2581calls\u2581end{_WIDE}>"
_INVOKING = (
    f"{_WIDE}DSML{_WIDE}function_calls",
    f"{_WIDE}DSML{_WIDE}tool_calls",
    "minimax:tool_call",
    "function_calls",
)
_TO_FUNCTION = rf"{NAME}[^{{\n]{{0,80}}(?=\{{)"
_NO_PROSE = r"[^\s<`.\u2026]"
"""A character after an opening tag. Prose about the tag has a space there, a backtick or three dots."""
_UNCLOSED = re.compile(rf"\s*[{{\[]|\s*<function=|{NAME}(?:\s*<|[ \t]*\n|\()")
"""Matches the text after an opening tag if it looks like a call even without a closing tag."""
_MARKED: Mapping[CallFormat, tuple[Opening, ...]] = {
    "tagged": (
        Opening(
            DEFAULT_TAGS[0],
            "tagged",
            (DEFAULT_TAGS[1],),
            rf"\s*[{{\[]|\s*<function=|{_NO_PROSE}|[ \t]*\n\s*{_NO_PROSE}",
            r"\s*(?:<[a-z=]{0,9})?",
        ),
    ),
    "function_tag": (Opening("<function=", "function_tag", ("</function>",), rf"{NAME}>", rf"(?:{NAME})?"),),
    "invoke": tuple(
        Opening(f"<{tag}>", "invoke", (f"</{tag}>",), rf"\s*(?:<|[{{\[]|{NAME}\()", rf"\s*(?:{NAME})?")
        for tag in _INVOKING
    ),
    "mistral": (
        Opening(
            "[TOOL_CALLS]",
            "mistral",
            (),
            rf"\s*(?:{NAME}(?:\[CALL_ID\]\w{{0,40}})?(?:\[ARGS\])?\s*(?=\{{)|(?=[{{\[]))",
            rf"\s*(?:{NAME}(?:\[[A-Z_]{{0,9}}\]?\w{{0,40}}){{0,2}}\s*)?",
        ),
    ),
    "deepseek": (
        Opening(f"<{_WIDE}tool\u2581calls\u2581begin{_WIDE}>", "deepseek", (_CALLS_END,), rf"\s*<{_WIDE}", r"\s*<?"),
        Opening(
            f"<{_WIDE}tool\u2581call\u2581begin{_WIDE}>",
            "deepseek",
            (_CALLS_END, f"<{_WIDE}tool\u2581call\u2581end{_WIDE}>"),
            NAME,
        ),
    ),
    "kimi": (
        Opening("<|tool_calls_section_begin|>", "kimi", ("<|tool_calls_section_end|>",), r"\s*<\|", r"\s*<?"),
        Opening("<|tool_call_begin|>", "kimi", ("<|tool_call_end|>",), rf"\s*{NAME}", r"\s*"),
    ),
    "harmony": tuple(
        Opening(text, "harmony", (), _TO_FUNCTION, rf"(?:{NAME}[^{{\n]{{0,80}})?")
        for text in ("<|channel|>commentary to=", "<|start|>assistant to=", "=functions.")
    ),
    "gemma": (
        Opening("<start_function_call>", "gemma", ("<end_function_call>",), r"\s*call[:\s]", r"\s*c?a?l?l?"),
        Opening("<|tool_call>", "gemma", ("<tool_call|>",), r"\s*call[:\s]", r"\s*c?a?l?l?"),
        Opening("```tool_code", "gemma", ("\n```",), r"[ \t]*\n", r"[ \t]*"),
    ),
    "llama": (
        Opening("<|python_tag|>", "llama", ("<|eom_id|>", "<|eot_id|>"), r"\n?[A-Za-z_{\[#]", r"\n?"),
        Opening("<|python_start|>", "pythonic", ("<|python_end|>",), r"\s*[A-Za-z_\[]", r"\s*"),
    ),
    "phi": tuple(Opening(text, "phi", (), r"\s*(?=[{\[])", r"\s*") for text in ("<|tool_call|>", "<|tool_calls|>")),
}
_KEYS = "name|type|id|function|tool|tool_name|action|arguments|parameters|args|action_input|tool_input"
_BEGUN_KEY = r'\s*(?:"[a-z_]{0,12}"?\s*)?'
_ACTION_ENDS = ("\nObservation:", "\nAction:", "\nThought:", "\nFinal Answer:")
_UNMARKED: tuple[CallFormat, ...] = ("json", "pythonic", "react", "code")


def _unmarked(form: CallFormat, offer: ToolOffer, tags: tuple[str, str] | None, *, chosen: bool) -> list[Opening]:
    """Return the openings of *form*, a format without tags; empty if it must not be read.

    *chosen*: the user has chosen this format; *tags* are then the tags around code that the user has chosen, if any.
    """
    match form:
        case "json" if chosen or offer.tools:
            entry = rf'\s*"(?:{_KEYS})"\s*:'
            return [
                Opening("{", form, (), rf"(?={entry})", _BEGUN_KEY, marked=False),
                Opening("[", form, (), rf"(?=\s*\{{{entry})", rf"\s*(?:\{{{_BEGUN_KEY})?", marked=False),
            ]
        case "pythonic" if chosen or offer.tools:
            names = "|".join(map(re.escape, offer.tools)) or NAME
            head, begun = rf"(?=\s*(?:{names})\()", r"\s*[\w.-]{0,100}"
            return [Opening("[", form, (), head, begun, marked=False, python=True)]
        case "react" if chosen or offer.react:
            number = r"[ \t]{0,9}\d{0,9}[ \t]{0,9}"
            return [Opening("Action", form, _ACTION_ENDS, rf"{number}:", number, marked=False)]
        case "code" if chosen or offer.code:
            pairs = (tags,) if tags is not None else offer.code or (("<code>", "</code>"), *FENCES)
            return [Opening(opening, form, (closing,)) for opening, closing in pairs]
        case _:
            return []


def openings_of(trigger: ToolCalls, offer: ToolOffer) -> list[Opening]:
    """Return the texts that begin a call, for all formats that *trigger* reads when the request has *offer*."""
    formats, tags = trigger.formats, (trigger.opening, trigger.closing)
    own = None if tags == DEFAULT_TAGS else tags
    found: list[Opening] = []
    for form, marked in _MARKED.items():
        if (formats is None or form in formats) and (form != "tagged" or own is None):
            found += marked
    if own is not None and (formats is None or "tagged" in formats):
        found.append(Opening(trigger.opening, "tagged", (trigger.closing,)))
    for form in _UNMARKED:
        chosen = formats is not None and form in formats
        if chosen or formats is None:
            found += _unmarked(form, offer, own if chosen else None, chosen=chosen)
    return found


_STRINGS = {False: re.compile(r'["{}\[\]]'), True: re.compile(r"[\"'{}\[\]()]")}
_STRING_ENDS = {quote: re.compile(rf"\\.?|{quote}", re.DOTALL) for quote in ('"', "'")}


class _Brackets:
    """Finds the bracket that closes the first one in a text of JSON or Python, which may arrive in parts."""

    __slots__ = ("_depth", "_python", "_quote", "at")

    def __init__(self, at: int, *, python: bool) -> None:
        self.at = at
        """The offset up to which the text was read."""
        self._python = python
        self._depth = 0
        self._quote = ""

    def end(self, text: str, base: int) -> int | None:
        """Read *text*, which begins at offset *base*. Return the offset after the closing bracket, if it has come."""
        at = self.at - base
        while True:
            pattern = _STRING_ENDS[self._quote] if self._quote else _STRINGS[self._python]
            match = pattern.search(text, at)
            if match is None:
                self.at = base + len(text)
                return None
            sign = match[0]
            if sign == "\\":  # the escaped character has not come yet
                self.at = base + match.start()
                return None
            at = match.end()
            if self._quote:
                self._quote = "" if sign == self._quote else self._quote
            elif sign in "\"'":
                self._quote = sign
            else:
                self._depth += 1 if sign in "{[(" else -1
                if self._depth <= 0:
                    return base + at


@functools.lru_cache(maxsize=64)
def _any_text(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)))


class _OpeningSearch(NamedTuple):
    """What a fast search for several texts, the openings of calls, needs."""

    leads: re.Pattern[str]
    """Matches the first character of any of the texts."""
    texts: re.Pattern[str]
    """Matches any of the texts, the longest first."""
    prefixes: frozenset[str]
    """All proper beginnings of the texts, to recognize a text that is not complete yet."""
    reach: int
    """The length of the longest text."""


@functools.lru_cache(maxsize=64)
def _search_for(texts: tuple[str, ...]) -> _OpeningSearch:
    ordered = sorted(texts, key=len, reverse=True)
    firsts = "".join(sorted({text[0] for text in texts}))
    return _OpeningSearch(
        re.compile(f"[{re.escape(firsts)}]" if texts else r"(?!)"),
        re.compile("|".join(map(re.escape, ordered)) if texts else r"(?!)"),
        frozenset(text[:size] for text in texts for size in range(1, len(text))),
        max(map(len, texts), default=1),
    )


class _Quoting(NamedTuple):
    """Which Markdown quotations are open at offset ``at``. The next reading continues there."""

    at: int
    since: int
    """The offset at which the reading began: the start of a phase. In another phase, the reading starts again."""
    in_block: bool = False
    """Whether a fenced block is open."""
    ticks: int = 0
    """The number of backticks in the current line."""
    lead: str = ""
    """The first three characters of the current line, without its indentation."""

    def after(self, text: str) -> _Quoting:
        """Return the state of the quotations after *text*, the next part of the transcript."""
        _, _, in_block, ticks, lead = self
        for number, part in enumerate(text.split("\n")):
            if number:
                in_block, ticks, lead = in_block ^ (lead in ("```", "~~~")), 0, ""
            ticks += part.count("`")
            if len(lead) < 3:
                lead = (lead + part).lstrip()[:3]
        return _Quoting(self.at + len(text), self.since, in_block, ticks, lead)


class CallScanner(Scanner):
    """Finds tool calls in the text, in all formats that *trigger* and the *offer* of the request allow."""

    reads_on = False
    reads_calls = True

    def __init__(self, trigger: ToolCalls, offer: ToolOffer = NO_OFFER) -> None:
        super().__init__()
        self._offer = offer
        self._is_own = (trigger.opening, trigger.closing) != DEFAULT_TAGS
        self._openings: dict[str, list[Opening]] = {}
        for opening in openings_of(trigger, offer):
            self._openings.setdefault(opening.text, []).append(opening)
            # Python caches the compiled patterns, whose first use is in the middle of a stream.
            for pattern in (opening.head, opening.begun):
                re.compile(pattern)
            _any_text(opening.closings)
        self._search = _search_for(tuple(self._openings))
        closings = {end[-1] for found in self._openings.values() for each in found for end in each.closings}
        longest = max(
            (len(end) for found in self._openings.values() for each in found for end in each.closings), default=0
        )
        self._overlap = max(longest, self._search.reach) + 1
        self._absent: set[tuple[str, ...]] = set()
        """The closings that do not follow any more, because the text has ended."""
        self._base, self._text = 0, ""
        """The text that is scanned now, and its offset."""
        self.wakes = "".join(sorted(closings | set("}]):")))
        self._from = 0
        """The offset before which no opening is searched any more."""
        self._half = 0
        """The offset from which on the text may become an opening; the end of the text if there is no such text."""
        self._at = 0
        self._open: list[Opening] = []
        """The openings at ``_at`` that are still possible; empty: no call is open."""
        self._body: Opening | None = None
        """The opening whose head was read."""
        self._brackets: _Brackets | None = None
        self._known = 0
        """The length of the trace at which the end of the last call was known."""
        self._expects = self._is_own or offer.expects_text or trigger.formats is not None
        """Whether somebody may run a call that the model quotes."""
        self._quoting = _Quoting(0, 0)

    @property
    def hold(self) -> int:
        """The start of the open call, or of text that may become an opening. Text before it is not held."""
        return self._at if self._open else max(self.start, self._half)

    @property
    def bridges(self) -> bool:
        """Whether a call is open. Feedback inside a call does not end the call."""
        return bool(self._open)

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        """Read the new text of *transcript*, and yield the span of each tool call that is complete now."""
        return self._scan(transcript, last=False)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Yield the remaining calls. The end of the text may end an open call, too."""
        yield from self._scan(transcript, last=True)
        # The border needs one more character than there is: after a cut right here, the call may continue.
        self._begin(transcript.length, transcript.length + 1)
        self.pos = transcript.length
        self._reset()

    def _scan(self, transcript: Transcript, *, last: bool) -> Iterator[Span]:
        # The new text is copied once, with as much text before it as an opening or a closing may need.
        base = max(self.pos - self._overlap, 0)
        if self._open and self._body is None:
            base = min(base, self._at)
        self._base, self._text = base, transcript.slice(base, transcript.length)
        self._absent.clear()
        is_late = False
        while self._open or self._find(transcript, last=last):
            end = self._end(transcript, last=last)
            if end is None:
                break
            start, opening = self._at, self._body
            if opening is None or not self._accept(transcript, Span(start, end), opening):
                # It is no call. The search continues after the opening, or after all of the text that was read.
                is_whole = opening is not None and self._known <= transcript.length
                self._from = self.pos = end if is_whole else start + 1
                is_late = is_late or last
                if self.pos < self._base:
                    self._base, self._text = self.pos, transcript.slice(self.pos, transcript.length)
                self._close()
                continue
            # More text might have made a call of what was rejected before this one, because the text ended.
            self._begin(end, transcript.length + 1 if is_late else self._known)
            self.pos = end
            self._reset()
            yield Span(start, end)
        self.pos = transcript.length
        self._text = ""

    # ------------------------------------------------------------------ where a call begins

    def _find(self, transcript: Transcript, *, last: bool) -> bool:
        """Find the next text that begins a call, store it, and return whether there is one.

        *last*: no more text will come.
        """
        search, text, base = self._search, self._text, self._base
        at = max(self.pos - search.reach + 1, self.start, self._from) - base
        self._half = transcript.length
        if search.leads.search(text, at) is None:
            return False
        match = search.texts.search(text, at)
        while match is not None:
            at = match.start()
            if not last and len(text) - at < search.reach and text[at:] in search.prefixes:
                break  # a longer opening may follow
            found = [each for each in self._openings[match[0]] if self._counts(transcript, base + at, each)]
            if found:
                self._at, self._open, self._body, self._brackets = base + at, found, None, None
                return True
            match = search.texts.search(text, at + 1)
        if not last:
            self._half = self._half_opening(max(self.start, self._from))
        return False

    def _half_opening(self, least: int) -> int:
        """Return the start of an incomplete opening at the end of the text, at *least* or later.

        If there is none, return the end of the text.
        """
        text, length = self._text, self._base + len(self._text)
        for size in range(min(self._search.reach - 1, length - least), 0, -1):
            if text[-size:] in self._search.prefixes:
                return length - size
        return length

    def _counts(self, transcript: Transcript, at: int, opening: Opening) -> bool:
        """Tell whether *opening*, found at offset *at*, may begin a call there.

        An opening without a tag must start a line. The formats without tags are not read in the reasoning. Quoted text
        begins no call, unless the client also runs quoted calls.
        """
        if not opening.marked and not self._is_line_start(transcript, at):
            return False
        if opening.form in _UNMARKED and transcript.phase == "reasoning":
            return False
        return self._expects or not self._is_quoted(transcript, at)

    def _is_line_start(self, transcript: Transcript, at: int) -> bool:
        low = max(self.start, transcript.phases[-1][0], at - _INDENT)
        before = transcript.slice(low, at)
        line = before.rpartition("\n")
        if line[1]:
            return not line[2].strip()
        # Calls may follow each other, with a semicolon between them.
        begins = low == self.start or low == transcript.phases[-1][0]
        return begins and not before.strip(" \t;,")

    def _is_quoted(self, transcript: Transcript, at: int) -> bool:
        """Tell whether offset *at* is inside a fenced block of Markdown, or between backticks in its line."""
        first = transcript.phases[-1][0]
        known = self._quoting
        if known.since != first or known.at > at:
            known = _Quoting(first, first)
        self._quoting = known = known.after(transcript.slice(known.at, at))
        return known.in_block or known.ticks % 2 == 1

    # ------------------------------------------------------------------ where it ends

    def _end(self, transcript: Transcript, *, last: bool) -> int | None:
        """Return the end of the open call; ``None`` if it is not known yet. *last*: no more text will come.

        If the text turns out not to be a call, return the start of its opening, with ``_body`` unset.
        """
        opening = self._body or self._read_head(last=last)
        if opening is None:
            return None if self._open else self._at
        if opening.closings:
            return self._closing(transcript, opening, last=last)
        assert self._brackets is not None
        end = self._brackets.end(self._text, self._base)
        if end is None:
            return self._whole(transcript) if last else None
        self._known = end
        return end

    def _read_head(self, *, last: bool) -> Opening | None:
        """Store and return the opening whose pattern the text after it matches; ``None`` if none matches, or not yet.

        Openings that cannot match any more are dropped. *last*: no more text will come.
        """
        after = self._at + len(self._open[0].text)
        head = self._text[after - self._base : after - self._base + _HEAD]
        decided = last or len(head) == _HEAD
        kept = []
        for opening in self._open:
            match = re.match(opening.head, head)
            if match is not None:
                self._body, self._open, self.pos = opening, [opening], after
                if not opening.closings:
                    first = after + match.end() if opening.marked else self._at
                    self._brackets = _Brackets(first, python=opening.python)
                return opening
            if not decided and re.fullmatch(opening.begun, head) is not None:
                kept.append(opening)
        self._open = kept
        return None

    def _closing(self, transcript: Transcript, opening: Opening, *, last: bool) -> int | None:
        text, base = self._text, self._base
        first = max(self.pos - max(map(len, opening.closings)) + 1, self._at + len(opening.text)) - base
        match = None if opening.closings in self._absent else _any_text(opening.closings).search(text, first)
        if match is None:
            if last:
                self._absent.add(opening.closings)
            return self._whole(transcript) if last else None
        self._known = base + match.end()
        # The line that ends a ReAct action is not part of it.
        return base + match.start() if opening.form == "react" else self._known

    def _whole(self, transcript: Transcript) -> int:
        """Return the end of the trace, where the open call ends."""
        self._known = transcript.length + 1  # after a cut right there, the call may continue
        return transcript.length

    def _accept(self, transcript: Transcript, span: Span, opening: Opening) -> bool:
        """Read the text at *span*, which begins with *opening*. Store its calls, and return whether it is a call.

        In the answer, text that looks like a call and cannot be read counts as one.
        """
        if opening.form == "tagged" and self._known > transcript.length:
            after = span.start + len(opening.text)
            head = transcript.slice(after, min(after + _HEAD, span.end)) if not self._is_own else ""
            if _UNCLOSED.match(head) is None:
                return False
        text = transcript.slice(span.start, span.end)
        tags = ("", "") if opening.form in _WHOLE else (opening.text, (*opening.closings, "")[0])
        found = read_written(opening.form, text, self._offer, tags)
        if self._is_own and opening.form == "tagged" and (found is None or found.problem):
            found = WrittenCalls("tagged")  # only the extractor of the user knows what is between these tags
        if found is not None and found.problem and transcript.phase_at(span.start) == "reasoning":
            found = None  # no agent runs it, and models write about calls there
        self.found = found
        return found is not None

    def _close(self) -> None:
        self._open, self._body, self._brackets = [], None, None

    def rewind(self, transcript: Transcript) -> None:
        """Go back after a cut, and read the last segment of the shortened *transcript* again."""
        self._quoting = _Quoting(0, 0)
        super().rewind(transcript)

    def _reset(self) -> None:
        super()._reset()
        self._close()
        self._from = self._half = self.start


_WHOLE: tuple[CallFormat, ...] = ("function_tag", "deepseek", "kimi", "harmony", "gemma", "json", "pythonic", "react")
"""The formats whose readers get the text with its opening and its closing."""
