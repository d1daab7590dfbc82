"""Splits a text stream into reasoning, answer and the tags between them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from interwhen.segments import Phase

Kind = Literal["text", "open", "close"]

_MAX_LEAD = 64
"""How much white space may stand before the tag that opens the reasoning."""


class Part(NamedTuple):
    """Text that is wholly plain, or wholly a tag."""

    text: str
    kind: Kind


class ThinkTags:
    """Finds ``<think>`` at the very start and the ``</think>`` that ends it.

    A tag may be cut anywhere between chunks; at most one tag's length of text (and the white space before the first
    one) is held until it is decided.
    """

    __slots__ = ("_at_start", "_held", "_opening", "_unread", "closing", "phase")

    def __init__(self, tags: tuple[str, str], phase: Phase) -> None:
        self._opening, self.closing = tags
        self.phase: Phase = phase
        self._at_start = phase == "answer"
        self._unread = True
        self._held = ""

    @property
    def must_see(self) -> bool:
        """Whether any text may matter now, not only text with the first character of the closing tag."""
        return self._at_start or self._unread or bool(self._held)

    @property
    def done(self) -> bool:
        """Whether no text can matter any more."""
        return self.phase == "answer" and not self.must_see

    def feed(self, text: str) -> list[Part]:
        """Return the parts that are decided now."""
        text, self._held = self._held + text, ""
        self._unread = False
        if self._at_start:
            return self._start(text)
        if self.phase == "reasoning":
            return self._reasoning(text)
        return [Part(text, "text")] if text else []

    def drain(self) -> list[Part]:
        """Return what is held: no more text comes."""
        held, self._held = self._held, ""
        return [Part(held, "text")] if held else []

    def restart(self, phase: Phase, *, at_start: bool) -> None:
        """Continue after a cut in *phase*."""
        self.phase = phase
        self._held = ""
        self._at_start = at_start and phase == "answer"

    def _start(self, text: str) -> list[Part]:
        body = text.lstrip()
        early = len(text) - len(body) <= _MAX_LEAD
        if early and body.startswith(self._opening):
            cut = len(text) - len(body) + len(self._opening)
            self._at_start = False
            self.phase = "reasoning"
            return [Part(text[:cut], "open"), *self._reasoning(text[cut:])]
        if early and len(body) < len(self._opening) and self._opening.startswith(body):
            self._held = text
            return []
        self._at_start = False
        return [Part(text, "text")] if text else []

    def _reasoning(self, text: str) -> list[Part]:
        at = text.find(self.closing)
        if at >= 0:
            self.phase = "answer"
            end = at + len(self.closing)
            parts = [Part(text[:at], "text"), Part(text[at:end], "close"), Part(text[end:], "text")]
            return [part for part in parts if part.text]
        keep = self._partial(text)
        self._held = text[len(text) - keep :]
        body = text[: len(text) - keep]
        return [Part(body, "text")] if body else []

    def _partial(self, text: str) -> int:
        """Return how many characters at the end of *text* may be the start of the closing tag."""
        for size in range(min(len(self.closing) - 1, len(text)), 0, -1):
            if text.endswith(self.closing[:size]):
                return size
        return 0
