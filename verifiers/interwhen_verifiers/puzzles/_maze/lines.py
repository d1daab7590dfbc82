"""Reads the statements of a line about a maze: positions, moves, turns, counts and answers."""

# ruff: noqa: RUF001 (signs that look alike are read here)

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from interwhen_verifiers.puzzles._maze.grid import Direction, Turn
from interwhen_verifiers.puzzles._statements import MAX_LINE, FinalAnswer, Spanned, find_answer, is_doubtful

MAX_CELLS = 2000
"""About so many cells of a chain are read."""

_WAY = r"(?:up(?:wards?)?|down(?:wards?)?|left|right|north|south|east|west)(?:wards?)?"
_NAMES: dict[Direction, str] = {
    "up": "up north u ↑",
    "right": "right east r →",
    "down": "down south d ↓",
    "left": "left west l ←",
}
_WAYS = {name: way for way, names in _NAMES.items() for name in names.split()}
_ENDING = re.compile(r"(?:wards?)+$")
_PAIR = r"\(\s?(?P<{0}1>-?\d{{1,3}})\s?,\s?(?P<{0}2>-?\d{{1,3}})\s?\)"
_ROWCOL = r"row\s?=?\s?(?P<row>\d{1,3})\s?,?\s(?:and\s)?col(?:umn)?\s?=?\s?(?P<col>\d{1,3})"
_LOCATED = re.compile(
    r"[\s>*#\-•]*+(?:so |the |thus |therefore,? ){0,2}(?P<what>S|E|start(?:ing)?|exit|goal)\b(?: ?\((?:[SE]"
    r"|start|exit)\))?"
    r"(?: ?(?:position|point|cell))?\*?\*?(?: ?\([SE]\))?\*?\*?\s?(?:is\s(?:located\s)?(?:at|in)\b|is\b|at\b|:"
    r"|=)\*?\*?\s?(?:position )?"
    rf"(?:{_PAIR.format('p')}|{_ROWCOL})\*?\*?[.,;]?(?P<rest>.*)",
    re.IGNORECASE,
)
_STEP = re.compile(
    r"[\s>*#\-•]*+(?:(?:step\s?)?(?P<number>\d{1,4})\s?[.:)]\*?\*?\s?|step (?:\d{1,4})\s)?(?:(?:then|next|now"
    r"|first|finally),?\s)?"
    rf"(?:I\s|we\s)?(?:(?:move|moving|go|going|step|walk)s?\s)?\*?\*?(?:(?P<way>{_WAY})\b)?\*?\*?"
    r"(?:\s(?:by )?(?P<count>\d{1,3})(?:\s(?:steps?|cells?|squares?|times?|units?))?)?\s?"
    rf"(?:from\s{_PAIR.format('a')}\s?)?(?:(?:to|→|->|=>)\s?(?:reach )?{_PAIR.format('b')})?[\s.,;!]*+(?P<rest>.*)",
    re.IGNORECASE,
)
_MOVING = re.compile(r"\b(?:move|moving|go|going|steps?|walk)\b", re.IGNORECASE)
_CELL = re.compile(r"\(\s?(-?\d{1,3})\s?,\s?(-?\d{1,3})\s?\)")
_LINK = re.compile(r"\s?(?:→|->|=>|to|then)\s?")
_COMMA = re.compile(r"\s?(?:→|->|=>|,|to|then)\s?|\s")
_CHAIN = re.compile(
    r"[\s>*#\-•]*+(?:\d{1,4}[.:)]\s)?(?:(?:the )?(?P<label>path|route|way|moves?|from|start)\b(?: is)?:?\s)?(?:S\s?|S "
    r"(?:→|->) )?"
    r"(?=\(\s?-?\d)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"[\s>*#\-•]*+(?:so |thus |therefore,? )?(?:the |my )?(?:(?:full|final|complete|whole|shortest|movement) ){0,2}"
    r"(?P<label>path|moves?|route|directions?|sequence|steps?|way)\b[\w\s]{0,24}[:=]\*?\*?\s?",
    re.IGNORECASE,
)
_LIST = re.compile(
    rf"(?:{_WAY}|[UDLR](?![A-Za-z])|[↑↓←→])(?:\s?(?:x|×|\*)\s?\d{{1,3}}|\s?\(\d{{1,3}}(?: (?:times|steps?"
    rf"|cells?))?\)|\s\d{{1,3}}(?!\d))?",
    re.IGNORECASE,
)
_GAP = re.compile(r"(?:\s?(?:,|;|→|->|=>|\||-)\s?(?:and\s|then\s)?|\sthen\s|\sand\s|\s)")
INFEASIBLE = re.compile(r"infeasible[.!]?", re.IGNORECASE)
_LETTERS = re.compile(r"[UDLR]{2,400}|(?=[→, ]{0,800}[↑↓←])[↑↓←→](?:,? ?[↑↓←→]){1,400}")
_LINKED = re.compile(r"[↑↓←](?: ?→ ?[↑↓←→])+")
"""A list of arrows in which each second one may also be a mere link between moves."""
_TURN = re.compile(
    r"[\s>*#\-•]*+(?:turn type|turn)\*?\*?\s?:\*?\*?\s?\*?\*?(right|left|straight|none|no)"
    r"(?:[ _-]?turn)?\b\*?\*?(.{0,200})",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"[\s>*#\-•]*+(current|previous) direction\*?\*?\s?:\*?\*?\s?({_WAY})\b[\s.*]*", re.IGNORECASE)
_HERE = re.compile(rf"[\s>*#\-•]*+current position\*?\*?\s?:\*?\*?\s?{_PAIR.format('p')}[\s.*]*", re.IGNORECASE)
_RUNNING = re.compile(
    r"[\s>*#\-•]*+running counts?\*?\*?\s?:\*?\*?\s?right\s?=\s?(\d{1,4})\s?,\s?left\s?=\s?(\d{1,4})"
    r"(?:\s?,\s?total\s?=\s?(\d{1,4}))?[\s.*]*",
    re.IGNORECASE,
)
_ROTATION = re.compile(
    rf"\b(?:from\s)?(?P<one>{_WAY})\b\s?(?:→|->|to)\s?(?P<other>{_WAY})\b\s?(?:is|:|=|,|\(|–|-|→|->"
    rf"|:\s?this is)\s?(?:a\s|makes a\s)?"
    r"(?P<turn>right|left)[ _-]turn\b(?!\s?\?)",
    re.IGNORECASE,
)
_COUNT = re.compile(
    r"[\s>*#\-•]*+(?:so,? |thus,? |therefore,? |hence,? )?(?:(?:the )?(?:total )?(?:number|count) of "
    r"(?P<kind1>right|left|total)?\s?"
    r"turns(?: (?:in|on|along) the (?:\w+ ){0,2}path)?\*?\*?\s?(?:is|:|=)\s?\*?\*?(?P<n1>\d{1,4})"
    r"|(?P<kind2>right|left|total)\sturns\*?\*?\s?[:=]\s?\*?\*?(?P<n2>\d{1,4})"
    r"|there (?:is|are) (?:a total of )?(?P<n3>\d{1,4}) (?P<kind3>right|left|total)?\s?turns?(?: (?:in|on"
    r"|along) (?:the|this) (?:\w+ ){0,2}path)?)"
    r"[\s.*!]*",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r"(?:^|[\s→>])(?:the )?(?:E|exit(?: \(E\))?) is (?:located )?(?P<place>(?:directly |to the )*(?:top|bottom"
    r"|upper|lower|above|below|left|right)"
    r"[\sa-z-]{0,24}?)(?: of| from)? (?:the )?(?:S|start(?:ing point)?(?: \(S\))?)\b(?P<rest>.*)",
    re.IGNORECASE,
)


class Pair(NamedTuple):
    """Two coordinates in the text. ``order`` is ``rc`` if the text says which one is the row; otherwise it is empty."""

    one: int
    two: int
    order: str = ""

    @property
    def numbers(self) -> tuple[int, int]:
        return self.one, self.two


@dataclass(frozen=True, slots=True)
class Located(Spanned):
    """States that the start (``S``), the exit (``E``) or the walker (``here``) is at ``pair``."""

    what: str
    pair: Pair
    is_sure: bool = True
    """False if it may be about the start or end of a part of the walk, as "Start: (1,3)" may be."""


@dataclass(frozen=True, slots=True)
class Move(Spanned):
    """One move, with its direction ``way``, its cells ``before`` and ``after`` it, or both."""

    # `count` is the number of steps in the direction.

    way: Direction | None
    count: int = 1
    before: Pair | None = None
    after: Pair | None = None


@dataclass(frozen=True, slots=True)
class Moves(Spanned):
    """Consecutive moves. ``number`` is the number before a single step, as in ``Step 3: right``, if one was read."""

    # `is_list`: whether the line is a list of moves, so that it may begin at the start of the maze.

    steps: tuple[Move, ...]
    number: int | None = None
    is_list: bool = True


@dataclass(frozen=True, slots=True)
class Field(Spanned):
    """A stated property of the last step."""

    # `name` is `turn`, `current` or `previous` (directions), or `counts` (of turns so far). `value` is the stated turn
    # or direction. `numbers` are the counts of right turns, left turns and perhaps both.

    name: str
    value: str = ""
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rotation(Spanned):
    """States that going from direction ``one`` to direction ``other`` is the turn ``turn``."""

    one: Direction
    other: Direction
    turn: Turn


@dataclass(frozen=True, slots=True)
class Count(Spanned):
    """States that the path has ``number`` turns of the kind ``right``, ``left`` or ``total``."""

    # `is_tally`: the number may count only the turns so far.

    kind: str
    number: int
    is_tally: bool


@dataclass(frozen=True, slots=True)
class ExitPlace(Spanned):
    """States that the exit is at ``place``, as seen from the start."""

    place: str


@dataclass(frozen=True, slots=True)
class MazeAnswer(FinalAnswer):
    """The answer: its text, and its moves if it is a list of moves."""

    moves: Moves | None


Said: TypeAlias = Located | Moves | Field | Rotation | Count | ExitPlace | MazeAnswer


def read_line(line: str, *, least: int = 0) -> tuple[Said, ...]:
    # With `least`, a line of only moves, at least so many, or of only the word "infeasible" is an answer, too. A
    # question has no statements.
    if len(line) > MAX_LINE:
        return ()
    if (answer := find_answer(line)) is not None:
        return (
            MazeAnswer(answer.start, answer.end, answer.text, read_moves(line, answer.start, answer.end, label="path")),
        )
    if "?" in line:
        return ()
    if least and (final := _alone(line, least)) is not None:
        return (final,)
    field = _field(line)
    return (field,) if field is not None else tuple(_statements(line))


def read_moves(line: str, start: int, end: int, *, label: str = "") -> Moves | None:
    """Read the list of directions in ``line[start:end]``; ``None`` if it is none, or may only enumerate directions.

    *label* is the word before the list, such as "path".
    """
    text = line[start:end].rstrip(" .*`")
    if _LINKED.fullmatch(text):
        return None
    if _LETTERS.fullmatch(text):
        letters = tuple(
            Move(start + at, start + at + 1, _WAYS[char.lower()]) for at, char in enumerate(text) if char not in ", "
        )
        return Moves(start, start + len(text), letters)
    moves, at = [], 0
    while match := _LIST.match(text, at):
        moves.append(_listed(match, start))
        at = match.end()
        gap = _GAP.match(text, at)
        if gap is None:
            break
        at = gap.end()
    if not moves or at < len(text) or _is_enumeration(moves, label) or len(moves) > 1000:
        return None
    return Moves(start, start + len(text), tuple(moves))


def _alone(line: str, least: int) -> MazeAnswer | None:
    start, end = len(line) - len(line.lstrip()), len(line.rstrip())
    moves = read_moves(line, start, end, label="path")
    if moves is not None and len(moves.steps) >= least:
        return MazeAnswer(start, moves.end, line[start:end], moves)
    return MazeAnswer(start, end, line[start:end], None) if INFEASIBLE.fullmatch(line[start:end]) else None


def _listed(match: re.Match[str], base: int) -> Move:
    word = re.match(r"[A-Za-z]+|.", match[0])
    assert word is not None
    digits = re.search(r"\d+", match[0])
    return Move(base + match.start(), base + match.end(), way_of(word[0]), int(digits[0]) if digits else 1)


def way_of(word: str) -> Direction:
    plain = word.lower()
    return _WAYS[plain if plain in _WAYS else _ENDING.sub("", plain)]


def _is_enumeration(steps: list[Move], label: str) -> bool:
    """Tell whether *steps* may only enumerate the possible directions ("up, down, left, right") instead of moving."""
    ways = [step.way for step in steps]
    if label in {"path", "route", "way", "sequence"} or len(set(ways)) < len(ways):
        return False
    in_pairs = set(ways[:2]) in ({"up", "down"}, {"left", "right"})
    if label.startswith("move"):
        return len(ways) == 4 and in_pairs
    return len(ways) == 4 or (len(ways) == 2 and in_pairs)


def _field(line: str) -> Said | None:
    if match := _TURN.fullmatch(line):
        said = match[1].lower()
        value = "straight" if said in {"none", "no"} else said
        return None if is_doubtful(match[2]) else Field(*match.span(1), "turn", value)
    if match := _HEADING.fullmatch(line):
        return Field(*match.span(2), match[1].lower(), way_of(match[2]))
    if match := _HERE.fullmatch(line):
        return Located(match.start("p1") - 1, match.end("p2") + 1, "here", _pair(match, "p"))
    if match := _RUNNING.fullmatch(line):
        numbers = tuple(int(number) for number in match.groups() if number is not None)
        return Field(match.start(1), match.end(len(numbers)), "counts", numbers=numbers)
    if match := _COUNT.fullmatch(line):
        n = next(n for n in (1, 2, 3) if match[f"n{n}"])
        return Count(*match.span(f"n{n}"), (match[f"kind{n}"] or "total").lower(), int(match[f"n{n}"]), n == 2)
    return None


def _pair(match: re.Match[str], name: str) -> Pair:
    return Pair(int(match[f"{name}1"]), int(match[f"{name}2"]))


def _statements(line: str) -> Iterator[Said]:
    if is_doubtful(line):
        return
    if match := _LOCATED.fullmatch(line):
        yield _located(match)
        return
    for match in _BESIDE.finditer(line):
        if not re.search(r"\bby\b|\bfirst\b|path|move", match["rest"], re.IGNORECASE):
            yield ExitPlace(*match.span("place"), match["place"].lower().strip())
    for match in _ROTATION.finditer(line):
        turn: Turn = "right" if match["turn"].lower() == "right" else "left"
        yield Rotation(*match.span(), way_of(match["one"]), way_of(match["other"]), turn)
    moves = _chain(line) or _numbered(line) or _labelled(line)
    if moves is not None:
        yield moves


def _located(match: re.Match[str]) -> Said:
    word = match["what"].lower()
    what = "S" if word in {"s", "start", "starting"} else "E"
    is_sure = word in {"s", "e", "exit"} or "(S)" in match[0]
    is_pair = match["p1"] is not None
    pair = _pair(match, "p") if is_pair else Pair(int(match["row"]), int(match["col"]), "rc")
    return Located(match.start("what"), match.end("p2") + 1 if is_pair else match.end("col"), what, pair, is_sure)


def _chain(line: str) -> Moves | None:
    head = _CHAIN.match(line)
    if head is None:
        return None
    # Without a label, cells between commas may be a mere list.
    linked = _COMMA if head["label"] else _LINK
    cells: list[re.Match[str]] = []
    cell = _CELL.match(line, head.end())
    while cell is not None and len(cells) <= MAX_CELLS:
        cells.append(cell)
        link = linked.match(line, cell.end())
        # Marks may stand between the cells: "(2,3) X → (2,2) X".
        cell = link and (_CELL.match(line, link.end()) or _CELL.match(line, min(link.end() + 2, len(line))))
    if len(cells) < 2:
        return None
    pairs = [Pair(int(cell[1]), int(cell[2])) for cell in cells]
    steps = tuple(Move(*cells[at].span(), None, 1, pairs[at - 1], pairs[at]) for at in range(1, len(cells)))
    return Moves(cells[0].start(), cells[-1].end(), steps, is_list=len(cells) > 2)


def _numbered(line: str) -> Moves | None:
    # Read a step such as `1. Move right` or `Step 2: move left to (2,3)`.
    match = _STEP.match(line)
    if match is None or match["rest"].strip(" .*)") or (match["way"] is None and match["b1"] is None):
        return None
    # "2. left" may mean to turn left, and not to move.
    if match["b1"] is None and (match["a1"] is not None or not _MOVING.search(line[: match.start("way")])):
        return None
    before = _pair(match, "a") if match["a1"] else None
    after = _pair(match, "b") if match["b1"] else None
    start = min(match.start(name) for name in ("way", "a1", "b1") if match[name]) - (match["way"] is None)
    end = match.end("b2") + 1 if after else match.end("count") if match["count"] else match.end("way")
    step = Move(start, end, way_of(match["way"]) if match["way"] else None, int(match["count"] or 1), before, after)
    return Moves(start, end, (step,), int(match["number"]) if match["number"] else None, is_list=False)


def _labelled(line: str) -> Moves | None:
    label = _LABEL.match(line)
    start = label.end() if label else len(line) - len(line.lstrip(" *>-"))
    moves = read_moves(line, start, len(line), label=label["label"].lower() if label else "")
    if moves is None or label is not None:
        return moves
    # A bare list of nothing but "left" and "right" may be one of turns.
    return moves if len(moves.steps) > 1 and any(step.way in {"up", "down"} for step in moves.steps) else None
