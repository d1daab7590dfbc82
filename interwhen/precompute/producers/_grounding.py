"""Checks that a statement says only what its cited lines say, or what follows from them by a checked step.

An equation that holds is no fact about the text. So each number of an equation must be a quantity of the cited lines,
such as 45 dollars a day, and the units must work out: 45 dollars a day for 4 days are 180 dollars. A statement without
an equation must be the beginning of a cited sentence. The rules refuse many true statements: what they do not
understand is not grounded.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from interwhen.precompute.producers._pronouns import may_be_another
from interwhen.toolkit.quantities import read_number

_TOKEN = re.compile(
    r"\d[\d,.:/]*\d|\d|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*(?:(?<=s)['\u2019](?=\s[^\W\d_]))?"
    r"|[$\u20ac\u00a3\u00a5\u20b9\u20ba\u20a9\u20bd\u20b1\u20aa%]"
)
_SIGN = r"[$\u20ac\u00a3\u00a5\u20b9\u20ba\u20a9\u20bd\u20b1\u20aa]"
_NUMBER = r"\d[\d,]*+(?:\.\d++)?+"
_AMOUNT = rf"{_SIGN}?+{_NUMBER}(?:\s(?!x\b)[^\W\d_]++)?+"
_OPERATOR = r"\s*+(?:[-+*/\u2212\u00d7\u00f7]|x\b)\s*+"
_EQUATION = re.compile(rf"(?P<left>{_AMOUNT}(?:{_OPERATOR}{_AMOUNT})++)\s*+=\s*+{_SIGN}?+(?P<result>{_NUMBER})")
_OPERAND = re.compile(rf"(?P<number>{_NUMBER})[^-+*/\u2212\u00d7\u00f7\dx]*+(?P<operator>[-+*/\u2212\u00d7\u00f7x]?+)")
_SENTENCE_END = re.compile(
    r"(?<!\bapprox)(?<!\b(?:max|min|est|avg))(?<!\b(?:ca|no|vs))[.](?=\s|$)|[;!?](?=\s|$)|\n", re.IGNORECASE
)
_CLAUSE_END = re.compile(r",\s|:\s|\b(?:and|but|while|whereas)\b")
_MARK = re.compile(r"(?:[-\u2212\u2013\u2011]|[+\u00b1~\u2248<>\u2264\u2265^#]\s?)[$\u20ac\u00a3]?\Z")
"""Signs right before a number that make it another number: a minus, the dash of a range, "about", "less than"."""
_BEYOND = re.compile(r"(?:[-+*/\u2212\u00d7\u00f7^(=<>\u2264\u2265~\u00b1]\s*|[:.,])\Z")
_BEYOND_END = re.compile(r"\s*[-+*/\u2212\u00d7\u00f7^:]")
"""Signs before and after an equation that make it a part of a longer one."""
_SIGNS = {
    "$": "dollar",
    "\u20ac": "euro",
    "\u00a3": "pound",
    "\u00a5": "yen",
    "\u20b9": "rupee",
    "\u20ba": "lira",
    "\u20a9": "won",
    "\u20bd": "ruble",
    "\u20b1": "peso",
    "\u20aa": "shekel",
    "%": "percent",
}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NUMBER_WORDS = {
    word: Fraction(value)
    for value, word in enumerate(
        (  # noqa: SIM905
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty"
        ).split()
    )
}
_FREE = _set(
    "a all altogether an and are at be by combined each every for from has had have in into is it its of on "
    "per so sum that the their then there these they this to together total was were which who with x times plus minus"
)
"""Words that a statement may add to the words of the text: they name no thing and claim nothing alone."""
_PRONOUNS = _set("he her hers him his i it its me my she their them they we you your our us himself herself themselves")
_PERSONS = _set("he her hers him his she")
_TIMES = _set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december today yesterday tomorrow morning afternoon evening night"
)
_KINDS = tuple(
    _set(words)
    for words in (
        "monday tuesday wednesday thursday friday saturday sunday",
        "january february march april may jun july august september october november december",
        "today yesterday tomorrow",
        "morn afternoon even night",
    )
)
"""The stems of times of one kind. Times of other kinds may be parts of each other, as a Monday of July."""
_STARTERS = _set("when while after before during since because some most many here then if although though also next")
"""Words that begin a sentence with a capital letter and are no names."""
_TURNING = _set(
    "not no never none nobody nothing neither nor without except unless if whether would could might may can cannot "
    "should must shall instead only false wrong or either when whenever until once want wants wanted hope hopes wish "
    "wishes plan plans planned expect expects try tries tried intend intends need needs needed hardly barely "
    "rarely seldom suppose supposes supposed assume assumes assumed imagine imagines imagined pretend pretends "
    "pretended think thinks thought believe believes believed claim claims claimed guess guesses guessed doubt "
    "doubts doubted deny denies denied refuse refuses refused forget forgets forgot fail fails failed promise "
    "promises promised offer offers offered dream dreams dreamed owe owes owed"
)
"""Words that can turn the meaning of a sentence."""
_HEDGES = _set(
    "more less fewer than plus minus about almost nearly approximately around over under between least most maximum "
    "minimum up extra additional another other remaining left rest times twice double triple half third quarter "
    "percent below above averag normally usually originally discount daily weekly monthly yearly hourly annually "
    "average older younger taller shorter first second last next respectively unit approx circa est avg roughly "
    "off coupon tax refund rebate"
)
"""Words with which the number of a clause is no plain amount: it is compared, rounded, or a part of something."""
_SHORT = _set("max min ca")
"""The same, but not with a capital letter: Max is a name."""
_LOSSES = _set(
    "leav left eat ate eaten give gav given sell sold los lost spend spent us use used break brok broken pay paid fee "
    "di died donat remov tak took taken throw threw"
)
"""Stems of verbs by which a number becomes smaller. Only such a number is subtracted."""
_TAKING = _set("tak took taken")
_GAINS = _set("get got buy bought receiv find found add earn gain pick collect")
"""Stems of verbs by which a number becomes larger."""
_EVENTS = (
    _GAINS
    | _LOSSES
    | _set(
        "mak mad bak cook sew knit paint plant read writ wrot run ran walk jog hik swim swam bik cycl drov driv travel "
        "deliver serv catch caught scor wash build built"
    )
)
"""Stems of verbs for what can happen several times."""
_CHANGES = _GAINS | _LOSSES | _set("steal stol stolen invest return donat burn rot fall fell borrow lend lent win won")
"""Stems of verbs of gain, loss and change, for events that may change a quantity."""
_WHOLES = _set(
    "total altogether together combined sum all both overall including hers theirs these those them with europe asia "
    "africa america world continent country nation union"
)
"""Words of a number that may have the other numbers of a sum in it."""
_OWNING = _set("has have had")
_STATING = _OWNING | _set("there")
"""Words of a statement that say that something is there now."""
_THERE = _STATING | _set("is are was were hold holds contain contains")
"""Words of the lines that say that something is there now."""
_MEASURES = _set(
    "degree degrees celsius fahrenheit temperature old aged age ages away far tall altitude elevation live lives lived"
)
"""Words of measures whose sum is no measure of both: ages, temperatures, distances from a place."""
_PRICING = _set(
    "coupon coupons discount discounts sale voucher vouchers rebate refund free tax tip fee double doubled triple half "
    "overtime bonus deducts deducted keeps kept"
)
"""Words of a text whose prices and wages may not be multiplied as they are."""
_MONEY = _set("dollar euro pound cent penny penni penc yen rupe lira won rubl peso shekel")
"""Stems of units of money."""
_CAPACITY = _set("seat fit")
"""Stems of verbs for how many there may be, and not how many there are."""
_ACTS = _set(
    "paint clean wash open clos see saw seen draw drew drawn build built label weigh stack break broke broken wrap "
    "fold repair fix cut burn mov carr lift decorat polish mend"
)
"""Stems of verbs for what is done to a box and not to each thing in it."""
_BEING = _set("is are was were be been being gets got")
_OBJECTS = _set("her him them me us you it")
_EACH = _set("each every per apiece")
_PLACING = _set("at in on inside near against for")
"""Words before a place, a time or a purpose."""
_DIRECTIONS = _set("from to by for with")
_LARGE = _set("hundred thousand million billion trillion dozen thirty forty fifty sixty seventy eighty ninety")
"""Words that may be a part of a number, together with the numbers beside them."""
_LABELS = _set(
    "grade class level chapter page room number step question part year team group type line bus route gate section "
    "version lot week day"
)
"""Words before a number that is a label: "grade 5 students"."""
_MIXED = tuple(
    map(
        _set,
        (
            "year month week day hour minut second",
            "mil yard feet foot inch inch'",
            "dollar euro pound cent penny penni penc ounc",
            "kilometer km meter m centimeter cm millimeter mm",
            "kilogram kg gram g",
            "liter l milliliter ml",
        ),
    )
)
"""Units of one kind, as stems: two amounts beside each other are one, such as "2 hours 30 minutes"."""
_CONTINUING = _PRONOUNS | _set("which who so because since")
"""Words that begin a new clause after "and" or a comma, and not another item of a list."""
_AFTER_UNIT = _FREE - {"of", "x", "minus"} | _set(
    "with without at to during about as long tall wide deep high old he she it they out away off back now today there "
    "here inside long"
)
"""Words that may follow a unit. Before another word, what looks like a unit may be an adjective: "12 red apples"."""
_HAS = _set(
    "cost costs weigh weighs has have holds hold contains contain is takes makes seats carries carry earns pays covers "
    "gives lays eats uses measures produces fits lasts needs moves pumps runs drives walks charges"
)
"""Verbs of clauses such as "a pen costs 3 dollars"."""
_LONGEST, _LOOKED_AT = 1000, 200
"""The longest beginning that is compared, and how much after a comma shows how the sentence goes on, in characters."""
_OUTSIDE = 10**6
"""The place of the first sentence of a cited line that is not in the text: an earlier fact."""
_MOST_READINGS = 3000
"""How many combinations of readings of the numbers are tried."""


@dataclass(frozen=True, slots=True)
class _Word:
    start: int
    text: str
    value: Fraction | None

    @property
    def lower(self) -> str:
        return self.text.lower()

    @property
    def stem(self) -> str:
        return _stem(self.text)

    @property
    def is_name(self) -> bool:
        return (
            self.value is None
            and self.text[:1].isupper()
            and self.lower not in _FREE | _PRONOUNS | _TIMES | _STARTERS | _NUMBER_WORDS.keys()
        )


_Unit: TypeAlias = frozenset[tuple[str, int]]
"""Stems with their powers: dollars a day are dollar to the power of 1, and day to the power of -1."""


@dataclass(frozen=True, slots=True)
class _Clause:
    """A part of a sentence of a cited line, with the names, times and other words in it."""

    place: int
    """The number of its sentence in the text, from 0; from 1,000,000 if the line is not in the text."""
    words: tuple[_Word, ...]
    names: frozenset[str]
    """The stems of the names in it, or in the clause before it if this clause has only a number and what it counts."""
    has_pronoun: bool
    has_person: bool
    """Whether it has a pronoun for one person, such as "he" or "her"."""
    residue: frozenset[str]
    """The stems that say what happens or what is meant: without names, numbers with their units, and small words."""
    times: frozenset[str]
    """The stems of its words for times, such as weekdays, and its years."""
    is_plain: bool
    """Whether the numbers of the clause are plain amounts: no word turns the sentence, or compares or rounds them."""
    owns: bool
    """Whether it says that somebody or something has its numbers."""


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A number in the cited lines, with one possible reading of its unit."""

    place: tuple[int, int]
    """The number of the clause, and of the word in it, both from 0."""
    value: Fraction
    unit: _Unit
    clause: _Clause


def lack_of(said: str, cited: Sequence[str], text: Sequence[str] = ()) -> str:
    """Return why the statement *said* is not shown to be true by the lines *cited*; an empty string if it is.

    The lines may support a statement that is not shown, such as one without a number. *text* has all lines of the text,
    to which a pronoun in a cited line may refer.
    """
    words = tuple(_words(said, marked=False))
    turning = next((word.text for word in words if word.lower in _TURNING | {"than", "more", "less", "fewer"}), "")
    if turning:
        return f"{turning!r} can turn what the lines say"
    matches = list(_EQUATION.finditer(said))
    if "?" in said:
        return "it is a question"
    if len(matches) > 1:
        return "it has more than one equation"
    if said.count("=") != len(matches):
        return "it has an equals sign without an equation that holds"
    if not matches:
        return _lack_of_beginning(tuple(_words(said)), cited)
    before, after = said[: matches[0].start()], said[matches[0].end() :]
    if _BEYOND.search(before) or _BEYOND_END.match(after):
        return "its equation is a part of a longer one"
    return _EquationCheck(words, matches[0], cited, text).lack()


def _lack_of_beginning(words: Sequence[_Word], cited: Sequence[str]) -> str:
    """Return why *words* are not the beginning of a sentence in *cited*; an empty string if they are.

    The beginning must extend to the end of a clause and have a number.
    """
    given = [_key(word) for word in words]
    if not any(word.value is not None for word in words):
        return "it has no number from the cited lines, so its words could be put together in a wrong way"
    for line in cited:
        for sentence in _sentences(line):
            if any(_turns(word) for word in _words(sentence)):
                continue
            # A statement has at most 240 characters.
            for end in itertools.takewhile(lambda end: end <= _LONGEST, _ends(sentence)):
                if [_key(word) for word in _words(sentence[:end])] == given:
                    return ""
    return "it has no equation, and is not the beginning of a cited sentence"


def _key(word: _Word) -> tuple[Fraction | None, str]:
    # With decimals, 3.10 is not 3.1: it may be a version.
    return word.value, "" if word.value is not None and "." not in word.text else word.stem


def _ends(sentence: str) -> Iterator[int]:
    """Yield the indexes at which a statement may end that repeats the beginning of *sentence*."""
    for match in _CLAUSE_END.finditer(sentence):
        rest = tuple(_words(re.sub(r"\A\s*and\b", "", sentence[match.end() : match.end() + _LOOKED_AT])))
        goes_on = _continues(rest) or _adds_another(match[0], rest)
        if match[0] in ("while", "whereas") or (goes_on and ":" not in match[0]):
            yield match.start()
    yield len(sentence)


def _adds_another(joint: str, words: Sequence[_Word]) -> bool:
    """Return whether a comma is before a clause about another number: "the crate weighs 24 kg, the pallet 10 kg"."""
    return (
        "," in joint and words[:1] != () and words[0].lower == "the" and any(word.value is not None for word in words)
    )


def _continues(words: Sequence[_Word]) -> bool:
    """Return whether *words*, which follow "and" or a comma, begin a clause of their own."""
    if not words or words[0].value is not None:
        return False
    first = words[0]
    if first.is_name:
        return len(words) > 2
    return first.lower in _CONTINUING | _HAS or first.stem in _LOSSES | _GAINS


class _EquationCheck:
    """Compares a statement (its *words*, and the one *equation* in it) with the lines that it cites."""

    def __init__(
        self, words: Sequence[_Word], equation: re.Match[str], cited: Sequence[str], text: Sequence[str]
    ) -> None:
        self._words = words
        self._stems = frozenset(word.stem for word in words)
        self._equation = equation
        self._left = _read_sum(equation["left"])
        self._result = read_number(equation["result"].rstrip(","))
        small = frozenset(word.stem for line in (*cited, *text) for word in _words(line) if word.text[:1].islower())
        begins: dict[str, int] = {}
        count = 0
        for line in text or cited:
            begins.setdefault(line, count)
            count += sum(1 for _ in _sentences(line))
        # A line that is cited twice is one line: its numbers count once.
        lines = dict.fromkeys(cited)
        self._clauses = tuple(clause for line in lines for clause in _clauses(line, small, begins.get(line, _OUTSIDE)))
        self._quantities = tuple(_quantities(self._clauses))
        self._told = tuple(clause for line in begins for clause in _clauses(line, small, begins[line]))
        self._rates = tuple(_quantities(self._told))
        everywhere = (word for line in (*cited, *text) for word in _words(line))
        self._all_names = frozenset(word.stem for word in everywhere if word.is_name) - small

    def lack(self) -> str:
        """Return why the cited lines do not show the statement; an empty string if they do.

        A number that can be several quantities is tried with each; more than 3,000 combinations are a reason, too.
        """
        if self._left is None or self._result is None or self._left.value != self._result:
            return "it has an equals sign without an equation that holds"
        start, end = self._equation.span()
        outside = [word for word in self._words if not start <= word.start < end]
        if number := next((word.text for word in outside if word.value is not None), ""):
            return f"the number {number} stands outside the equation"
        readings: list[list[_Quantity]] = []
        for operand in self._left.operands:
            found = [each for each in self._quantities if each.value == operand.value and each.clause.is_plain]
            if not found:
                if not any(word.value == operand.value for clause in self._clauses for word in clause.words):
                    return f"the number {operand.text} is in no cited line"
                return f"no cited line has {operand.text} as a plain amount"
            readings.append(found)
        if _product(len(found) for found in readings) > _MOST_READINGS:
            return "its numbers have too many readings"
        why = ""
        for chosen in itertools.product(*readings):
            lack = self._lack_of(chosen, outside)
            if not lack:
                return ""
            why = why or lack
        return why

    def _lack_of(self, chosen: Sequence[_Quantity], outside: Sequence[_Word]) -> str:
        """Return why the equation with the quantities *chosen* does not follow from the lines; empty if it does."""
        assert self._left is not None
        if len({each.place for each in chosen}) < len(chosen):
            return "one number of the lines stands twice in the equation"
        for operand, each in zip(self._left.operands, chosen, strict=True):
            counted = self._counted_at(self._equation.start() + operand.start)
            if counted and (counted, 1) not in each.unit:
                return f"no cited line counts {operand.text} {counted}"
        if "/" in self._left.operators:
            return "the lines cannot show what a division means"
        terms = self._left.divided(chosen)
        units = [_unit_of(term) for term in terms]
        if len(set(units)) > 1:
            return "its terms have different units"
        return (
            self._lack_of_unit(units[0], chosen) or self._lack_of_sense(terms) or self._lack_of_words(chosen, outside)
        )

    def _is_of_each(self, word: _Word, unit: _Unit, chosen: Sequence[_Quantity]) -> bool:
        """Return whether *word* makes the statement say a total of each thing: "A pen costs 3 * 5 = 15 dollars"."""
        at = self._words.index(word)
        after = self._words[at + 1].stem if at + 1 < len(self._words) else ""
        if word.lower in _EACH:
            return (after, -1) not in unit
        if self._equation.start() <= word.start < self._equation.end() or (word.stem, -1) in unit:
            return False
        is_single = not word.lower.endswith("s") or word.lower.endswith(("ss", "us", "is"))
        is_single = is_single or (at > 0 and self._words[at - 1].lower in ("a", "an", "one"))
        return is_single and any((word.stem, -1) in each.unit for each in chosen)

    def _lack_of_unit(self, unit: _Unit, chosen: Sequence[_Quantity]) -> str:
        """Return why the statement does not give its result the computed unit *unit*; an empty string if it does."""
        at = next(at for at, word in enumerate(self._words) if word.start == self._equation.start("result"))
        above = {stem for stem, power in unit if power == 1}
        below = {stem for stem, power in unit if power == -1}
        if len(above) != 1 or len(above) + len(below) != len(unit):
            return "its units do not work out"
        counted = _counted(self._words, at)
        if counted and counted not in above:
            return f"the equation does not show that {self._words[at].text} counts {counted}"
        if other := next((each for each in self._words if self._is_of_each(each, unit, chosen)), None):
            return f"the equation does not give a number for each {other.text}"
        per = {
            after.stem
            for word, after in itertools.pairwise(self._words[at + 1 :])
            if word.lower in ("a", "an", "per", "each", "every")
        }
        for each in below:
            if each not in per:
                return f"the equation gives {counted or 'a number'} per {each}, which the statement does not say"
        return ""

    def _lack_of_sense(self, terms: Sequence[_Term]) -> str:
        """Return why it may be wrong to add or multiply the *terms*; an empty string if it is right."""
        if lack := next(filter(None, map(self._lack_of_product, terms)), ""):
            return lack
        is_sum = len(terms) > 1
        if any(term.is_measured for term in terms if is_sum or len(term.factors) > 1):
            return "such measures do not add up"
        if is_sum and any(each.clause.place >= _OUTSIDE for term in terms for each, _ in term.factors):
            # The earlier fact may have been computed from another number of this sum.
            return "a sum with an earlier fact may count something twice"
        if is_sum and (place := self._place_of_some(terms)):
            return f"the lines say {place!r} of only some of its terms"
        if any(word.lower in _STATING for word in self._words):
            if not all(term.is_state for term in terms):
                return "the lines do not say that this is there"
            if any(word.lower in ("has", "have") for word in self._words) and any(term.is_past for term in terms):
                return "the lines say it of an earlier time"
        return self._lack_of_change(terms) or next(
            filter(None, (self._lack_of_pair(terms[0], term) for term in terms[1:])), ""
        )

    def _place_of_some(self, terms: Sequence[_Term]) -> str:
        """Return a word of a phrase such as "at home" in the statement that not all *terms* have; empty if none.

        Times are compared elsewhere.
        """
        stems = [frozenset(word.stem for each, _ in term.factors for word in each.clause.words) for term in terms]
        for before, word in itertools.pairwise(self._words):
            said = sum(word.stem in each for each in stems)
            if before.lower in _PLACING and word.lower not in _TIMES and 0 < said < len(stems):
                return word.text
        return ""

    def _lack_of_change(self, terms: Sequence[_Term]) -> str:
        """Return why something else may have changed the amounts of *terms*; an empty string if nothing did."""
        doing = [term.residue & self._stems & (_GAINS | _LOSSES) for term in terms]
        if any(each != doing[0] for each in doing):
            return "the verb of one of its terms is not that of the result"
        clauses = {each.clause for term in terms for each, _ in term.factors}
        is_changed = any(term.sign < 0 or (term.residue ^ terms[0].residue) & _GAINS for term in terms)
        states = any(word.lower in _STATING for word in self._words)
        if is_changed or states:
            begun = min(clause.place for clause in clauses)
            others = [each for each in self._told if each.place >= begun and each not in clauses]
            again = {each.clause for each in self._rates if each.clause.owns and each.unit == _unit_of(terms[0])}
            if any(each.residue & _CHANGES or (is_changed and each in again) for each in others):
                return "something else may have happened"
            if states and any(each.clause in others and self._is_of_same(each, terms) for each in self._rates):
                return "something else may have happened"
        return ""

    def _is_of_same(self, each: _Quantity, terms: Sequence[_Term]) -> bool:
        """Return whether *each*, which the statement does not use, may count a part of what the *terms* count."""
        units = {_unit_of(terms[0]), *(factor.unit for term in terms for factor, _ in term.factors)}
        names = frozenset(name for term in terms for name in term.names)
        is_other = bool(each.clause.names) and each.clause.names.isdisjoint(names)
        return each.unit in units and not is_other

    def _lack_of_product(self, term: _Term) -> str:
        """Return why it may be wrong to multiply the factors of *term*; an empty string if it is right."""
        if len({each.clause.names for each, _ in term.factors if each.clause.names}) > 1:
            return "its factors belong to different names"
        for each, _ in term.factors:
            below = {stem for stem, power in each.unit if power < 0}
            rates = {
                other.value
                for other in self._rates
                if other.unit == each.unit and (other.clause.names == each.clause.names or not other.clause.names)
            }
            if below and len(rates | {each.value}) > 1:
                return "the lines give several numbers of this kind"
            if below and (lack := self._lack_of_rate(each, below)):
                return lack
            if below and self._leaves_out_several(each):
                return "the lines give this number for one of several"
            others = (other for other, _ in term.factors if below and other is not each)
            if lack := next(filter(None, (self._lack_of_times(each, other, below) for other in others)), ""):
                return lack
        return ""

    def _lack_of_times(self, each: _Quantity, other: _Quantity, below: set[str]) -> str:
        """Return why *each*, a number for each of *below*, may not be taken *other* times; empty if it may."""
        if each.clause.times - other.clause.times:
            return "one of its factors may be of another time"
        if below & {stem for stem, power in other.unit if power > 0} and other.clause.residue & self._stems & _ACTS:
            return "the lines do not say that it is done to what is counted"
        doing = other.clause.residue - each.clause.residue - {"work", "run"}
        if below & _MIXED[0] and doing and any(other.unit == {(stem, 1)} for stem in below):
            return "the lines do not say that this lasts the whole time"
        return ""

    def _lack_of_rate(self, each: _Quantity, below: set[str]) -> str:
        """Return why *each*, a number for each of *below*, may not be multiplied; an empty string if it may."""
        above = {stem for stem, power in each.unit if power > 0}
        if above & _MONEY and any(word.lower in _PRICING for clause in self._told for word in clause.words):
            return "the lines may speak of another price"
        spoken = {word.stem for word in each.clause.words}
        if spoken & _CAPACITY and not spoken & _CAPACITY & self._stems:
            return "the lines say how many there may be"
        for other in self._rates:
            is_about = bool(below & {word.stem for word in other.clause.words}) and other.clause != each.clause
            if is_about and any(other.unit == {(stem, 1)} for stem in above) and other.value != each.value:
                return "the lines give several numbers of this kind"
        return ""

    def _leaves_out_several(self, each: _Quantity) -> bool:
        """Return whether *each* is of one of several, such as "a worker", and the statement leaves this out."""
        words = each.clause.words
        if len(words) < 3 or words[0].lower not in ("a", "an", "one") or (words[1].stem, -1) in each.unit:
            return False
        one = words[1].stem
        counts = (pair for clause in self._told for pair in itertools.pairwise(clause.words))
        are_several = any(word.stem == one and before.value not in (None, 1) for before, word in counts)
        return are_several and not any(word.stem == one and not word.lower.endswith("s") for word in self._words)

    def _lack_of_pair(self, first: _Term, term: _Term) -> str:
        """Return why it may be wrong to add *term* to the *first* term, or subtract it; an empty string if it is right.

        To be subtracted, *term* must be said to be lost; to be added, both must be said in similar words.
        """
        own, other = first.residue, term.residue
        differ = own ^ other
        if term.sign < 0:
            if (
                not other & _LOSSES
                or other - _LOSSES - (own if first.names else self._stems)
                or own & _LOSSES
                or term.is_passive
            ):
                return "the lines do not say that its second number is taken away"
            if other & _TAKING and first.names:
                return "the second number may be taken from somebody else"
        elif differ - _GAINS - self._stems or differ & _LOSSES:
            return "the lines do not say the same of its terms"
        elif lack := _lack_of_addition(first, term):
            return lack
        if term.sign > 0 and not differ & _GAINS:
            return ""
        if first.names and term.names and first.names != term.names:
            return "its terms belong to different names"
        state, change = (term, first) if term.sign > 0 and own & _GAINS and not other & _GAINS else (first, term)
        is_later = own & other & _GAINS or state.place < change.place
        if not is_later or not _are_neighbours(first, term):
            return "something may have happened between its terms"
        return "its second number may be of somebody else, or of an earlier time" if change.has_object else ""

    def _lack_of_words(self, chosen: Sequence[_Quantity], outside: Sequence[_Word]) -> str:
        """Return why the words in *outside* may say more than the clauses of *chosen*; empty if they do not."""
        used = {each.clause for each in chosen}
        stems = frozenset(word.stem for clause in used for word in clause.words)
        names = frozenset(name for clause in used for name in clause.names)
        if len(self._all_names) == 1 and any(clause.has_person for clause in used):
            stems |= self._all_names  # "he" can only be the one who is named
        said = frozenset(word.stem for word in outside) & self._all_names
        spoken = {word.lower for clause in used for word in clause.words}
        for word in outside:
            if word.lower in _DIRECTIONS - spoken or (word.lower not in _FREE and word.stem not in stems):
                return f"{word.text!r} is in no cited line that the equation uses"
            if word.lower in _PRONOUNS - _FREE:
                return f"{word.text!r} may mean somebody else"
        if said and not names <= said:
            return f"the lines do not say for certain to which of {', '.join(sorted(names))} the numbers belong"
        times = frozenset(time for clause in used for time in clause.times)
        if times & {word.stem for word in outside} and not times <= {word.stem for word in outside}:
            return "its numbers belong to several times, and it names only some of them"
        if (said or names) and any(self._may_be_another(clause) for clause in used):
            return "a pronoun in the lines may mean somebody else"
        return next(filter(None, (self._lack_of_subject(each, outside) for each in chosen)), "")

    def _may_be_another(self, clause: _Clause) -> bool:
        """Return whether a pronoun of *clause* may mean another person than the one who is named."""
        if not clause.has_pronoun or clause.names or not self._all_names:
            return False
        if len(self._all_names) > 1:
            return True
        named = max((each.place for each in self._told if each.names and each.place < clause.place), default=-1)
        between = [each for each in self._told if named <= each.place <= clause.place]
        unnamed = [
            word.lower
            for each in between
            for before, word in itertools.pairwise((None, *each.words))
            if word is not None
            and (not each.names or (before is not None and before.lower.endswith(("'s", "\u2019s"))))
        ]
        spoken = (word.lower for word in clause.words if word.lower in _PRONOUNS)
        written = {word.lower for each in self._told for word in each.words if word.stem in self._all_names}
        return any(may_be_another(spoken, name, unnamed) for name in written)

    def _lack_of_subject(self, each: _Quantity, outside: Sequence[_Word]) -> str:
        """Return a reason if *outside* says of one what a line says of another: "Ann" for "the father of Ann"."""
        said = [word.stem for word in outside]
        before = each.clause.words[: each.place[1]]
        told = [
            word.stem
            for word in before
            if word.value is None and word.text not in _SIGNS and not _is_small(word) and word.stem not in _GAINS
        ]
        last = max((at for at, stem in enumerate(told) if stem in said), default=0)
        if missing := next((stem for stem in told[:last] if stem not in said), ""):
            return f"the lines say it of {missing!r}, which the statement leaves out"
        names = [word.stem for word in each.clause.words if word.stem in self._all_names and word.stem in said]
        places = [said.index(name) for name in names]
        return "its names stand in another order than in the lines" if places != sorted(places) else ""

    def _counted_at(self, start: int) -> str:
        at = next((at for at, word in enumerate(self._words) if word.start == start), None)
        return "" if at is None else _counted(self._words, at)


# The left side of an equation: a sum of products.


@dataclass(frozen=True, slots=True)
class _Operand:
    start: int
    text: str
    value: Fraction


@dataclass(frozen=True, slots=True)
class _Term:
    """One product in a sum: its sign (1 or -1), and its factors. The power of a factor is 1, or -1 if it divides."""

    sign: int
    factors: tuple[tuple[_Quantity, int], ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(name for each, _ in self.factors for name in each.clause.names)

    @property
    def times(self) -> frozenset[str]:
        return frozenset(time for each, _ in self.factors for time in each.clause.times)

    @property
    def residue(self) -> frozenset[str]:
        return frozenset(stem for each, _ in self.factors for stem in each.clause.residue)

    @property
    def place(self) -> tuple[int, int]:
        """The place of its last sentence in the text, and of its last clause in the cited lines."""
        return max((each.clause.place, each.place[0]) for each, _ in self.factors)

    @property
    def is_state(self) -> bool:
        """Whether the lines say that what it counts is there, was got, or is lost again."""
        return self.sign < 0 or all(each.clause.owns or each.clause.residue & _GAINS for each, _ in self.factors)

    @property
    def is_past(self) -> bool:
        """Whether a clause of its factors has the word "had", and neither "has" nor "have"."""
        said = [{word.lower for word in each.clause.words} for each, _ in self.factors]
        return any("had" in words and not words & {"has", "have"} for words in said)

    @property
    def is_measured(self) -> bool:
        """Whether it is a measure that does not add up, such as an age, a temperature or a distance from a place."""
        return any(
            word.lower in _MEASURES and not each.clause.residue & (_GAINS | _LOSSES)
            for each, _ in self.factors
            for word in each.clause.words
        )

    @property
    def is_passive(self) -> bool:
        """Whether it may be somebody who is given or paid something: "Jo was given 3 apples"."""
        for each, _ in self.factors:
            at = next((at for at, word in enumerate(each.clause.words) if word.stem in _LOSSES), each.place[1])
            if at < each.place[1] and any(word.lower in _BEING for word in each.clause.words[:at]):
                return True
        return False

    @property
    def has_object(self) -> bool:
        """Whether it may be of somebody else, or of an earlier time: "Jo buys her 3 pens", "Jo has spent 3 dollars"."""
        if any(word.lower in _OBJECTS | {"had"} for each, _ in self.factors for word in each.clause.words):
            return True
        pairs = (pair for each, _ in self.factors for pair in itertools.pairwise(each.clause.words))
        return any(word.lower in ("has", "have") and after.stem in _LOSSES | _GAINS for word, after in pairs)


@dataclass(frozen=True, slots=True)
class _Sum:
    value: Fraction
    operands: tuple[_Operand, ...]
    operators: tuple[str, ...]
    """The operator before each operand: ``+``, ``-``, ``*`` or ``/``."""

    def divided(self, chosen: Sequence[_Quantity]) -> list[_Term]:
        """Divide the sum into its terms: ``+`` and ``-`` begin a term, ``*`` and ``/`` add a factor to the last one."""
        terms: list[_Term] = []
        for operator, each in zip(self.operators, chosen, strict=True):
            if operator in "+-":
                terms.append(_Term(1 if operator == "+" else -1, ((each, 1),)))
            else:
                last = terms.pop()
                terms.append(_Term(last.sign, (*last.factors, (each, 1 if operator == "*" else -1))))
        return terms


def _read_sum(left: str) -> _Sum | None:
    """Parse a sum such as ``2 * 3 apples - 4``: its value, numbers and operators; ``None`` if it cannot be read."""
    total, product, operator = Fraction(0), Fraction(0), "+"
    operands, operators = [], []
    for match in _OPERAND.finditer(left):
        number = read_number(match["number"].rstrip(","))
        if number is None or (operator == "/" and not number):
            return None
        if operator in "+-":
            total += product
            product = number if operator == "+" else -number
        else:
            product = product * number if operator == "*" else product / number
        operands.append(_Operand(match.start(), match["number"], number))
        operators.append(operator)
        operator = {"\u2212": "-", "\u00d7": "*", "x": "*", "\u00f7": "/"}.get(match["operator"], match["operator"])
    return _Sum(total + product, tuple(operands), tuple(operators))


def _are_neighbours(one: _Term, other: _Term) -> bool:
    """Return whether two terms are about the same times, with no other sentence between their sentences."""
    places = sorted({each.clause.place for term in (one, other) for each, _ in term.factors})
    return one.times == other.times and all(after - before <= 1 for before, after in itertools.pairwise(places))


def _lack_of_addition(first: _Term, term: _Term) -> str:
    """Return why one of two terms may be counted in the other, or be the same; an empty string if neither may be."""
    own, other, is_same = first.residue, term.residue, first.names == term.names
    gains = (own ^ other) & _GAINS
    if any(word.lower in _WHOLES for one in (first, term) for each, _ in one.factors for word in each.clause.words):
        return "one of its terms may be a part of the other"
    if own != other and (own < other or other < own) and not gains:
        return "one of its terms may be a part of the other"
    if not is_same and first.names & term.names:
        return "its terms belong to different names"
    states = any(each.clause.owns for one in (first, term) for each, _ in one.factors)
    if is_same and not gains and (states or own) and own == other and not own & _EVENTS:
        return "its terms may be the same thing at different times"
    if first.times == term.times:
        return ""
    one, another = first.times - term.times, term.times - first.times
    kinds = {next((at for at, kind in enumerate(_KINDS) if time in kind), -1) for time in one | another}
    if is_same and not (len(one) == len(another) == 1 and len(kinds) == 1):
        return "the time of one of its terms may be a part of the other"
    return ""


def _unit_of(term: _Term) -> _Unit:
    powers: Counter[str] = Counter()
    for each, power in term.factors:
        for stem, own in each.unit:
            powers[stem] += own * power
    return frozenset((stem, power) for stem, power in powers.items() if power)


def _product(counts: Iterable[int]) -> int:
    found = 1
    for count in counts:
        found *= count
    return found


# The cited lines: sentences, clauses, and the quantities in them.


def _sentences(line: str) -> Iterator[str]:
    begun = 0
    for match in (*_SENTENCE_END.finditer(line), None):
        end = len(line) if match is None else match.start()
        # A question states nothing.
        if line[begun:end].strip() and (match is None or match[0] != "?"):
            yield line[begun:end]
        begun = len(line) if match is None else match.end()


def _clauses(line: str, small: frozenset[str], place: int) -> Iterator[_Clause]:
    """Divide *line* into clauses, and yield them. Its first sentence has the number *place* in the text.

    Words whose stems are in *small* are not taken as names.
    """
    for number, sentence in enumerate(_sentences(line), place):
        parts: list[tuple[_Word, ...]] = []
        joints: list[str] = []
        begun = 0
        for match in (*_CLAUSE_END.finditer(sentence), None):
            end = len(sentence) if match is None else match.start()
            if words := tuple(_words(sentence[begun:end])):
                parts.append(words)
                joints.append("")
            if joints and match is not None:
                joints[-1] = match[0].strip()
            begun = len(sentence) if match is None else match.end()
        turns = any(_turns(word) or word.lower in _LARGE for words in parts for word in words) or _is_mixed(
            tuple(_words(sentence))
        )
        # "Every day, Jo earns 45 dollars": what is said of each stands in another clause than the number.
        apart = any(_has_each(words) and not any(word.value is not None for word in words) for words in parts)
        lists = any(
            _is_list(one, joint, other)
            for (one, other), joint in zip(itertools.pairwise(parts), joints[:-1], strict=True)
        )
        yield from _with_heritage(parts, small, number, is_plain=not (turns or apart or lists))


def _is_list(before: Sequence[_Word], joint: str, after: Sequence[_Word]) -> bool:
    """Return whether a number may belong to all of a list, as in "Ann and Ben have 30 apples and pears"."""
    counts = [any(word.value is not None for word in words) for words in (before, after)]
    if joint == "and" and not counts[0] and counts[1]:
        return True
    return joint in ("and", ",", "but") and counts[0] and not counts[1] and not _continues(after)


def _is_mixed(words: Sequence[_Word]) -> bool:
    """Return whether *words* have an amount in two units, such as "2 hours and 30 minutes"."""
    amounts = [word for word in words if word.lower != "and"]
    for at, word in enumerate(amounts[:-1]):
        if word.value is None:
            continue
        is_money = at > 0 and amounts[at - 1].text in _SIGNS
        unit, after = (amounts[at - 1].stem, at + 1) if is_money else (amounts[at + 1].stem, at + 2)
        if after + 1 < len(amounts) and amounts[after].value is not None:
            small = amounts[after + 1].stem
            if unit != small and any({unit, small} <= kind for kind in _MIXED):
                return True
    return False


def _with_heritage(
    parts: Sequence[tuple[_Word, ...]], small: frozenset[str], place: int, *, is_plain: bool
) -> Iterator[_Clause]:
    """Yield the clauses of one sentence, whose words are divided into *parts*.

    If a clause has only a number and the thing that it counts, the names and the verb of the previous clause apply to
    it.
    """
    before: _Clause | None = None
    for words in parts:
        residue, names = _residue(words, small), frozenset(w.stem for w in words if w.is_name) - small
        owns = any(word.lower in _THERE for word in words)
        if not residue and before is not None and not names:
            residue, names, owns = before.residue, before.names, owns or before.owns
        before = _Clause(
            place,
            words,
            names,
            any(word.lower in _PRONOUNS for word in words),
            any(word.lower in _PERSONS for word in words),
            residue,
            frozenset(w.stem for at, w in enumerate(words) if w.lower in _TIMES or _is_year(words, at)),
            is_plain and _is_plain(words),
            owns,
        )
        yield before


def _is_plain(words: Sequence[_Word]) -> bool:
    """Return whether all numbers of a clause are plain amounts: not compared, not rounded, and of different things."""
    if any(word.lower in _HEDGES or word.stem in _HEDGES or word.text in _SHORT | {"%"} for word in words):
        return False
    units = [word.stem for at in range(len(words)) for _, word in _unit_words(words, at)]
    return len(set(units)) == len(units)


def _residue(words: Sequence[_Word], small: frozenset[str]) -> frozenset[str]:
    # The first word after a number: the next ones may say what happens, as in "20 people leave".
    units = {word.start for at in range(len(words)) for _, word in itertools.islice(_unit_words(words, at), 1)}
    return frozenset(
        word.stem
        for word in words
        if word.value is None
        and word.start not in units
        and word.text not in _SIGNS
        and word.lower not in _FREE | _PRONOUNS | _TIMES
        and not (word.is_name and word.stem not in small)
    )


def _is_small(word: _Word) -> bool:
    return word.lower in _FREE | _PRONOUNS | _TIMES | _STARTERS


def _quantities(clauses: Sequence[_Clause]) -> Iterator[_Quantity]:
    """Yield each number in *clauses* whose unit can be read, once for each possible reading."""
    for number, clause in enumerate(clauses):
        for at, word in enumerate(clause.words):
            if word.value is None:
                continue
            for unit in _units(clause.words, at):
                yield _Quantity((number, at), word.value, unit, clause)


def _units(words: Sequence[_Word], at: int) -> Iterator[_Unit]:
    """Yield the possible units of the number at index *at* of *words*."""
    if not _is_amount(words, at):
        return
    for end, unit in _unit_words(words, at):
        stem = unit.stem
        below = _rate_after(words, end)
        if below is None and _is_each(words, end):
            below = _counted_before(words, at)
            if not below:
                continue
        leading = _leading_each(words)
        if below is not None and leading is not None and words[0].lower in ("each", "every"):
            continue  # a rate of a rate
        if below is None:
            below = leading
        if below is None and (_has_each(words[:-1]) or words[0].lower in ("a", "an", "one")):
            continue  # it says something of each, in a way that is not understood
        if below != stem:
            yield frozenset({(stem, 1)} if below is None else {(stem, 1), (below, -1)})


def _is_amount(words: Sequence[_Word], at: int) -> bool:
    """Return whether the words before the number at index *at* leave it a number of things."""
    if not at:
        return True
    before = words[at - 1]
    if before.lower == "the" and at > 1 and words[at - 2].lower == "of":
        return False  # "two of the 8 lamps"
    # "Bills of 5 dollars", "every 30 minutes", "grade 5 students".
    if before.lower in {"of", "each", "every", "per"} | _LABELS:
        return False
    if before.value is not None:  # "twenty five apples"
        return words[at].start > before.start + len(before.text) + 1
    is_range = at > 1 and before.lower in ("to", "x", "by")  # "5 to 7 apples"
    return not (is_range and words[at - 2].value is not None)


def _unit_words(words: Sequence[_Word], at: int) -> Iterator[tuple[int, _Word]]:
    """Yield the index after the amount whose number is at index *at*, and the word that says what is counted.

    Nothing is yielded if that is not clear, as in "12 red apples" and "2 pairs of shoes".
    """
    if words[at].value is None:
        return
    if at and words[at - 1].text in _SIGNS and words[at - 1].text != "%":
        if not (at > 1 and _touches(words, at - 1)) and not (at + 1 < len(words) and _touches(words, at + 1)):
            yield at + 1, words[at - 1]  # not "A$3" or "$3k"
        return
    if at + 1 == len(words) or _ends_amount(words[at + 1]):
        return
    after = words[at + 2] if at + 2 < len(words) else None
    if after is None or after.stem in _LOSSES | _GAINS or after.lower in _AFTER_UNIT | _HAS or after.value is not None:
        yield at + 2, words[at + 1]


def _touches(words: Sequence[_Word], at: int) -> bool:
    """Return whether nothing is between the word at index *at* and the one before it."""
    return words[at].start == words[at - 1].start + len(words[at - 1].text)


def _rate_after(words: Sequence[_Word], at: int) -> str | None:
    """Return the stem of "day" for "a day", "per day" and the like at index *at*; ``None`` for other words."""
    rest = [word.lower for word in words[at : at + 3]]
    if len(rest) >= 2 and rest[0] in ("a", "an", "per", "each", "every"):
        return words[at + 1].stem
    if len(rest) == 3 and rest[0] in ("in", "on", "for", "from", "to", "by", "of") and rest[1] in ("each", "every"):
        return words[at + 2].stem
    return None


def _is_each(words: Sequence[_Word], at: int) -> bool:
    return at == len(words) - 1 and words[at].lower in ("each", "apiece")


def _counted_before(words: Sequence[_Word], at: int) -> str:
    """Return what the number before index *at* counts, as a stem; an empty string if that is not clear."""
    for index in range(at - 1, -1, -1):
        if words[index].value is not None:
            return next((word.stem for _, word in _unit_words(words, index)), "")
    return ""


def _leading_each(words: Sequence[_Word]) -> str | None:
    """Return the stem of "lamp" for a clause such as "Each lamp has 3 bulbs"; ``None`` for any other clause."""
    if len(words) < 4 or words[0].lower not in ("each", "every", "a", "an", "one") or words[2].lower not in _HAS:
        return None
    if words[0].lower == "one" and words[2].lower in _OWNING:
        return None  # perhaps only this one
    return None if words[1].value is not None or words[1].lower in _FREE else words[1].stem


def _has_each(words: Sequence[_Word]) -> bool:
    return any(word.lower in _EACH for word in words)


def _ends_amount(word: _Word) -> bool:
    """Return whether *word*, which follows a number, cannot say what this number counts."""
    return (
        word.value is not None
        or word.lower in _FREE | _PRONOUNS | {"apiece"}
        or word.text in _SIGNS
        or (word.text[:1].isupper() and word.lower in _TIMES)
    )


def _counted(words: Sequence[_Word], at: int) -> str:
    """Return the stem of the thing that the number at index *at* counts; empty if the statement does not say it."""
    return next((word.stem for _, word in _unit_words(words, at)), "")


def _turns(word: _Word) -> bool:
    return word.lower in _TURNING or word.lower.endswith(("n't", "n\u2019t"))


def _is_year(words: Sequence[_Word], at: int) -> bool:
    value = words[at].value
    is_four = value is not None and words[at].text.isdigit() and len(words[at].text) == 4
    return is_four and value is not None and 1000 <= value < 2100 and not _counted(words, at)


def _words(text: str, *, marked: bool = True) -> Iterator[_Word]:
    """Yield the words, numbers and signs of *text*. If *marked*, a number with a sign such as a minus has no value."""
    for match in _TOKEN.finditer(text):
        found = match[0]
        mark = _MARK.search(text, max(match.start() - 3, 0), match.start()) if marked and found[0].isdigit() else None
        if mark is not None:
            yield _Word(match.start(), f"{mark[0]}{found}", None)
            continue
        # Times and dates such as 9:30 or 3/4 are no amounts.
        value = read_number(found) if found[0].isdigit() and not set(found) & set(":/") else None
        yield _Word(match.start(), found, value if value is not None else _NUMBER_WORDS.get(found.lower()))


def _stem(word: str) -> str:
    """Return *word* without case and common endings, so that "costs" is "cost" and "$" is "dollar"."""
    if len(word) <= 3 and word[1:] != word[1:].lower():
        return word  # MW is not mW
    plain = _SIGNS.get(word, word.casefold().replace("\u2019", "'"))
    for ending in ("ies", "ing", "ed", "es", "s"):
        if plain.endswith(ending) and len(plain) - len(ending) >= 3:
            return plain[: -len(ending)].rstrip("e")
    return plain.rstrip("e") if len(plain) > 3 else plain
