"""Patterns from outside: in linear time, or in a process that can be killed, and never by ``re`` in this process."""

from __future__ import annotations

import ast
import http.server
import json
import re
import threading
import time
import unicodedata
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import anyio
import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Monitor, Pass, Task, UsageError, Violation
from interwhen.policy import name_fits
from interwhen.results import TimedOut
from interwhen.testing import ScriptedModel

import interwhen_verifiers
from interwhen_verifiers import _re2
from interwhen_verifiers._re2 import linear, problems_of
from interwhen_verifiers.command import command
from interwhen_verifiers.json_schema import json_schema
from interwhen_verifiers.provenance import provenance
from interwhen_verifiers.regex import regex
from interwhen_verifiers.terms import terms
from interwhen_verifiers.tool_policy import tool_policy

# ------------------------------------------------------------------ the same as re, in linear time

_ATOMS = [
    *("\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "a", "b", "é", "1", "\\.", ".", "[a-c]", "[^a]", "[\\w-]", "[^\\s]"),
    *("[]a]", "^", "$", "\\A", "\\Z", "[\\d.]", "\n", " ", "\\x41", "\\u00e9", "{", "}", "a{2}", "b{,2}", "x{a}"),
    *("[é-ü]", "(?:ab|a)", "(a)", "(?P<n>b)", "\\-", "\\b", "\\B", "[^a-k]", "K", "i", "s", "[h-j]"),
]
_PATTERNS = st.builds(
    lambda head, parts: head + "".join(atom + often for atom, often in parts),
    st.sampled_from(["", "", "", "(?m)", "(?s)", "(?i)", "(?i)", "(?i)(?ms)"]),
    st.lists(
        st.tuples(st.sampled_from(_ATOMS), st.sampled_from(["", "", "", "*", "+", "?", "*?", "{2}", "|"])),
        min_size=1,
        max_size=6,
    ),
)
_TEXTS = st.text(st.sampled_from("abA é1٣\n\u2028_.-x{}ſü\x1c\x85[]/½中\ud800kıİ\u212a\u0345S"), max_size=10)


@given(pattern=_PATTERNS, text=_TEXTS)
def test_linear_pattern_agrees_with_re(pattern: str, text: str) -> None:
    try:
        expected = re.search(pattern, text)
    except re.error:
        return
    ours = linear(pattern)
    if ours is not None:
        assert (ours.search(text) is None) == (expected is None)
    wider = linear(pattern, without_borders=True)
    if wider is not None and expected is not None:
        assert wider.search(text) is not None


@pytest.mark.parametrize("pattern", ["(?i)[a-z]", "(?i)[^a-z]", r"(?i)\w", r"(?i)\W", "(?i)k|i|s", r"(?i)[\w.]"])
def test_case_folding_agrees_with_re(pattern: str) -> None:
    ours = linear(pattern)
    assert ours is not None
    # RE2 may know characters that were added to Unicode after this Python.
    characters = (chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs"))
    cased = [
        char
        for char in characters
        if char.isascii() or len({char, *char.lower(), *char.upper()}) > 1 or char in "ı\u0345"
    ]
    assert len(cased) > 2_000
    different = [char for char in cased if (ours.search(char) is None) != (re.search(pattern, char) is None)]
    assert different == []


def test_linear_match_spans_equal_re_spans() -> None:
    for pattern, text in ((r"\d{3}-\d{4}", "né 555-1234"), ("c$", "abc\n"), (r"(?m)^b$", "a\nb\nc"), ("𝄞+", "x𝄞𝄞y")):
        ours, theirs = linear(pattern), re.search(pattern, text)
        assert ours is not None
        assert theirs is not None
        assert ours.search(text) == theirs.span()


@pytest.mark.parametrize("pattern", ["(a$|b)", "(?:a|(b$))|c$", "^(?:a$|b$)", "(a|b)c$"])
def test_final_end_anchor_is_translated(pattern: str) -> None:
    ours = linear(pattern)
    assert ours is not None
    for text in ("a", "a\n", "b\n", "c\n", "bc\n", "a\n\n", "ab"):
        assert (ours.search(text) is None) == (re.search(pattern, text) is None)


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"(a)\1", "(?=a)", "(?<!a)b", r"\bx\b", "(?i)é", r"(?i)\xe9", "(?i:a)", "a++", "[[:alpha:]]", "(?x) a"),
        *(r"a\Z|b$", "(?:a$)\n", "((?:a$)|b)\n", "(?:(a$))*"),
    ],
)
def test_inequivalent_pattern_is_not_translated(pattern: str) -> None:
    assert linear(pattern) is None
    assert problems_of([pattern]) == {}


@pytest.mark.parametrize("pattern", ["^*", "\\A+", "\\Z{2}", "(?m)$?", "(?P<1>a)", "(?P<a b>a)"])
def test_invalid_python_pattern_is_refused(pattern: str) -> None:
    assert pattern in problems_of([pattern])
    with pytest.raises(UsageError, match="must be a regular expression"):
        regex(patterns=(pattern,))


def test_a_large_pattern_is_refused_soon() -> None:
    begun = time.thread_time()
    assert linear(r"\w{900}" * 10) is None
    assert linear("x" * 3000) is None
    assert time.thread_time() - begun < 1


def test_without_re2_every_pattern_runs_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_re2, "re2", None)
    linear.cache_clear()
    try:
        assert regex(patterns=("a",)).verifier.worker == "process"
        assert json_schema(schema={"pattern": "^a"}).verifier.worker == "process"
        assert json_schema(schema={"type": "string"}).verifier.worker == "thread"
    finally:
        linear.cache_clear()


# ------------------------------------------------------------------ what a pattern may cost

EVIL = "^(a+)+$"
LOOKING = r"^(?=a)(a+)+$"


def _longest_pause(monitor: Monitor, text: str) -> tuple[Any, float]:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        # The thread's own time: on a busy machine, others take the rest.
        last = time.thread_time()
        while True:
            await anyio.sleep(0.001)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    async def main() -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            async with interwhen.run(ScriptedModel([text]), "Say a.", monitors=[monitor]) as run:
                async for _ in run:
                    pass
                result = run.result
            group.cancel_scope.cancel()
        return result

    return anyio.run(main), longest


@pytest.mark.fault("G11", "a backtracking pattern of a schema, on 10,000 characters", "matched in linear time")
def test_evil_schema_pattern_takes_linear_time() -> None:
    text = json.dumps("a" * 10_000 + "!") + "\n"
    monitor = json_schema(schema={"type": "string", "pattern": EVIL}, where="answer", every=4096)
    result, pause = _longest_pause(monitor, text)
    assert "pattern" in result.violations[0].why
    # The promise is 20 ms on a free machine; a busy one may hold any loop for longer. re would take for ever.
    assert pause < 0.5


@pytest.mark.fault("G11", "a pattern that is not linear", "runs in a process, which is killed; the loop continues")
def test_look_around_pattern_does_not_block_loop() -> None:
    text = json.dumps("a" * 40 + "!") + "\n"
    monitor = interwhen.load_monitor(
        {"name": "json_schema", "schema": {"pattern": LOOKING}, "where": "answer", "deadline": 0.5}
    )
    assert monitor.verifier.worker == "process"
    result, pause = _longest_pause(monitor, text)
    assert result.status == "unverified"
    assert {type(check.outcome) for check in result.checks} == {TimedOut}
    assert pause < 0.5


def _prepared(monitor: Monitor) -> Any:
    assert monitor.prepare is not None
    return monitor.prepare(Task(""))


def test_look_around_pattern_is_judged_in_process() -> None:
    schema = {"type": "object", "patternProperties": {"^(?!x_)": {"type": "integer"}}, "additionalProperties": False}
    monitor = json_schema(schema=schema)
    assert monitor.verifier.worker == "process"
    for text, status in (('{"a": 1}', "verified"), ('{"x_a": 1}', "abstained"), ('{"a": "1"}', "abstained")):
        with interwhen.run_sync(ScriptedModel([text]), "", monitors=[monitor]) as run:
            assert run.drain().status == status
    # No caller can have it matched in this process.
    prepared = _prepared(monitor)
    assert isinstance(prepared.judge.validate('{"a": 1}'), interwhen.Unknown)


def test_property_patterns_agree_with_library() -> None:
    schema = {
        "properties": {"n": {"type": "null"}},
        "patternProperties": {"^s_": {"type": "string"}, "_i$": {"type": "integer"}},
        "additionalProperties": {"type": "boolean"},
    }
    judge = _prepared(json_schema(schema=schema)).judge
    assert not judge.apart
    for document in ('{"n": null}', '{"s_a": "x", "a_i": 3, "other": true}'):
        assert isinstance(judge.validate(document), Pass)
    for document in ('{"n": 1}', '{"s_a": 1}', '{"a_i": "3"}', '{"other": 1}', '{"s_i": 3}'):
        assert isinstance(judge.validate(document), Violation)


def test_slow_diagnostics_pattern_is_killed() -> None:
    script = "import sys; print('a' * 40 + '!'); sys.exit(1)"
    monitor = command(argv=("python3", "-c", script, "{file}"), pattern=r"^(?P<message>(a+)+)$", sandbox="none")
    claim = next(iter(monitor.extractor(interwhen.Segment("x", interwhen.Span(0, 1), "answer"))))  # type: ignore[operator]
    begun = time.perf_counter()
    verdict: Any = anyio.run(monitor.verifier.check, claim)  # type: ignore[arg-type]
    assert time.perf_counter() - begun < 60
    assert "took too long" in verdict.why


# ------------------------------------------------------------------ for every verifier

CANARY = "(qZ+)+$"
LOOKING_CANARY = "(?=qZ)(qZ+)+$"
_SCHEMA = {"pattern": CANARY, "patternProperties": {CANARY: {}, LOOKING_CANARY: {}}}
OUTSIDE: dict[str, list[Any]] = {
    "command": [lambda: command(argv=("true", "{file}"), pattern=f"(?P<message>{CANARY})", sandbox="none")],
    "json_schema": [
        lambda: json_schema(schema=_SCHEMA),
        lambda: json_schema(schema={"pattern": CANARY}),
        lambda: json_schema(tools={"send": _SCHEMA}),
    ],
    "provenance": [lambda: provenance(changing=(CANARY, "*"), destinations=("*", f"*{CANARY}*"), documents=(CANARY,))],
    "regex": [lambda: regex(patterns=(CANARY,)), lambda: regex(patterns=(LOOKING_CANARY,), ignore_case=True)],
    "terms": [lambda: terms(terms=(CANARY,))],
    "tool_policy": [lambda: tool_policy(policy="retail")],
}
"""Verifiers that take patterns or names from outside, with a pattern in each place where they do."""
NOTHING = {
    "arithmetic", "countdown", "critic", "early_stopping", "game24", "logic", "maze", "plan", "python", "spatialmap",
    "zebralogic",
}  # fmt: skip
"""Verifiers that read texts only, of the task and of the model."""
_TEXT = f"""{CANARY} = 3\n- {CANARY} is red.\n```c\nint {CANARY};\n```\n```python\nassert {CANARY}\n```
There is a house named {CANARY}. {CANARY} is to the left of {CANARY}.
```json
{{"a": "{CANARY}", "{CANARY}": 3}}
```
<tool_call>{{"name": "send", "arguments": {{"to": "{CANARY}"}}}}</tool_call>
"""


def test_every_verifier_declares_its_external_patterns() -> None:
    names = {entry.name for entry in entry_points(group="interwhen.verifiers") if "interwhen_verifiers" in entry.value}
    assert names == {*OUTSIDE, *NOTHING}, "a new verifier: say here which patterns it takes from outside"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    patterns: set[str] = set()
    original = re._compile  # type: ignore[attr-defined]

    def compiled(pattern: Any, flags: Any) -> Any:
        patterns.add(pattern if isinstance(pattern, str) else str(getattr(pattern, "pattern", pattern)))
        return original(pattern, flags)

    monkeypatch.setattr(re, "_compile", compiled)
    return patterns


def test_pattern_recorder_sees_re_calls(seen: set[str]) -> None:
    re.search(CANARY, "x")
    assert CANARY in seen


@pytest.mark.fault("G11", "a pattern in each option, task and answer of every verifier", "`re` never gets it here")
@pytest.mark.parametrize("name", sorted({*OUTSIDE, *NOTHING}))
def test_no_pattern_from_outside_reaches_re(name: str, seen: set[str]) -> None:
    makers = OUTSIDE.get(name, [lambda: interwhen.load_monitor(name)])
    for make in makers:
        monitor = make()
        with interwhen.run_sync(ScriptedModel([_TEXT]), _TEXT, monitors=[monitor]) as run:
            run.drain()
    # Where a name is searched for literally, it is escaped, and so it is not the pattern any more.
    assert not [pattern for pattern in seen if CANARY in pattern or LOOKING_CANARY in pattern]


_FUNCTIONS = frozenset(("compile", "search", "match", "fullmatch", "findall", "finditer", "split", "sub", "subn"))
ALLOWED = {
    "_json_schema/validator.py:_found": "what RE2 cannot express, in a worker process",
    "_patterns.py:search_by_re": "terms, escaped; and what RE2 cannot express, in a worker process",
    "python.py:_failed": "a name, escaped",
    "puzzles/_logic/orders.py:read_order": "our own words for an order",
    "puzzles/_logic/orders.py:read_facts": "our own words",
    "puzzles/_logic/orders.py:_grammar": "names of the puzzle, escaped",
    "puzzles/_logic/orders.py:mentions": "names of the puzzle, escaped",
    "puzzles/_logic/swaps.py:read_swaps": "our own words",
    "puzzles/spatialmap.py:make_grammar": "names of the puzzle, escaped",
    "puzzles/zebralogic.py:_values": "values of the puzzle, escaped",
}
"""Where a pattern is made while a verifier works, and why that is none from outside."""


def _made_patterns(path: Path) -> set[str]:
    makers = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=attr), args=[pattern, *_]):
                    constant = isinstance(pattern, ast.Constant) or (
                        isinstance(pattern, ast.Name) and pattern.id.isupper()
                    )
                    if attr in _FUNCTIONS and not constant:
                        makers.add(function.name)
                case ast.Name(id="fnmatch"):
                    makers.add(f"{function.name} (fnmatch)")
                case _:
                    pass
    return makers


def test_re_is_used_only_with_constant_patterns() -> None:
    roots = (Path(interwhen_verifiers.__file__).parent, Path(interwhen.__file__).parent / "policy")
    places = {
        f"{path.relative_to(root).as_posix()}:{name}"
        for root in roots
        for path in root.rglob("*.py")
        for name in _made_patterns(path)
    }
    assert places == set(ALLOWED), "a pattern that is made at run time: match it with _re2.linear, or in a process"


# ------------------------------------------------------------------ names with stars


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_stars_stand_for_any_text(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None
    assert name_fits(name, pattern) == expected


def test_many_wildcards_match_quickly() -> None:
    begun = time.thread_time()
    assert not name_fits("a" * 20_000, "*a" * 200 + "b")
    assert time.thread_time() - begun < 1


# ------------------------------------------------------------------ references to elsewhere


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x.json", "https://example.org/a", "other.json", "file:///etc/x"]
)
def test_a_remote_reference_is_refused(address: str) -> None:
    for schema in ({"$ref": address}, {"properties": {"a": {"items": {"$ref": f"{address}#/$defs/b"}}}}):
        with pytest.raises(UsageError, match="must be in the schema or allowed"):
            json_schema(schema=schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$id": "https://x.org/s/", "$ref": "b", "$defs": {"b": {"$id": "https://x.org/s/b", "type": "null"}}},
        {"const": {"$ref": "https://example.org/a"}},
        {"properties": {"$ref": {"type": "string"}}},
    ],
)
def test_resolvable_references_are_followed(schema: dict[str, Any]) -> None:
    judge = _prepared(json_schema(schema=schema)).judge
    assert isinstance(judge.validate("[]"), Violation) == ("properties" not in schema)


def test_an_allowed_reference_is_fetched_once() -> None:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/s/moved.json":
                self.send_response(302)
                self.send_header("Location", "/elsewhere.json")
                self.end_headers()
                return
            schema = {"/s/a.json": {"$ref": "b.json"}, "/s/b.json": {"type": "integer"}}[self.path]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(schema).encode())

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            schema = {"items": {"$ref": f"{base}/s/a.json"}}
            judge = _prepared(json_schema(schema=schema, remote=(f"{base}/s/",))).judge
            for allowed in ((), (f"{base}/s",), (f"{base}/other/",)):
                with pytest.raises(UsageError, match="must be in the schema or allowed"):
                    json_schema(schema=schema, remote=allowed)
            with pytest.raises(UsageError, match="could not be fetched"):
                json_schema(schema={"$ref": f"{base}/s/moved.json"}, remote=(f"{base}/s/",))
            with pytest.raises(UsageError, match="must be in the schema or allowed"):
                json_schema(schema={"$ref": f"{base}/s/../x.json"}, remote=(f"{base}/s/",))
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/s/a.json", "/s/b.json", "/s/moved.json"]
    assert isinstance(judge.validate("[1]"), Pass)
    assert isinstance(judge.validate('["1"]'), Violation)
