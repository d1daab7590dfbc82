"""Readers of tool calls that models write as text, one for each format.

A reader gets the whole text of a call. The text is never evaluated: Python code is only parsed.
The formats are those of published chat templates: docs/tool-calls.md.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from interwhen._core.tool_offers import ToolOffer
from interwhen._types.segments import CallFormat, ToolCall, WrittenCalls

LONGEST_JSON = 200_000
"""The longest text of a call, in characters, that is read."""
LONGEST_CODE = 20_000
"""The longest program code, in characters, that is parsed. Parsing takes about 1 ms for 2,000 characters."""
INTERPRETER = "python_interpreter"
"""The name of the tool that runs the code of a code agent. It has one argument, ``code``."""

NAME = r"[A-Za-z_][\w.-]{0,99}"
_FUNCTION = re.compile(rf"<function=({NAME})>")
_PARAMETER = re.compile(r"<parameter=([^>\n]{1,100})>")
_KEY = re.compile(r"<arg_key>([^<]{1,200})</arg_key>\s{0,20}<arg_value>")
_GLM_NAME = re.compile(rf"({NAME})\s*(?=<arg_key>|\Z)")
_BAR = "\uff5c"  # the wide bar in the tags of DeepSeek
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
    """Raised by a reader for text that looks like a call and cannot be read. The message says why."""


def read_written(
    form: CallFormat, text: str, offer: ToolOffer, tags: tuple[str, str] = ("", "")
) -> WrittenCalls | None:
    """Return the calls in *text*, which a scanner found as *form*; ``None``: it is not a call.

    *tags* are the opening and closing tag around the call, for formats that have them.
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
    """The state of reading one text."""

    def __init__(self, offer: ToolOffer) -> None:
        self.offer = offer
        self.untyped = False
        """Whether the type of an argument was guessed."""

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolCall:
        return ToolCall("", name, json.dumps(arguments, ensure_ascii=False))

    def typed(self, name: str, arguments: Mapping[str, str]) -> ToolCall:
        """Return the call with *arguments*, texts that have no type, converted by the types of the tool."""
        return self.call(name, {each: self.value(name, each, text) for each, text in arguments.items()})

    def value(self, name: str, parameter: str, text: str) -> Any:
        """Return the value of *parameter* of tool *name* that is written as *text*, without a type."""
        kind = self.offer.tools.get(name, {}).get(parameter, "")
        if kind == "string":
            return text
        try:
            value = json.loads(text)
        except ValueError:
            return text
        if not kind and not isinstance(value, dict | list):
            self.untyped = True
        return text if isinstance(value, str) and not kind else value


# JSON


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreadable(f"the call is not valid JSON: {error}") from error


def _json_calls(reading: _Reading, text: str) -> Iterator[ToolCall]:
    """Read one call as JSON, a list of calls, or calls that are separated by semicolons."""
    decoder = json.JSONDecoder()
    at, text = 0, text.strip()
    if not text:
        raise Unreadable("the call is empty")
    while at < len(text):
        try:
            found, at = decoder.raw_decode(text, at)
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
    """Return the JSON object in *text*, or a single argument with the whole *text*."""
    try:
        found = json.loads(text)
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
    elif re.match(rf"{NAME}\(", body):
        yield from _pythonic(reading, body)
    else:
        raise Unreadable("the text between the tags is no call in a known format")


def _pairs(reading: _Reading, name: str, rest: str) -> ToolCall:
    pairs = _elements(rest, _KEY, ("</arg_value>",))
    return reading.typed(name, {match[1].strip(): value for match, value in pairs})


def _elements(
    text: str, opening: re.Pattern[str], closings: Sequence[str], *, lenient: bool = False
) -> Iterator[tuple[re.Match[str], str]]:
    """Yield each element of *text*: its opening tag, and the text up to the next closing tag.

    Raises :class:`Unreadable` for other text between the elements. *lenient*: the last closing tag may be missing.
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
            values = {key[1].strip(): value.removeprefix("\n").removesuffix("\n") for key, value in found}
            yield reading.typed(name, values)


def _invoked(reading: _Reading, body: str) -> Iterator[ToolCall]:
    if _INVOKE.search(body) is None:
        yield from _json_calls(reading, body) if body.strip()[:1] in ("{", "[{") else _pythonic(reading, body)
        return
    ends = ("</invoke>", f"</{_BAR}DSML{_BAR}invoke>")
    for match, inner in _elements(body, _INVOKE, ends):
        name = match[1]
        if inner.strip().startswith("{"):
            yield reading.call(name, _object(name, inner))
            continue
        values: dict[str, Any] = {}
        for key, value in _elements(inner, _INVOKED, ("</parameter>", f"</{_BAR}DSML{_BAR}parameter>")):
            match key[2]:
                case "true":
                    values[key[1]] = value
                case "false":
                    values[key[1]] = _json(value)
                case _:
                    values[key[1]] = reading.value(name, key[1], value)
        yield reading.call(name, values)


def _object(name: str, text: str) -> dict[str, Any]:
    found = _json(_unfenced(text) or "{}")
    if not isinstance(found, dict):
        raise Unreadable(f"the arguments of {name!r:.80} are not a JSON object")
    return found


def _unfenced(text: str) -> str:
    """Return *text* without the fence of Markdown around it."""
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
    inner = re.sub(r"(?:<tool_call\|>|<end_function_call>)\s*\Z", "", body[match.end() :])
    yield reading.call(match[1], _object(match[1], _as_json(inner)))


def _as_json(text: str) -> str:
    """Return *text*, an object in Gemma's notation with bare keys, as JSON."""
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
    """Read the text after ``<|python_tag|>``: JSON, ``name.call(...)`` of a built-in tool, or program code."""
    body = re.sub(r"(?:<\|eom_id\|>|<\|eot_id\|>|<\|python_end\|>)\s*\Z", "", body).strip()
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
        with warnings.catch_warnings():  # ignore warnings about invalid escapes in the model's code
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise Unreadable(f"the call is not valid Python: {getattr(error, 'msg', error)}") from error


def _pythonic(reading: _Reading, body: str) -> Iterator[ToolCall]:
    """Read a call such as ``name(key="value")``, or a list of calls."""
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
    """Return *node* as a tool call. *known* are the values of variables that the code sets to a constant."""
    try:
        values = _values(node, list(reading.offer.tools.get(name, {})), known)
    except (ValueError, TypeError):
        arguments = ", ".join(ast.unparse(each) for each in [*node.args, *node.keywords])
        return ToolCall("", name, arguments, "code")
    return reading.call(name, values)


def _values(node: ast.Call, parameters: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of *node* by name. Raises :class:`ValueError` if some are known only when the code runs."""
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
    """Read the calls in program code. With *interpreter*, the code as a whole is a call, too, and comes first."""
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
    """Return the values of the variables that *module* sets exactly once, at its top, to a constant."""
    stores: dict[str, int] = {}
    for node in ast.walk(module):
        for name in _bound(node):
            stores[name] = stores.get(name, 0) + 1
    known: dict[str, Any] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if stores[name] == 1 and isinstance(node.value, ast.Constant):
                known[name] = node.value.value
    return known


def _bound(node: ast.AST) -> Sequence[str]:
    """Return the names that *node* binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            return (name,)
        case ast.alias(name=name, asname=asname):
            return (asname or name,)
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return names
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler():
            return (node.name,) if node.name else ()
        case ast.MatchAs() | ast.MatchStar():
            return (node.name,) if node.name else ()
        case _:
            return ()


# ReAct


def _react(reading: _Reading, body: str) -> Iterator[ToolCall]:
    """Read ``Action: name`` and ``Action Input: ...``, ``Action: name[input]``, or ``Action:`` and a JSON object."""
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
    """Return *text* as the only argument of the tool *name*."""
    parameters: Sequence[str] = list(reading.offer.tools.get(name, {}))
    return {parameters[0] if len(parameters) == 1 else "input": text}


def _known_json(reading: _Reading, body: str) -> Iterator[ToolCall]:
    """Read a JSON object without a mark around it. It is a call only if it names an offered tool."""
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
