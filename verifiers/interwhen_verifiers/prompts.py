"""Monitors of the prompt: `secrets`, and `tool_instructions` (instructions to the model in what a tool returned).

Both would rather miss something than stop a good prompt. See docs/prompt-monitors.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import log2
from typing import Literal, NamedTuple

from interwhen import Span
from interwhen.toolkit import PromptFinding, PromptMonitor, PromptText, normalize

__all__ = ["secrets", "tool_instructions"]

Action = Literal["observe", "refuse", "rewrite"]

_KEY = "a private key"
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        (
            "a private key",
            # Its headers, such as "Proc-Type: 4,ENCRYPTED", may have single dashes.
            (
                r"-----BEGIN (?:[A-Z]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
                r"(?s:(?!-----).){0,10000}(?:-----END [A-Z ]{0,40}-----)?"
            ),
        ),
        ("an AWS access key id", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})\b"),
        ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,64}"),
        ("a Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{20,250}"),
        (
            "an API key of a model provider",
            # Names of classes in style sheets, such as sk-folding-cube-container, begin like this, too.
            r"\bsk-(?=[A-Za-z0-9_-]{0,230}[A-Za-z0-9]{16})(?=[A-Za-z_-]{0,230}[0-9])[A-Za-z0-9_-]{20,250}",
        ),
        ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}"),
        ("a Stripe key", r"\b[sr]k_live_[0-9A-Za-z]{16,250}\b"),
        ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{30,60}\b"),
        ("an npm token", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("a PyPI token", r"\bpypi-AgEI[A-Za-z0-9_-]{50,1000}"),
        ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,2000}"),
    )
)
_IN_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@'\"<>]{1,100}:(?P<value>[^\s:/@'\"<>]{6,200})@[\w.-]")
_ASSIGNED = re.compile(
    r"(?i:api[_-]?key|secret[_-]?(?:access[_-]?)?key|client[_-]?secret|auth[_-]?token|access[_-]?token|password|passwd)"
    r"[\"']?[ \t]{0,5}[:=][ \t]{0,5}[\"']?(?P<value>[A-Za-z0-9+/_.=-]{20,300})"
)
_PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|your|dummy|sample|redacted|changeme|password|x{4}|\*{3}|\.{3}|0{8}|1234567"
)
_LEAST_BITS = 3.5
"""The least entropy per character, in bits, of a value that only its name makes a secret."""
_VARIETY = 8
"""The least number of different characters in most secrets."""


def secrets(action: Action = "refuse") -> PromptMonitor:
    """Make a monitor that looks for keys, tokens and passwords in a prompt.

    It knows them by published forms, by their place in a URL, or by a name before them such as ``api_key=``.
    *action*: ``observe`` only records a secret, ``refuse`` refuses the prompt, and ``rewrite`` writes ``[removed]`` in
    its place. Raises :class:`~interwhen.UsageError` on another action.
    """
    return PromptMonitor(
        name="secrets",
        version="1",
        find=find_secrets,
        action=action,
        rewrite=(lambda _text, _finding: "[removed]") if action == "rewrite" else None,
    )


def find_secrets(text: PromptText) -> Iterator[PromptFinding]:
    # Placeholders, such as keys with the word EXAMPLE, are left out, except for private keys.
    said = text.text
    for name, pattern in _KINDS:
        for match in pattern.finditer(said):
            if name == _KEY or not _is_placeholder(match[0]):
                yield PromptFinding(Span(*match.span()), f"{name} is in the prompt")
    for match in _IN_URL.finditer(said):
        if not _is_placeholder(match["value"], variety=4) and match["value"][0] not in "${<[":
            yield PromptFinding(Span(*match.span("value")), "a password in a URL is in the prompt")
    for match in _ASSIGNED.finditer(said):
        value = match["value"]
        mixed = any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
        if mixed and not _is_placeholder(value) and _bits(value) >= _LEAST_BITS:
            yield PromptFinding(Span(*match.span("value")), "a value that is named a secret is in the prompt")


def _is_placeholder(value: str, *, variety: int = _VARIETY) -> bool:
    return _PLACEHOLDER.search(value) is not None or len(set(value)) < variety


def _bits(value: str) -> float:
    counts = [value.count(char) / len(value) for char in set(value)]
    return -sum(share * log2(share) for share in counts)


_GAP = r"[^.]{0,60}?"
_TASKS = r"(?:instructions?|prompts?|directives)"
_RULES = r"(?:instructions?|prompts?|directions|directives|rules|guidelines|orders)"
_EARLIER = r"(?:previous|prior|above|earlier|preceding|system|original|initial|existing)"
_MODEL = r"(?:ai|a\.i\.|llm|language model|chatbot|ai assistant|ai agent|ai model)s?"
_SPECIFIC = (
    r"(?! (?:if|when|unless|about|on|regarding|concerning|set|of|in|from)\b"
    r"| for (?!this|the rest|now|all))"
)
"""Excludes instructions about something, such as the parking of cars, which are not those of the model."""


class _Phrase(NamedTuple):
    """A wording of an instruction to the model."""

    why: str
    pattern: str
    """A regular expression in which most spaces stand for any white space, since tools wrap long lines."""
    ordered: bool = False
    """Whether the phrase must be an order: ``You must ignore ...``, but not ``Employees may ignore ...``."""


_PHRASES = (
    # What a person withdraws is "my" or "our" instructions.
    _Phrase(
        "it asks to ignore instructions",
        r"\b(?:ignore|disregard|forget) (?!my\b|our\b|their\b)(?:\w+ ){0,4}?"
        rf"{_EARLIER}(?: \w+){{0,3}}? {_RULES}\b{_SPECIFIC}"
        rf"|\b(?:override|bypass) (?:(?:\w+ ){{0,3}}?{_EARLIER}(?: \w+){{0,3}}? {_TASKS}"
        rf"|(?:all|any|your)(?: \w+){{0,4}}? {_RULES})\b{_SPECIFIC}",
        ordered=True,
    ),
    _Phrase(
        "it is a message to a model",
        rf"\b(?:message|instructions?|notice|note|attention|command)\b{_GAP}\b(?:to|for) "
        rf"(?:you, (?:the )?(?:{_MODEL}|gpt|claude|gemini|llama|mistral)\b"
        rf"|(?:the |any |all |every )?{_MODEL}(?: ?[:!—]| (?:who|that|which|reading|processing|with access)\b))",
    ),
    _Phrase(
        "it puts a task before that of the user",
        rf"\bbefore (?:you can |you )(?:solve|complete|continue|answer|finish|proceed){_GAP}"
        r"\b(?:task|question|request)\b"
        rf"(?:{_GAP}\b(?:do|perform|execute|complete|follow|carry out) (?:\w+ )?(?:the following|these|this)\b"
        rf"|(?: that| which)? (?:i|the user) (?:gave|asked|assigned|set)\b{_GAP}\b(?:first|following)\b)",
    ),
    _Phrase(
        "it hides something from the user",
        r"\b(?:(?:do not|don't|never) (?:tell|inform)|without telling) (?:the )?user"
        r"(?: (?:about|of) (?:this|that|it|these)\b| (?:this|that|anything|what|why)\b| ?[.!,;\"\\]| ?\Z)"
        r"|\b(?:(?:do not|don't|never) (?:notify|alert)|without (?:informing|notifying|alerting)) (?:the )?user"
        r" (?:(?:about|of) (?:this|that|it|these)|that you|what you)\b",
    ),
    _Phrase(
        "it asks for the instructions of the model",
        r"\b(?:reveal|print|repeat|output|leak|exfiltrate) (?:\w+ ){0,6}?(?:system prompt"
        r"|your (?:system|original|initial|hidden|secret|internal|full|exact|entire|previous|developer|own) "
        r"(?:instructions|prompt))\b"
        r"|\b(?:reveal|repeat|leak|exfiltrate) (?:\w+ ){0,4}?your (?:instructions|prompt\b(?! \w))",
        ordered=True,
    ),
    _Phrase(
        "it changes the role of the model",
        r"\byou are (?:now|no longer) (?:(?:in |an? )?(?:developer mode|(?-i:DAN)|jailbroken)\b"
        rf"|an? unrestricted (?:{_MODEL}|model|assistant)\b|unrestricted\b"
        r"|bound by (?:\w+ ){0,4}?(?:rules|guidelines|instructions|restrictions|limitations|policy|policies|prompt)\b)",
    ),
    _Phrase(
        "it orders obedience",
        r"\bstrictly (?:adhere to|obey|follow|execute) (?:only )?the following instructions?\b"
        r"(?! (?:when|if|while|for|to)\b)"
        r"|\b(?:adhere to|obey|execute|follow) only the following instructions?\b",
        ordered=True,
    ),
    _Phrase(
        "it has the marks of a chat template",
        r"<\|im_start\|>\s{0,5}(?:system|user|assistant|developer|tool)\b"
        r"|<\|start_header_id\|>\s{0,5}(?:system|user|assistant|tool)"
        r"|(?:<\|(?:end|im_end|eot_id|endoftext)\|>|</s>)\s{0,5}<\|(?:system|user|assistant)\|>"
        r"|<\|(?:system|user|assistant)\|>[ \t]{0,5}(?:\n|\\n)"
        r"|\[INST\]\s{0,5}(?!and\b|or\b|\[/INST\])\w(?:[^\[]|\[(?!/INST)){0,2000}\[/INST\]"
        r"|<<SYS>>\s{0,5}(?!and\b|or\b|<</SYS)\w(?:[^<]|<(?!</SYS)){0,2000}<</SYS>>"
        r"|<start_of_turn>(?:user|model|system)(?:\n|\\n)",
    ),
)
_TO_MODELS = tuple(
    (phrase.why, re.compile(re.sub(r" (?!\?)", r"\\s{1,20}", phrase.pattern), re.IGNORECASE), phrase.ordered)
    for phrase in _PHRASES
)
_ORDER = re.compile(
    r"(?:\A|[^\w\s])\s*\Z|\n\s*\Z"
    r"|\b(?:please|now|and|then|just|kindly|immediately|first|so|also|simply|completely|therefore|you\s+to"
    rf"|(?:you|{_MODEL}|assistants?|agents?|models?)\s+(?:must|should|shall|will|need\s+to|have\s+to|has\s+to|are\s+to)"
    r"(?:\s+now)?)\s+\Z",
    re.IGNORECASE,
)
"""Matches the text before an order."""
_QUOTING = re.compile("\\w [\"'`\u2018\u201c\u00ab]\\Z")
"""Matches the text before quoted words: ``an attack says "ignore ...``. In JSON, another mark is before them."""
_CONDITION = re.compile(r"(?:if|when|unless|in case|where)\b(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_TO_READER = re.compile(rf"\b(?:{_MODEL}|assistant|model|agent|bot|reading)\b", re.IGNORECASE)
_TAG = re.compile(r"<(?P<name>[A-Za-z][\w-]{2,30})>")


def tool_instructions(action: Action = "refuse") -> PromptMonitor:
    """Make a monitor that looks for instructions to the model in results of tools and in retrieved documents.

    It knows some wordings. *action*: ``observe`` only records an instruction, ``refuse`` refuses the prompt, and
    ``rewrite`` writes a note in place of the element (``<name>...</name>``) around it, or else of all text from its
    line on. Raises :class:`~interwhen.UsageError` on another action.
    """
    return PromptMonitor(
        name="tool_instructions",
        version="1",
        find=find_instructions,
        action=action,
        rewrite=(lambda _text, _finding: "[a part of this result was removed]") if action == "rewrite" else None,
        roles=("tool",),
    )


def find_instructions(text: PromptText) -> Iterator[PromptFinding]:
    normal = normalize(text.text)
    for why, pattern, ordered in _TO_MODELS:
        for match in pattern.finditer(normal.text):
            if ordered and not _is_order(normal.text, match.start()):
                continue
            start, end = _block(normal.text, *match.span())
            yield PromptFinding(normal.original(start, end), f"a result of a tool holds an instruction: {why}")


def _is_order(text: str, start: int) -> bool:
    # The result is false, for example, where a sentence only quotes the words.
    before = text[max(0, start - 80) : start]
    if _QUOTING.search(before) is not None or _ORDER.search(before) is None:
        return False
    sentence = re.split(r"[.!?\n]\s|[\"“:]", text[max(0, start - 300) : start])[-1].lstrip()
    condition = _CONDITION.match(sentence)
    return condition is None or _TO_READER.search(condition["rest"]) is not None


def _block(text: str, start: int, end: int) -> tuple[int, int]:
    # The nearest element (`<name>...</name>`) around the match, closed or not. Without one, all text from the line of
    # the match on.
    for tag in reversed(list(_TAG.finditer(text, max(0, start - 2000), start))):
        close = text.find(f"</{tag['name']}>", tag.end())
        if close < 0 or close >= end:
            return tag.start(), len(text) if close < 0 else close + len(tag["name"]) + 3
    return text.rfind("\n", 0, start) + 1, len(text)
