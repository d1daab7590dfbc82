"""Tool calls that models write as text. docs/tool-calls.md lists the formats and the conditions."""

from __future__ import annotations

import ast
import contextlib
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
_TAGS = (("<code>", "</code>"), *FENCES)

_NAME = re.compile(r'"name"\s*:\s*"([A-Za-z_][\w.-]{0,99})"')
_DEFINED = re.compile(r"^[ \t]{0,40}def ([A-Za-z_]\w{0,99})\(([^()\n]{0,2000})\)", re.MULTILINE)
_DESCRIBED_PARAMETER = re.compile(r"([A-Za-z_]\w*)\s*(?::\s*([^,=]+))?")
_CODE = re.compile(r"(?:<code>|```\S{0,40})[ \t]{0,9}\n[ \t]{0,40}def [A-Za-z_]")


def expects_text(offer: ToolOffer) -> bool:
    return bool(offer.tools or offer.react or offer.code)


def read_offer(prompt: Prompt, extra: Mapping[str, object]) -> ToolOffer:
    # A system message, or a prompt that is a plain text, may describe tools: as JSON schemas, or as Python functions
    # for an agent that writes code. A message of the user is read only to see whether it asks for `Action:` lines.
    fields = _offered(extra)
    # Results of tools are not read, because other people may have written them.
    if isinstance(prompt, str):
        instructions = said = prompt
    else:
        instructions = "\n".join(turn.content for turn in prompt if turn.role in ("system", "developer"))
        said = "\n".join(turn.content for turn in prompt if turn.role in ("system", "developer", "user"))
    code = _code_tags(instructions)
    tools = {**_described(instructions), **(_defined(instructions) if code else {}), **fields}
    return ToolOffer(tools=tools, in_field=bool(fields), react="Action:" in said and "Observation" in said, code=code)


def _offered(extra: Mapping[str, object]) -> dict[str, Mapping[str, str]]:
    tools: dict[str, Mapping[str, str]] = {}
    for field in ("tools", "functions"):
        entries = extra.get(field)
        for entry in entries if isinstance(entries, list | tuple) else ():
            tool = entry.get("function", entry) if isinstance(entry, Mapping) else None
            if isinstance(tool, Mapping) and isinstance(tool.get("name"), str):
                tools[tool["name"]] = _types(tool.get("parameters"))
    return tools


def _types(schema: Any) -> dict[str, str]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    kinds = {}
    for name, inner in properties.items():
        kind = inner.get("type") if isinstance(inner, Mapping) else None
        kinds[str(name)] = kind if isinstance(kind, str) else ""
    return kinds


def _described(text: str) -> dict[str, Mapping[str, str]]:
    if '"parameters"' not in text or '"properties"' not in text:
        return {}
    return {name: {} for name in _NAME.findall(text)[:_MOST_NAMES]}


def _defined(text: str) -> dict[str, Mapping[str, str]]:
    tools: dict[str, Mapping[str, str]] = {}
    for name, parameters in _DEFINED.findall(text)[:_MOST_NAMES]:
        read = (_DESCRIBED_PARAMETER.match(part.strip()) for part in parameters.split(","))
        tools[name] = {match[1]: "" for match in read if match is not None}
    return tools


def _code_tags(text: str) -> tuple[tuple[str, str], ...]:
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
_KEY = re.compile(r"<((?:\w{1,20}_)?)arg_key>([^<]{1,200})</\1arg_key>\s{0,20}<\1arg_value>")
_BAR = "\uff5c"  # the wide bar in the tags of DeepSeek and Step
_PREFIX = rf"(?:{_BAR}DSML{_BAR}|[\w.-]{{1,20}}:)?"
_INVOKE = re.compile(rf'<{_PREFIX}(?:function(=)|(?:invoke|function) name=")({NAME})"?>')
_INVOKED = re.compile(rf'<{_PREFIX}param(?:eter)?(?:=| name=")([^">\n]{{1,100}})"?(?: string="(true|false)")?>')
_INVOKE_END = re.compile(rf"</{_PREFIX}(?:invoke|function)>")
_INVOKED_END = re.compile(rf"</{_PREFIX}param(?:eter)?>")
_TAG = r"<(?!\w{0,20}_?arg_key)[^<>=\n]{1,60}>"
_BETWEEN = re.compile(
    rf"(?:\s|<\|tool_call:begin\|>\w*|{_TAG}|```\w{{0,20}}|\[CALL_ID\]\w*|\[/?[A-Z][A-Z_]{{2,30}}\]|\u273f[A-Z]{{1,20}}\u273f|[;,:>]"
    r"|(?:assistant|commentary|analysis|to|json|code)\b=?|function(?=<)|functools(?=\[))*+"
)
"""What may stand around a call and between its parts: tags, fences, signs and the words of chat templates."""
_CALLED = re.compile(rf"[\[(]\s*{NAME}\(")
_CALLED_METHOD = re.compile(rf"{NAME}\.call\(")
_A_TAG = re.compile(_TAG)
_GEMMA_END = re.compile(r"(?:<tool_call\|>|<end_function_call>)\s*\Z")
_LLAMA_END = re.compile(r"(?:<\|eom_id\|>|<\|eot_id\|>|<\|python_end\|>)\s*\Z")
_NAMED = re.compile(rf"=?({NAME})(?::\d{{1,9}})?")
_GEMMA = re.compile(rf"call:\s*({NAME})\s*(?=\{{)")
_GEMMA_TOKEN = re.compile(
    r'(?P<quote><\|"\|>|<escape>)|(?P<json>"(?:[^"\\]|\\.)*")|(?P<sign>[{}\[\]:,])'
    r"|(?P<bare>[^\s{}\[\]:,\"<][^{}\[\]:,\"<]*)|\s+",
    re.DOTALL,
)
_GEMMA_VALUE = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_ACTION = re.compile(r"\s*Action[ \t]{0,9}\d{0,9}[ \t]{0,9}:(.*)", re.DOTALL)
_ACTION_INPUT = re.compile(r"\n[ \t]{0,20}Action[ \t]{0,9}\d{0,9}[ \t]{0,9}Input[ \t]{0,9}\d{0,9}[ \t]{0,9}:")
_BRACKETED = re.compile(rf"({NAME})\[(.*)\]\s*", re.DOTALL)
_BUILTINS = frozenset(("print", "len", "str", "int", "float", "list", "dict", "range", "sorted", "sum", "min", "max"))


class Unreadable(Exception):
    """The text looks like a call and cannot be read. The message says why."""


def read_written(
    form: CallFormat, text: str, offer: ToolOffer, tags: tuple[str, str] = ("", "")
) -> WrittenCalls | None:
    # A text that looks like a call and cannot be read gives a record with the `problem` and without calls. `offer` has
    # the types of arguments. `tags` are the tags around the call, for formats that have them.
    if len(text) > LONGEST_JSON:
        return WrittenCalls(form, problem=f"a call of more than {LONGEST_JSON:,} characters is not read")
    opening, closing = tags
    body = text.removeprefix(opening).removesuffix(closing)
    reading = _Reading(offer)
    try:
        calls = tuple(_READERS[form](reading, body))
    except Unreadable as error:
        return WrittenCalls(form, problem=str(error))
    except (RecursionError, MemoryError):
        return WrittenCalls(form, problem="the call is nested too deeply")
    if not calls:
        return None
    return WrittenCalls(form, calls, untyped=reading.untyped)


class _Reading:
    """Converts the calls of one text to tool calls, by the types of the offered tools."""

    def __init__(self, offer: ToolOffer) -> None:
        self.offer = offer
        self.untyped = False
        """Whether the type of an argument was guessed."""

    def name(self, name: str) -> str:
        return name if name in self.offer.tools else name.removeprefix("functions.").removesuffix(".call")

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolCall:
        return ToolCall("", name, json.dumps(arguments, ensure_ascii=False))

    def typed(self, name: str, arguments: Iterable[tuple[str, str]]) -> ToolCall:
        return self.call(name, _once((each, self.value(name, each, text)) for each, text in arguments))

    def value(self, name: str, parameter: str, text: str) -> Any:
        # Without a declared type, `5` or `true` may also be a text, so `untyped` is set. A JSON string then stays as
        # written.
        kind = self.offer.tools.get(name, {}).get(parameter, "")
        if kind == "string":
            return text
        try:
            value = json.loads(text, object_pairs_hook=_once)
        except ValueError:
            return text
        if not kind and not isinstance(value, dict | list):
            self.untyped = True
        return text if isinstance(value, str) and not kind else value


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    try:
        return unique(pairs)
    except ValueError as error:
        raise Unreadable(f"the call has {error}") from error


def _json(text: str) -> Any:
    for written in dict.fromkeys((text, _ESCAPES.sub(lambda match: match[1] or match[0], text))):
        try:
            return json.loads(written, object_pairs_hook=_once)
        except ValueError as error:
            problem = f"the call is not valid JSON: {error}"
    try:
        body = _parse(text).body
    except Unreadable:
        # This error is about Python, but the model meant JSON.
        raise Unreadable(problem) from None
    match body:
        case [ast.Expr(value=value)]:
            with contextlib.suppress(ValueError, TypeError):
                return _literal(value, {})
    raise Unreadable(problem)


_ESCAPES = re.compile(r"\\(?:(')|.)", re.DOTALL)
"""Matches every escape, so that an escaped backslash before a quote is not read as an escaped quote."""
_NAMES = ("name", "tool", "tool_name", "function", "action", "recipient_name", "function_name")
_ARGUMENTS = ("arguments", "parameters", "args", "action_input", "tool_input", "input")
_LABELS = (*_NAMES, "id", "type", "index", "tool_call_id", "call_id")
_SCHEMA = {"type", "properties", "required", "additionalProperties", "$schema", "description", "title"}


def _entries(reading: _Reading, parsed: Any) -> Iterator[ToolCall]:
    if isinstance(parsed, list):
        for entry in parsed:
            yield from _entries(reading, entry)
        return
    if not isinstance(parsed, dict):
        raise Unreadable("the call is not a JSON object")
    tools = reading.offer.tools
    name = next((parsed[key] for key in _NAMES if parsed.get(key) and isinstance(parsed[key], str)), "")
    is_known = bool(name) and (not tools or reading.name(name) in tools)
    nested: list[ToolCall] = []
    for key, value in parsed.items():
        if isinstance(value, dict) and not name and key in tools:
            nested.append(reading.call(key, value))
        elif isinstance(value, dict | list) and not (is_known and key in _ARGUMENTS):
            with contextlib.suppress(Unreadable):
                nested += _entries(reading, value)
    yield from nested
    if name and not (nested and not is_known):
        yield _json_call(reading, reading.name(name), parsed)
    elif not nested:
        raise Unreadable("the call has no name")


def _json_call(reading: _Reading, name: str, entry: Mapping[str, Any]) -> ToolCall:
    arguments: Any = next((entry[key] for key in _ARGUMENTS if key in entry), None)
    if arguments is None:
        arguments = {key: value for key, value in entry.items() if key not in _LABELS}
        if name in reading.offer.tools and not arguments.keys() <= (reading.offer.tools[name] or arguments).keys():
            raise Unreadable(f"the arguments of {name!r:.80} are in a place that is not known")
    if isinstance(arguments, str):
        arguments = _json(arguments) if arguments.lstrip()[:1] == "{" else {"input": arguments}
    if not isinstance(arguments, dict):
        raise Unreadable(f"the arguments of {name!r:.80} are not a JSON object")
    return reading.call(name, arguments)


def _marked(reading: _Reading, text: str) -> Iterator[ToolCall]:
    # A part is JSON, a list of calls in Python, elements with tags, or a name that arguments follow.
    at, has_call = _between(text, 0), False
    while at < len(text):
        calls, at = _part(reading, text, at)
        for call in calls:
            has_call = True
            yield call
        at = _between(text, at)
    if not has_call:
        raise Unreadable("there is no call in the text")


def _part(reading: _Reading, text: str, at: int) -> tuple[Iterable[ToolCall], int]:
    if (match := _INVOKE.match(text, at)) is not None:
        closing = _INVOKE_END.search(text, match.end())
        if closing is None and not match[1]:
            raise Unreadable(f"{match[0]!r:.80} is not closed")
        start, end = closing.span() if closing is not None else (len(text), len(text))
        return (_invoked(reading, match[2], text[match.end() : start], lenient=bool(match[1])),), end
    if text[at] in "{[(":
        end = _closed(text, at)
        is_python = _CALLED.match(text, at, end) is not None
        calls = list(_pythonic(reading, text[at:end]) if is_python else _entries(reading, _json(text[at:end])))
        if not calls:
            raise Unreadable("there is no call between the brackets")
        return calls, end
    if (match := _NAMED.match(text, at)) is None:
        raise Unreadable(f"there is other text in the call: {text[at:]!r:.80}")
    return _named(reading, text, match)


def _named(reading: _Reading, text: str, match: re.Match[str]) -> tuple[Iterable[ToolCall], int]:
    name, after = reading.name(match[1]), _between(text, match.end())
    if text.startswith("(", match.end()):
        end = _closed(text, match.end())
        return _pythonic(reading, text[match.start(1) : end]), end
    if text.startswith("{", after):
        end = _closed(text, after)
        return (reading.call(name, _object(name, text[after:end])),), end
    if (key := _KEY.match(text, after)) is not None:
        inner = text[after:].partition(f"</{key[1]}tool_call>")[0]
        pairs = _elements(inner, _KEY, re.compile(f"</{key[1]}arg_value>"))
        return (reading.typed(name, ((each[2].strip(), value) for each, value in pairs)),), after + len(inner)
    # Without arguments, only what follows says that it is a call: the end of the text between tags, or two tags.
    tools = reading.offer.tools
    if (tools and name not in tools) or (
        text.strip() != match[1] and len(_A_TAG.findall(text, match.end(), after)) < 2
    ):
        raise Unreadable(f"no arguments follow the name {name!r:.80}")
    return (reading.call(name, {}),), after


def _between(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return at if match is None else match.end()


def _closed(text: str, at: int) -> int:
    end = _Brackets(at).end(text, 0)
    if end is None:
        raise Unreadable("a bracket in the call is not closed")
    return end


def _elements(
    text: str, opening: re.Pattern[str], closing: re.Pattern[str], *, lenient: bool = False
) -> Iterator[tuple[re.Match[str], str]]:
    at = 0
    while (match := opening.search(text, at)) is not None:
        if text[at : match.start()].strip():
            break
        end = closing.search(text, match.end())
        if end is None and not lenient:
            raise Unreadable(f"{match[0]!r:.80} is not closed")
        yield match, text[match.end() : len(text) if end is None else end.start()]
        at = len(text) if end is None else end.end()
    if text[at:].strip():
        raise Unreadable(f"there is other text in the call: {text[at:].strip()!r:.80}")


def _invoked(reading: _Reading, name: str, inner: str, *, lenient: bool) -> ToolCall:
    if inner.strip().startswith("{"):
        return reading.call(name, _object(name, inner))
    values: list[tuple[str, Any]] = []
    for key, text in _elements(inner, _INVOKED, _INVOKED_END, lenient=lenient):
        value, parameter = text.removeprefix("\n").removesuffix("\n") if lenient else text, key[1].strip()
        typed = _json(value) if key[2] == "false" else value if key[2] else reading.value(name, parameter, value)
        values.append((parameter, typed))
    return reading.call(name, _once(values))


def _object(name: str, text: str) -> dict[str, Any]:
    arguments = _json(_unfenced(text) or "{}")
    if not isinstance(arguments, dict):
        raise Unreadable(f"the arguments of {name!r:.80} are not a JSON object")
    return arguments


def _unfenced(text: str) -> str:
    text = text.strip()
    if not text.startswith("```"):
        return text
    inner = text.partition("\n")[2]
    return inner.partition("```")[0].strip()


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
    written: list[str] = []
    at, bare = 0, ""
    while at < len(text):
        token = _GEMMA_TOKEN.match(text, at)
        if token is None:
            raise Unreadable("the arguments are not in the notation of Gemma")
        at = token.end()
        if bare and (token["sign"] or token["quote"]):
            # A word before a colon is a key. Another word is a number, true, false or null, or a text without quotes.
            written.append(bare if token["sign"] != ":" and _GEMMA_VALUE.fullmatch(bare) else json.dumps(bare))
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


def _llama(reading: _Reading, body: str) -> Iterator[ToolCall]:
    body = _LLAMA_END.sub("", body).strip()
    if body[:1] in ("{", "[") or _CALLED_METHOD.match(body) is not None:
        yield from _marked(reading, body)
    else:
        yield from _code_calls(reading, body, interpreter=True)


def _parse(text: str) -> ast.Module:
    if len(text) > LONGEST_CODE:
        raise Unreadable(f"code of more than {LONGEST_CODE:,} characters is not read")
    try:
        return parse_python(text)
    except (SyntaxError, ValueError) as error:
        raise Unreadable(f"the call is not valid Python: {getattr(error, 'msg', error)}") from error


def _pythonic(reading: _Reading, body: str) -> Iterator[ToolCall]:
    module = _parse(body.removeprefix("<|python_start|>").removesuffix("<|python_end|>").strip())
    if len(module.body) != 1 or not isinstance(module.body[0], ast.Expr):
        raise Unreadable("the text is not a list of calls")
    value = module.body[0].value
    for entry in value.elts if isinstance(value, ast.List | ast.Tuple) else [value]:
        name = _called(entry)
        if not name or not isinstance(entry, ast.Call):
            raise Unreadable("an entry of the list is not a call")
        yield _python_call(reading, entry, reading.name(name), {})


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    function, parts = node.func, []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    return ".".join([function.id, *reversed(parts)]) if isinstance(function, ast.Name) else ""


def _python_call(reading: _Reading, node: ast.Call, name: str, known: Mapping[str, Any]) -> ToolCall:
    """Convert *node*, a call of the tool *name* in Python, to a tool call.

    If an argument is not known before the code runs, the call has the arguments as source text.
    """
    try:
        values = _values(node, list(reading.offer.tools.get(name, {})), known)
    except (ValueError, TypeError):
        arguments = ", ".join(ast.unparse(each) for each in [*node.args, *node.keywords])
        return ToolCall("", name, arguments, "code")
    return reading.call(name, values)


def _values(node: ast.Call, parameters: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of *node* by name. *parameters* names the positional ones.

    Raises :class:`ValueError` or :class:`TypeError` if a name or a value is known only when the code runs.
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
            return _once([(_key(key, known), _literal(value, known)) for key, value in zip(keys, values, strict=True)])
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
    # `interpreter`: the whole code is a call, too, namely of the tool that runs it.
    code = code.strip("\n").removesuffix("<end_code>").strip()
    module = _parse(code)
    if interpreter:
        yield reading.call(INTERPRETER, {"code": code})
    tools, known = reading.offer.tools, _constants(module)
    nodes = [node for node in ast.walk(module) if isinstance(node, ast.Call | ast.Name)]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset, isinstance(node, ast.Name)))
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    has_call = False
    for node in nodes:
        name = _called(node)
        is_tool = name in tools if tools else not interpreter and bool(name) and name not in _BUILTINS
        if is_tool and isinstance(node, ast.Call):
            has_call = True
            yield _python_call(reading, node, name, known)
        elif isinstance(node, ast.Name) and node.id in tools and id(node) not in functions:
            has_call = True  # the tool gets another name, so that its calls cannot be seen
            yield ToolCall("", node.id, "...", "code")
    if not has_call and not interpreter:
        raise Unreadable("there is no call of a tool in the code")


def _constants(module: ast.Module) -> dict[str, Any]:
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


def _react(reading: _Reading, body: str) -> Iterator[ToolCall]:
    match = _ACTION.match(body)
    if match is None:
        return
    said = match[1]
    given = _ACTION_INPUT.search(said)
    if given is None:
        blob = _unfenced(said)
        if blob[:1] == "{":
            yield from _marked(reading, blob)
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
    # ReAct gives one text, without the name of its parameter.
    parameters: Sequence[str] = list(reading.offer.tools.get(name, {}))
    return {parameters[0] if len(parameters) == 1 else "input": text}


def _known_json(reading: _Reading, body: str) -> Iterator[ToolCall]:
    # Most JSON in a text is no call, so JSON that cannot be read is a problem only if it names an offered tool.
    tools = reading.offer.tools
    try:
        calls = list(_marked(reading, body))
    except Unreadable:
        if tools and sum(map(body.count, "{[")) > 1 and _mention(tuple(tools)).search(body) is not None:
            raise
        return
    yield from calls if not tools or any(_is_call(call, tools) for call in calls) else ()


def _is_call(call: ToolCall, tools: Mapping[str, Mapping[str, str]]) -> bool:
    if call.name not in tools:
        return False
    keys = call.values().keys()
    return not ("properties" in keys and keys <= _SCHEMA and keys.isdisjoint(tools[call.name]))


@functools.lru_cache(maxsize=64)
def _mention(tools: tuple[str, ...]) -> re.Pattern[str]:
    names = f"(?:{_any_of(tools).pattern})"
    return re.compile(rf"""[:=]\s*["'](?:functions\.)?{names}["']|["']{names}["']\s*:\s*["']?\{{""")


@functools.lru_cache(maxsize=64)
def _any_of(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"(?!)")


def _known_python(reading: _Reading, body: str) -> Iterator[ToolCall]:
    # The name of a tool, with a sentence after the brackets, is prose about the tool, and not a call.
    match = _NAMED.match(body)
    if match is None or match[1] not in reading.offer.tools:
        yield from _pythonic(reading, body)
        return
    end = _Brackets(0).end(body, 0)
    if end is None or _LINE_END.match(body, end) is not None:
        yield from _marked(reading, body)


_LINE_END = re.compile(r"[ \t\r.!*)]*(?:\Z|[\n<#]|[;,]\s*[\w.]+\()")
_READERS: Mapping[CallFormat, Callable[[_Reading, str], Iterator[ToolCall]]] = {
    **dict.fromkeys(
        ("tagged", "function_tag", "invoke", "mistral", "deepseek", "kimi", "harmony", "phi", "other"), _marked
    ),
    "gemma": _gemma,
    "llama": _llama,
    "json": _known_json,
    "pythonic": _known_python,
    "react": _react,
    "code": _code,
}


# The scanner. It finds where a call begins and ends, in all formats. A call begins with an *opening*: a fixed text,
# such as ``<tool_call>``. A format without tags has an opening like ``{``, or the name of an offered tool at the start
# of a line. The text after the opening (the *head*) decides whether it is a call. Then the end is searched: a closing
# tag, or the bracket that closes the first one.

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


_TO_FUNCTION = rf"{NAME}[^{{\n]{{0,80}}(?=\{{)"
_NO_PROSE = r"[^\s<`.\u2026]"
"""A character after an opening tag. Prose about the tag has a space there, a backtick or three dots."""
_UNCLOSED = re.compile(rf"\s*[{{\[]|\s*<function=|{NAME}(?:\s*<|[ \t]*\n|\()")
"""Matches the text after an opening tag if it looks like a call even without a closing tag."""
_INNER = rf"\s*(?:<[^/\s]|[{{\[]|```|call[:\s]|{NAME}[(<\n:])"
_INNER_BEGUN = rf"\s*(?:<|`{{1,2}}|{NAME})?"
_CALLS = f"<{_BAR}tool\u2581calls\u2581begin{_BAR}>", f"<{_BAR}tool\u2581calls\u2581end{_BAR}>"
_CALL = f"<{_BAR}tool\u2581call\u2581begin{_BAR}>", f"<{_BAR}tool\u2581call\u2581end{_BAR}>"
_FAMILIES: tuple[tuple[CallFormat, str, str], ...] = (
    ("function_tag", "<function=", "</function>"),  # Llama 3.1, Qwen 3 Coder
    ("invoke", f"<{_BAR}DSML{_BAR}function_calls>", f"</{_BAR}DSML{_BAR}function_calls>"),  # DeepSeek V3.2
    ("invoke", f"<{_BAR}DSML{_BAR}tool_calls>", f"</{_BAR}DSML{_BAR}tool_calls>"),
    ("invoke", "<minimax:tool_call>", "</minimax:tool_call>"),  # MiniMax M2
    ("invoke", "<function_calls>", "</function_calls>"),  # Claude, Olmo 3
    ("invoke", "<atem:function_calls>", "</atem:function_calls>"),  # Muse
    ("deepseek", *_CALLS),  # DeepSeek V3, R1, V3.1
    ("deepseek", *_CALL),
    ("kimi", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),  # Kimi K2
    ("kimi", "<|tool_call_begin|>", "<|tool_call_end|>"),
    ("gemma", "<start_function_call>", "<end_function_call>"),  # FunctionGemma
    ("gemma", "<|tool_call>", "<tool_call|>"),  # Gemma 4
    ("other", "<|START_ACTION|>", "<|END_ACTION|>"),  # Command-R7B, Command A
    ("other", "<|action_start|>", "<|action_end|>"),  # InternLM
    ("other", "<|tool_call_start|>", "<|tool_call_end|>"),  # LFM2, MiniCPM 3
    ("other", "<|tools_prefix|>", "<|tools_suffix|>"),  # Apertus
    ("other", f"<{_BAR}tool_calls_begin{_BAR}>", f"<{_BAR}tool_calls_end{_BAR}>"),  # Step-3
    ("other", "<tool_calls>", "</tool_calls>"),  # Jamba, Hunyuan, MiniMax M1
    ("other", "<TOOLCALL>", "</TOOLCALL>"),  # Nemotron
    ("other", "<function_call>", "</function_call>"),  # Granite 20B
    ("other", "<seed:tool_call>", "</seed:tool_call>"),  # Seed-OSS
    ("other", "<longcat_tool_call>", "</longcat_tool_call>"),  # LongCat
)
_MARKED = (
    Opening(
        DEFAULT_TAGS[0],
        "tagged",
        (DEFAULT_TAGS[1],),
        rf"\s*[{{\[]|\s*<function=|{_NO_PROSE}|[ \t]*\n\s*{_NO_PROSE}",
        r"\s*(?:<[a-z=]{0,9})?",
    ),
    *(
        Opening(start, form, (end,), rf"{NAME}>" if start.endswith("=") else _INNER, _INNER_BEGUN)
        for form, start, end in _FAMILIES
    ),
    # The older Qwen
    Opening(
        "\u273fFUNCTION\u273f",
        "other",
        (),
        rf":\s*{NAME}\s*\u273fARGS\u273f:\s*(?=\{{)",
        rf":?\s*(?:{NAME})?\s*(?:\u273f[A-Z]{{0,4}}\u273f?:?\s*)?",
    ),
    Opening(
        "[TOOL_CALLS]",
        "mistral",
        (),
        rf"\s*(?:{NAME}(?:\[CALL_ID\]\w{{0,40}})?(?:\[ARGS\])?\s*(?=\{{)|(?=[{{\[]))",
        rf"\s*(?:{NAME}(?:\[[A-Z_]{{0,9}}\]?\w{{0,40}}){{0,2}}\s*)?",
    ),
    *(
        Opening(text, "harmony", (), _TO_FUNCTION, rf"(?:{NAME}[^{{\n]{{0,80}})?")
        for text in ("<|channel|>commentary to=", "<|start|>assistant to=", "=functions.")
    ),
    Opening("```tool_code", "gemma", ("\n```",), r"[ \t]*\n", r"[ \t]*"),
    Opening("<|python_tag|>", "llama", ("<|eom_id|>", "<|eot_id|>"), r"\n?[A-Za-z_{\[#]", r"\n?"),
    Opening("<|python_start|>", "pythonic", ("<|python_end|>",), r"\s*[A-Za-z_\[]", r"\s*"),
    *(Opening(text, "phi", (), r"\s*(?=[{\[])", r"\s*") for text in ("<|tool_call|>", "<|tool_calls|>")),
)
_WORD = "(?i:tool|func|call|action|invoke|plugin)"
_MARK = rf"[|{_BAR}][^<>\s]{{1,40}}[|{_BAR}]>|(?!/)[^<>\s]{{0,30}}{_WORD}[^<>\n]{{0,80}}>"
"""A tag that no family of the table has, without its first sign: a special token, or a tag whose name says call."""
_MARK_BEGUN = (
    rf"(?!/)[^<>\s]{{0,64}}(?:\s\w{{0,20}}(?:=[\"']?[\w.-]{{0,100}})?)?|(?!/)[^<>\s]{{0,30}}{_WORD}[^<>\n]{{0,80}}"
)
_LITERAL = r"(?:[A-Za-z_]\w{0,60}\s{0,3}=[^=]|[\"'\d\[{)-])"
"""The beginning of arguments that are written out. A signature or a sentence has the names of parameters there."""
_ACTION_ENDS = ("\nObservation:", "\nAction:", "\nThought:", "\nFinal Answer:")
_UNMARKED: tuple[CallFormat, ...] = ("json", "pythonic", "other", "react", "code")


def _unmarked(form: CallFormat, offer: ToolOffer, tags: tuple[str, str] | None, *, chosen: bool) -> list[Opening]:
    """Return the openings of *form*, a format without tags; empty if it must not be read.

    *chosen*: the user has chosen this format, with *tags* around code, if any.
    """
    match form:
        case "json" if chosen or offer.tools:
            return [
                Opening("{", form, (), r"""(?=\s*["'])""", r"\s*"),
                Opening("[", form, (), r"""(?=\s*\{\s*["'])""", r"\s*(?:\{\s*)?"),
            ]
        case "pythonic" if chosen or offer.tools:
            head, begun = (
                rf"(?=\s*(?:{_any_of(tuple(offer.tools)).pattern if offer.tools else NAME})\()",
                r"\s*[\w.-]{0,100}",
            )
            return [
                Opening("[", form, (), head, begun),
                *(
                    Opening(name, form, ("\n",), rf"\(\s*{_LITERAL}", r"(?:\(\s*(?:\w{1,60}\s*=?)?)?", marked=False)
                    for name in offer.tools
                ),
            ]
        case "other" if offer.tools and not chosen:
            names = f"(?:{_any_of(tuple(offer.tools)).pattern})"
            near = (
                rf"\W{{0,20}}{names}(?=\W)|(?s:.{{0,200}}?)"
                rf"(?:[\"'=]{names}[\"']|(?<!\w){names}(?=\s{{0,2}}[(){{}}\[\]<>:=,|\n]))"
            )
            inside = rf"[\w:.-]{{1,40}}\s\w{{1,20}}=[\"']?{names}[\"'>]|{names}>"
            label = r"(?::\d{0,9})?[ \t:]{0,9}\n?[ \t]{0,9}"
            return [
                Opening(
                    "<",
                    form,
                    ("\n\n",),
                    rf"{inside}|(?:{_MARK})(?:{near})",
                    rf"{_MARK_BEGUN}|(?:{_MARK})(?s:.{{0,240}})",
                ),
                *(
                    Opening(name, form, (), label + r"""(?=\{\s*["'}])""", rf"{label}(?:\{{\s*)?", marked=False)
                    for name in offer.tools
                ),
            ]
        case "react" if chosen or offer.react:
            number = r"[ \t]{0,9}\d{0,9}[ \t]{0,9}"
            return [Opening("Action", form, _ACTION_ENDS, rf"{number}:", number, marked=False)]
        case "code" if chosen or offer.code:
            pairs = (tags,) if tags is not None else offer.code or (("<code>", "</code>"), *FENCES)
            return [Opening(opening, form, (closing,)) for opening, closing in pairs]
        case _:
            return []


def openings_of(trigger: ToolCalls, offer: ToolOffer) -> list[Opening]:
    formats, tags = trigger.formats, (trigger.opening, trigger.closing)
    own = None if tags == DEFAULT_TAGS else tags
    openings = [
        each for each in _MARKED if (formats is None or each.form in formats) and (each.form != "tagged" or own is None)
    ]
    if own is not None and (formats is None or "tagged" in formats):
        openings.append(Opening(trigger.opening, "tagged", (trigger.closing,)))
    for form in _UNMARKED:
        chosen = formats is not None and form in formats
        if chosen or formats is None:
            openings += _unmarked(form, offer, own if chosen else None, chosen=chosen)
    return openings


_STRINGS = re.compile(r"[\"'{}\[\]()]")
_STRING_ENDS = {quote: re.compile(rf"\\.?|{quote}", re.DOTALL) for quote in ('"', "'")}


class _Brackets:
    """Finds the bracket that closes the first one in a text of JSON or Python, which may arrive in parts."""

    __slots__ = ("_depth", "_quote", "at")

    def __init__(self, at: int) -> None:
        self.at = at
        self._depth = 0
        self._quote = ""

    def end(self, text: str, base: int) -> int | None:
        # Read `text`, which begins at offset `base`. Return the offset after the closing bracket, if it has come.
        at = self.at - base
        while True:
            pattern = _STRING_ENDS[self._quote] if self._quote else _STRINGS
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


class _OpeningSearch(NamedTuple):
    """A fast search for the openings of calls."""

    leads: re.Pattern[str]
    """Matches near the beginning of any of the texts, if one is there: a fast first test."""
    texts: re.Pattern[str]
    """Matches any of the texts, the longest first."""
    prefixes: frozenset[str]
    """All proper beginnings of the texts, to recognize a text that is not complete yet."""
    reach: int


@functools.lru_cache(maxsize=64)
def _search_for(texts: tuple[str, ...]) -> _OpeningSearch:
    # A text that begins with a letter counts only after the signs of _BEFORE_NAME.
    signs, letters = (
        "".join(sorted({text[0] for text in texts if text[0].isidentifier() is is_name})) for is_name in (False, True)
    )
    after_sign = rf"(?:\A|[\n:>=*|;.!-])[ \t]*(?:functions\.)?[{re.escape(letters)}]"
    leads = [*([f"[{re.escape(signs)}]"] if signs else []), *([after_sign] if letters else [])]
    return _OpeningSearch(
        re.compile("|".join(leads) or r"(?!)"),
        _any_of(texts),
        frozenset(text[:size] for text in texts for size in range(1, len(text))),
        max(map(len, texts), default=1),
    )


class _Quoting(NamedTuple):
    """Which Markdown quotations are open at offset ``at``. The next reading continues there."""

    at: int
    since: int
    """The offset at which the reading began: the start of a phase. In another phase, the reading starts again."""
    in_block: bool = False
    ticks: int = 0
    """The number of backticks in the current line."""
    lead: str = ""
    """The first three characters of the current line, without its indentation."""

    def after(self, text: str) -> _Quoting:
        _, _, in_block, ticks, lead = self
        for number, part in enumerate(text.split("\n")):
            if number:
                in_block, ticks, lead = in_block ^ (lead in ("```", "~~~")), 0, ""
            ticks += part.count("`")
            if len(lead) < 3:
                lead = (lead + part).lstrip()[:3]
        return _Quoting(self.at + len(text), self.since, in_block, ticks, lead)


_LINE_START = re.compile(r"\n[ \t]*\Z")
_BEFORE_NAME = re.compile(r"(?:[\n:>=*|;-]|[.!] )[ \t]*(?:functions\.)?\Z")


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
            # Compile now: the first use is in the middle of a stream, and Python caches compiled patterns.
            for pattern in (opening.head, opening.begun):
                re.compile(pattern)
            _any_of(opening.closings)
        self._search = _search_for(tuple(self._openings))
        closings = {end[-1] for openings in self._openings.values() for each in openings for end in each.closings}
        longest = max(
            (len(end) for openings in self._openings.values() for each in openings for end in each.closings), default=0
        )
        self._overlap = max(longest, self._search.reach) + 1
        self._absent: set[tuple[str, ...]] = set()
        """The closings that do not follow any more, because the text has ended."""
        self._base, self._text = 0, ""
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
        self._expects = self._is_own or expects_text(offer) or trigger.formats is not None
        """Whether somebody may run a call that the model quotes."""
        self._quoting = _Quoting(0, 0)

    @property
    def hold(self) -> int:
        # The start of the open call, or of text that may become an opening. Text before it is not held.
        return self._at if self._open else max(self.start, self._half)

    @property
    def bridges(self) -> bool:
        # Feedback inside a call does not end the call.
        return bool(self._open)

    def feed(self, transcript: Transcript) -> Iterator[Span]:
        return self._scan(transcript, last=False)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        # The end of the text may end an open call, too.
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

    def _find(self, transcript: Transcript, *, last: bool) -> bool:
        """Find the next text that begins a call, store it, and return whether there is one."""
        search, text, base = self._search, self._text, self._base
        at = max(self.pos - search.reach + 1, self.start, self._from) - base
        self._half = transcript.length
        leads = search.leads.finditer(text, max(at - _INDENT, 0))
        first = next((lead.end() - 1 for lead in leads if lead.end() > at), None)
        if first is None:
            return False
        match = search.texts.search(text, first)
        while match is not None:
            at = match.start()
            if not last and len(text) - at < search.reach and text[at:] in search.prefixes:
                break  # a longer opening may follow
            # The first sign alone begins a call in a format that the table does not have.
            texts = dict.fromkeys((match[0], match[0][0]))
            openings = [each for text in texts for each in self._openings.get(text, ())]
            possible = [each for each in openings if self._counts(transcript, base + at, each)]
            if possible:
                self._at, self._open, self._body, self._brackets = base + at, possible, None, None
                return True
            match = search.texts.search(text, at + 1)
        if not last:
            self._half = self._half_opening(transcript, max(self.start, self._from, base + first))
        return False

    def _half_opening(self, transcript: Transcript, least: int) -> int:
        text, length = self._text, self._base + len(self._text)
        for at in range(max(length - self._search.reach + 1, least), length):
            if text[at - self._base :] in self._search.prefixes and (
                not text[at - self._base].isidentifier() or self._follows(transcript, at, _BEFORE_NAME)
            ):
                return at
        return length

    def _counts(self, transcript: Transcript, at: int, opening: Opening) -> bool:
        # An opening without a tag must start a line. The formats without tags are not read in the reasoning. Quoted
        # text begins no call, unless the client also runs quoted calls.
        if opening.form in _UNMARKED and opening not in _MARKED and transcript.phase == "reasoning":
            return False
        if not opening.marked:
            pattern = _LINE_START if opening.form == "react" else _BEFORE_NAME
            if not self._follows(transcript, at, pattern):
                return False
            if opening.form != "react":
                return not self._is_quoted(transcript, at)
        return self._expects or not self._is_quoted(transcript, at)

    def _follows(self, transcript: Transcript, at: int, pattern: re.Pattern[str]) -> bool:
        low = max(self.start, transcript.phases[-1][0], at - _INDENT)
        begins = low in (self.start, transcript.phases[-1][0])
        return pattern.search("\n" * begins + transcript.slice(low, at)) is not None

    def _is_quoted(self, transcript: Transcript, at: int) -> bool:
        first = transcript.phases[-1][0]
        known = self._quoting
        if known.since != first or known.at > at:
            known = _Quoting(first, first)
        self._quoting = known = known.after(transcript.slice(known.at, at))
        return known.in_block or known.ticks % 2 == 1

    def _end(self, transcript: Transcript, *, last: bool) -> int | None:
        # `last`: no more text will come. If the text turns out not to be a call, return the start of its opening, with
        # `_body` unset.
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
        kept: list[Opening] = []
        for opening in self._open:
            after = self._at + len(opening.text)
            head = self._text[after - self._base : after - self._base + _HEAD]
            match = re.match(opening.head, head)
            decided = last or len(head) == _HEAD
            if match is not None and not kept:
                self._body, self._open, self.pos = opening, [opening], after
                if not opening.closings:
                    is_bracket = len(opening.text) == 1 or not opening.marked
                    first = self._at if is_bracket else after + match.end()
                    self._brackets = _Brackets(first)
                return opening
            if match is not None or (not decided and re.fullmatch(opening.begun, head) is not None):
                kept.append(opening)
        self._open = kept
        return None

    def _closing(self, transcript: Transcript, opening: Opening, *, last: bool) -> int | None:
        text, base = self._text, self._base
        first = max(self.pos - max(map(len, opening.closings)) + 1, self._at + len(opening.text)) - base
        match = None if opening.closings in self._absent else _any_of(opening.closings).search(text, first)
        if match is None:
            if last:
                self._absent.add(opening.closings)
            return self._whole(transcript) if last else None
        self._known = base + match.end()
        # The line that ends a ReAct action is not part of it.
        return base + match.start() if opening.form == "react" else self._known

    def _whole(self, transcript: Transcript) -> int:
        self._known = transcript.length + 1  # after a cut right there, the call may continue
        return transcript.length

    def _accept(self, transcript: Transcript, span: Span, opening: Opening) -> bool:
        # Store the calls in `span`, and return whether it is a call. In the answer, text that looks like a call and
        # cannot be read counts as one, because an agent may be able to read it.
        if opening.form == "tagged" and self._known > transcript.length:
            after = span.start + len(opening.text)
            head = transcript.slice(after, min(after + _HEAD, span.end)) if not self._is_own else ""
            if _UNCLOSED.match(head) is None:
                return False
        text = transcript.slice(span.start, span.end)
        tags = (opening.text, (*opening.closings, "")[0]) if opening.form in _TAGGED else ("", "")
        written = read_written(opening.form, text, self._offer, tags)
        if self._is_own and opening.form == "tagged" and (written is None or written.problem):
            written = WrittenCalls("tagged")  # only the extractor of the user knows what is between these tags
        if written is not None and written.problem and transcript.phase_at(span.start) == "reasoning":
            written = None  # no agent runs it, and models write about calls there
        if written is not None and opening.form in ("pythonic", "other") and opening not in _MARKED:
            is_sure = not written.problem and all(call.kind == "function" for call in written.calls)
            if not is_sure and self._is_quoted(transcript, span.start):
                written = None  # programs and explanations quote code with the names of tools
        self.written = written
        return written is not None

    def _close(self) -> None:
        self._open, self._body, self._brackets = [], None, None

    def rewind(self, transcript: Transcript) -> None:
        self._quoting = _Quoting(0, 0)
        super().rewind(transcript)

    def _reset(self) -> None:
        super()._reset()
        self._close()
        self._from = self._half = self.start


_TAGGED: tuple[CallFormat, ...] = ("tagged", "llama", "code")
"""The formats whose readers get the text without its opening and its closing."""
