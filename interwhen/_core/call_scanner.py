"""The scanner of tool calls that models write as text. It finds where a call begins and ends, in all formats.

A call begins with an *opening*: a fixed text, such as ``<tool_call>``. A format without tags, such as plain JSON, has
an opening like ``{``, which counts only at the start of a line. The text after the opening (the *head*) decides whether
it is a call. Then the end is searched: a closing tag, or the bracket that closes the first one.
docs/tool-calls.md lists the formats and the conditions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from interwhen._core.scanners import Scanner
from interwhen._core.tool_offers import FENCES, NO_OFFER, ToolOffer
from interwhen._core.transcript import Transcript
from interwhen._core.written_calls import NAME, read_written
from interwhen._types.segments import CallFormat, WrittenCalls
from interwhen._types.spans import Span
from interwhen._types.triggers import DEFAULT_TAGS, ToolCalls

_HEAD = 400
"""The longest text after an opening, in characters, that decides whether it is a call."""
_INDENT = 40
"""The longest indentation of a call without tags, in characters."""


class Opening(NamedTuple):
    """How calls of one format begin and end."""

    text: str
    form: CallFormat
    closings: tuple[str, ...] = ()
    """The texts that end the call, including themselves. Empty: a closing bracket ends it."""
    head: str = ""
    """A pattern for the text after the opening. If a bracket ends the call, it ends before the first bracket."""
    begun: str = ""
    """A pattern for each text that is the beginning of a head."""
    marked: bool = True
    """Whether ordinary text does not have this opening. If not, it counts only at the start of a line."""
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
    """Return the openings of a format without tags, if *offer* shows that it may come, or if the user has *chosen* it.

    *tags* are the tags around code that the user has chosen, if any.
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
    """Return the openings of all calls that *trigger* reads in the answer to a request with *offer*."""
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
    """Finds the bracket that closes the first one, in JSON or Python."""

    __slots__ = ("_depth", "_python", "_quote", "at")

    def __init__(self, at: int, *, python: bool) -> None:
        self.at = at
        """The offset up to which the text was read."""
        self._python = python
        self._depth = 0
        self._quote = ""

    def end(self, text: str, base: int) -> int | None:
        """Read *text*, which begins at offset *base*. Return the offset after the closing bracket, if it is there."""
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
    """What is needed to find one of several texts quickly."""

    leads: re.Pattern[str]
    """Matches the first character of any of the texts."""
    texts: re.Pattern[str]
    """Matches any of the texts, the longest first."""
    prefixes: frozenset[str]
    """All proper beginnings of the texts."""
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
    """What is known about quotations in Markdown before offset ``at``. It is kept, so that no text is read twice."""

    at: int
    since: int
    """The offset at which the reading began."""
    in_block: bool = False
    """Whether a fenced block is open."""
    ticks: int = 0
    """The number of backticks in the current line."""
    lead: str = ""
    """The first three characters of the current line, without its indentation."""

    def after(self, text: str) -> _Quoting:
        """Return what is known after *text*, which follows."""
        _, _, in_block, ticks, lead = self
        for number, part in enumerate(text.split("\n")):
            if number:
                in_block, ticks, lead = in_block ^ (lead in ("```", "~~~")), 0, ""
            ticks += part.count("`")
            if len(lead) < 3:
                lead = (lead + part).lstrip()[:3]
        return _Quoting(self.at + len(text), self.since, in_block, ticks, lead)


class CallScanner(Scanner):
    """Tool calls in the text, in all formats that *trigger* and the *offer* of the request allow."""

    reads_on = False

    def __init__(self, trigger: ToolCalls, offer: ToolOffer = NO_OFFER) -> None:
        super().__init__()
        self.found: WrittenCalls | None = None
        """The calls in the last segment that was yielded."""
        self._offer = offer
        self._is_own = (trigger.opening, trigger.closing) != DEFAULT_TAGS
        self._openings: dict[str, list[Opening]] = {}
        for opening in openings_of(trigger, offer):
            self._openings.setdefault(opening.text, []).append(opening)
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
        """Yield each call that is complete."""
        return self._scan(transcript, last=False)

    def flush(self, transcript: Transcript) -> Iterator[Span]:
        """Yield the remaining calls. In the answer, the end of the text ends an open call, too.

        A server stops before a stop sequence or a special token, which may be the end of the call.
        """
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
        """Find the next opening. Returns whether there is one."""
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
        """Return the start of the text at the end, from *least* on, that may become an opening."""
        text, length = self._text, self._base + len(self._text)
        for size in range(min(self._search.reach - 1, length - least), 0, -1):
            if text[-size:] in self._search.prefixes:
                return length - size
        return length

    def _counts(self, transcript: Transcript, at: int, opening: Opening) -> bool:
        """Tell whether *opening* at offset *at* is in a place where a call may begin."""
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
        """Return the end of the open call; ``None``: it is not known yet. If there is no ``_body``, it is no call."""
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
        """Return the opening whose head follows it. ``None``: there is none, or more text must decide."""
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
        """Return the end of the trace, which ends the open call."""
        self._known = transcript.length + 1  # after a cut right there, the call may continue
        return transcript.length

    def _accept(self, transcript: Transcript, span: Span, opening: Opening) -> bool:
        """Read the call at *span*. Returns whether it is one."""
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
        """Go back after a cut."""
        self._quoting = _Quoting(0, 0)
        super().rewind(transcript)

    def _reset(self) -> None:
        super()._reset()
        self._close()
        self._from = self._half = self.start


_WHOLE: tuple[CallFormat, ...] = ("function_tag", "deepseek", "kimi", "harmony", "gemma", "json", "pythonic", "react")
"""The formats whose readers get the text with its opening and its closing."""
