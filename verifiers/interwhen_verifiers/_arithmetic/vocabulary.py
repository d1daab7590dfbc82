"""The words and LaTeX commands that the arithmetic verifier knows."""

# ruff: noqa: RUF001 (signs that look alike are what this file is about)

from __future__ import annotations

from typing import Final


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNIT_LETTERS: Final = frozenset("mgLlhsNJWVK")
"""Single letters that may be a unit after a number and a space. Others, except a and I, are variables."""

FUNCTIONS: Final = words_of(
    "sin cos tan cot sec csc log ln exp sqrt cbrt gcd lcm max min abs floor ceil mod choose sum product det arg "
    "average mean median factorial perm comb ncr npr lim round"
)
"""No equation is read across these."""

_SKIP = ("", "")
LATEX: Final[dict[str, tuple[str, str]]] = {
    **dict.fromkeys(("times", "cdot", "ast"), ("op", "*")),
    "div": ("op", "/"),
    **dict.fromkeys(("approx", "simeq", "approxeq", "thickapprox"), ("rel", "~")),
    **dict.fromkeys(("ne", "neq"), ("rel", "≠")),
    **dict.fromkeys(("le", "leq", "leqslant"), ("rel", "≤")),
    **dict.fromkeys(("ge", "geq", "geqslant"), ("rel", "≥")),
    "lt": ("rel", "<"),
    "gt": ("rel", ">"),
    "equiv": ("rel", "≡"),
    **dict.fromkeys(("cong", "sim", "propto"), ("rel", "!")),
    **dict.fromkeys(
        (
            *("implies", "Rightarrow", "Longrightarrow", "rightarrow", "to", "iff", "Leftrightarrow", "therefore"),
            *("quad", "qquad", "because", "item", "\\", "newline", "hline", "hfill"),
        ),
        ("break", ";"),
    ),
    **dict.fromkeys(
        (
            *("left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "displaystyle"),
            *("boxed", "textbf", "mathbf", "bf", "fbox", "underline", ":", ">", "!"),
        ),
        _SKIP,
    ),
    **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), ("frac", "")),
    "%": ("pct", "%"),
    **dict.fromkeys(("$", "pounds", "euro"), ("cur", "$")),
    **dict.fromkeys("()[]", ("math", "")),
    **dict.fromkeys(("degree", "deg"), ("word", "degrees")),
}
"""The kind and text of the token for each LaTeX command. An empty kind: no token. Other commands are ``opaque``."""

OPERATING: Final = words_of(
    "of times plus minus over twice thrice half double triple quarter third thirds fifth fifths percent squared cubed "
    "square cube root off between range power product quotient difference ratio average mean median "
    "mod modulo remainder absolute negative opposite reciprocal inverse complement magnitude modulus logarithm"
)
"""Words before an expression that make it part of a longer one, written in words: ``half of 3 + 4``."""

RELATING: Final = words_of(
    "by than from to divided multiplied subtracted added subtract add multiply divide less decreased increased"
)
"""Words that do the same as :data:`OPERATING` where an amount comes before them: ``add 5 to 3 + 2``."""

COMING: Final = words_of("equal amount amounts amounted come comes came up equates")
"""Words that announce a result when ``to`` follows them: ``they amount to 3 * 4 = 12``."""

_MONTHS = (
    "january february march april may june july august september october november december jan feb mar apr jun jul aug "
    "sep sept oct nov dec"
)
LABELS: Final = words_of(
    f"{_MONTHS} odds isbn "
    "step day week month year part case question problem example chapter section option round phase box table figure "
    "number no line equation eq item method page team group person row column level grade stage hour house class "
    "room size store"
)
"""Words after which a number is a label, not an amount: ``Step 2``."""

EACH: Final = words_of("every each per a this that same next last previous first second whole one another any")
"""Words before a word of :data:`LABELS` which show that the number is not a label: ``every day 20 + 8``."""

TOTALS: Final = words_of(
    "total sum cost price profit amount score worth result value salary number distance speed area perimeter volume "
    "change depth raise discount bill tip tax payment fee fine deposit refund saving savings fare budget capacity "
    "count "
    "charge earnings gain loss debt interest commission wage surplus deficit mileage duration "
    "revenue rate length width height weight income balance profits costs age time"
)
"""Words after which ``of`` does not mean multiplication: ``a total of 3 + 4``."""

VERBS: Final = words_of(
    "is are was were be been being equals equal gives give gave get gets got has have had having makes make made so "
    "then thus therefore hence because that's it's which sold spent earns earn earned pays pay paid costs cost needs "
    "need needed that we he she they it i you can will would calculate compute evaluate now since if when and "
    "find finding obtain determine"
)
"""Words at which the search for :data:`OPERATING` words ends, except "and". They end a unit, except "cost" and "costs".
"""

LEADS: Final = words_of("so thus then hence therefore also now finally indeed thereby")
"""Words after which a plain number may be the first side of an equation: ``so 408 = 17 * 24``."""

BEFORE_SIGN: Final = words_of(
    "is are was were equals equal be gives give get gets have has so then thus therefore that calculate compute "
    "evaluate now becomes"
)
"""Words after which a dash that touches a number is a minus sign."""

NOT_UNITS: Final = (
    VERBS
    | words_of(
        "of times plus minus over and or than from to by twice half double less percent dozen hundred thousand million "
        "billion more with but as not where for while on at all"
    )
) - frozenset(("cost", "costs"))
"""Words that are not the name of a unit. Most of them also end a unit; "of" may be inside of one ("pieces of pie")."""

SCALES: Final = words_of(
    f"{_MONTHS} "
    "dozen dozens score hundred hundreds thousand thousands million millions billion billions "
    "trillion k ten tens ones pair pairs "
    "couple half halves quarter quarters third thirds fifth fifths eighth eighths tenth tenths percent gross ton tons "
    "mod modulo remainder r am pm o'clock squared cubed factorial"
)
"""Words that may change the value of the number before them: ``3 dozen``."""

JOINING: Final = words_of("and times plus minus divided multiplied by over of")
"""Words that may change the value of the number before them where another amount follows: ``8 and 1/2``."""

_FAMILIES: Final = {
    "time": "second seconds sec secs s minute minutes min mins hour hours hr hrs h day days week weeks month months "
    "year years decade decades century weekday weekend fortnight",
    "length": "mm millimeter millimeters cm centimeter centimeters m meter meters metre metres km kilometer kilometers "
    "kms inch inches foot feet ft yard yards yd mile miles mi",
    "mass": "mg milligram milligrams g gram grams kg kgs kilogram kilograms kilo kilos ounce ounces oz pound pounds lb "
    "lbs ton tons tonne tonnes",
    "volume": "ml milliliter milliliters l liter liters litre litres cup cups pint pints quart quarts gallon gallons "
    "tablespoon tablespoons tbsp tbs teaspoon teaspoons tsp ounce ounces oz",
    "money": "$ cent cents ¢ dollar dollars penny pennies nickel nickels dime dimes quarter quarters bill bills euro "
    "euros coins coin bucks",
    "count": "dozen dozens pair pairs score hundred thousand million couple set sets pack packs box boxes",
}


def stem(word: str) -> str:
    return word.rstrip("seiy") or word


_FACTORS: Final[tuple[tuple[tuple[str, int], ...], ...]] = (
    (
        ("second seconds sec secs s", 1),
        ("minute minutes min mins", 60),
        ("hour hours hr hrs h", 3600),
        ("day days", 86_400),
        ("week weeks", 604_800),
    ),
    (("month months", 1), ("year years yr yrs", 12), ("decade decades", 120), ("century centuries", 1200)),
    (
        ("mm millimeter millimeters", 1),
        ("cm centimeter centimeters", 10),
        ("m meter meters metre metres", 1000),
        ("km kms kilometer kilometers", 10**6),
    ),
    (("inch inches", 1), ("foot feet ft", 12), ("yard yards yd", 36), ("mile miles mi", 63_360)),
    (
        ("mg milligram milligrams", 1),
        ("g gram grams", 1000),
        ("kg kgs kilogram kilograms kilo kilos", 10**6),
        ("tonne tonnes", 10**9),
    ),
    (("ounce ounces oz", 1), ("pound pounds lb lbs", 16), ("ton tons", 32_000)),
    (("ml milliliter milliliters", 1), ("l liter liters litre litres", 1000)),
    (
        ("teaspoon teaspoons tsp", 1),
        ("tablespoon tablespoons tbsp tbs", 3),
        ("ounce ounces oz", 6),
        ("cup cups", 48),
        ("pint pints", 96),
        ("quart quarts", 192),
        ("gallon gallons", 768),
    ),
    (
        ("cent cents ¢ penny pennies", 1),
        ("nickel nickels", 5),
        ("dime dimes", 10),
        ("quarter quarters", 25),
        ("$ dollar dollars bucks", 100),
    ),
)
SCALE_OF: Final[dict[str, dict[int, int]]] = {}
"""The sizes of each unit, by its stem and the index of the table in ``_FACTORS``."""
for _table, _units in enumerate(_FACTORS):
    for _names, _size in _units:
        for _name in _names.split():
            SCALE_OF.setdefault(stem(_name), {})[_table] = _size

FAMILY: Final = {stem(word): family for family, words in _FAMILIES.items() for word in words.split()}
"""The family of each unit, by its stem. Units of one family may convert into one another.

A unit in two families (``ounce``) has the last one.
"""

PREFIXED: Final = frozenset(
    map(
        stem,
        words_of(
            "kb mb gb tb kib mib gib tib khz mhz ghz kw mw gw kwh mwh kj mj gj kpa mpa kbps mbps gbps mp megapixel "
            "megapixels kilobyte kilobytes megabyte megabytes gigabyte gigabytes"
        ),
    )
)
"""Stems of units with a prefix, into which a result in the plain unit is often converted: ``8 * 125 = 1 kB``."""

UNIT_SUFFIXES: Final = words_of(
    "mm cm km kms ft yd mi mg kg kgs oz lb lbs ml tbsp tbs tsp sec secs min mins hr hrs mph kmh"
)
"""Short words that are a unit when glued to a number."""

CASTING_DOUBT: Final = words_of(
    "\\oplus gf boolean according == puzzle puzzles riddle matchstick want "
    "wrong incorrect incorrectly mistake mistaken mistakenly false untrue invalid contradiction contradicts impossible "
    "mod modulo modulus binary octal hexadecimal hex base suppose supposing assume assuming pretend imagine "
    "inconsistent absurd contradictory unsolvable carry carrying carries borrow borrowing xor bitwise "
    "hypothetically oops typo error erroneous erroneously clock slip "
    "slogan orwell orwell's synergy proverb joke jokes saturating overflow overflows unsigned semiring"
)
"""Words in the sentence of an equation that the text may therefore not assert."""

NEGATING: Final = words_of("not never cannot can't isn't doesn't don't won't wouldn't aren't neither nor")
"""Words in the clause of an equation, or after it, that may deny the equation."""

REPORTING: Final = words_of(
    "if whether unless instead rather claims claimed says said wrote writes written answered thought think thinks "
    "believes believed states stated argues argued try trying tried attempt guess guessed would could might "
    "earlier previously insist insists insisted tempting student's students' pupil's pupils' user's "
    "reads displays outputs prints calculator"
)
"""Words in the clause of an equation which mean that the text may not assert it: ``he says 2 + 2 = 5``."""

OTHERS: Final = words_of("students pupils children kids people beginners learners many some")
"""People whose mistakes a text tells, where a word of :data:`ANSWERING` says what they do."""

ANSWERING: Final = words_of("write answer put compute calculate assume get")
"""What people of :data:`OTHERS` do in general: ``many pupils write 1/2 + 1/3 = 2/5``."""

WANTING: Final = frozenset(
    (("so", "that"), ("such", "that"), ("be", "that"), ("let's", "say"), ("say", "that"), ("to", "say"))
)
"""Two words directly before an equation that is a condition or an assumption."""

CONDITIONAL: Final = words_of("had were say")
"""Words at the start of a sentence that may begin a condition that is not met: ``Were 3 + 3 = 7 true, ...``."""

REJECTED: Final = frozenset(["✗", "✘", "❌", "✖", "╳", "fails", "fail", "failed", "reject", "rejected", "nope"])
"""Words and signs after an equation that may reject it as a failed trial."""

OTHER_SCRIPT: Final = "\u0400"
"""The text of the token for a word in most scripts other than Latin and Greek: with a letter from U+0400 on."""

FOREIGN: Final = words_of(
    f"{OTHER_SCRIPT} "
    "und nicht falsch wenn angenommen ist sind ergibt gleich ergeben schrieb schreibt sagt das dann daher stimmt mal "
    "que supongamos entonces porque falso incorrecto igual por los las una del cierto pero dice resultado "
    "donc alors est sont une dans pas faux supposons égal fait les des mais "
    "quindi allora sono non della che falso oppure então não "
)
"""The verifier does not understand a sentence that holds one of these words."""

REFERRING: Final = words_of("this that it's but no nope which")
"""A sentence that begins with one of these may be about the equation before it."""

RETRACTING: Final = words_of(
    "wrong incorrect mistake oops wait correction actually typo miscalculated recheck recalculate hmm sorry "
    "contradiction false untrue sic"
)
"""Words after an equation that may retract it."""

ROUNDING: Final = words_of("approximately approx roughly rounded rounding estimate estimated estimation")
"""Words in the sentence of an equation which mean that its values are approximate."""

ADVERBS: Final = words_of("about approximately approx roughly around nearly almost")
"""Words directly beside an equation, or after its relation sign, which mean that its values are approximate."""

INEXACT: Final = words_of("about around nearly almost round rounds ceiling floor")
"""Words in the sentence of an equation that may mean that its values are approximate, or not: ``a round of golf``."""
