"""Holds log-probabilities back until the text of their tokens has come, so that a gate does not show it unchecked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

TakeTokens: TypeAlias = Callable[[str, list[tuple[bytes, Any]]], list[Any]]
"""A function such as :meth:`HeldTokens.take`."""

_MOST_TOKENS = 256
"""The most tokens that wait for their text."""
_MOST_TEXT = 4096
"""The most bytes of text that are kept for tokens that come later."""
_LONGEST = 512
"""The most bytes of a token. The log-probability of a longer one is left out."""

_LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
"""The lists of the completions API, with one member for each token."""
_REPLACED = "\ufffd"
_ESCAPED = ("\\x", "bytes:")
"""How a token begins that is a part of a character, such as ``\\xf0\\x9f``. Its bytes are in another field."""


class HeldTokens:
    """Finds the tokens whose text has come, in their order. Those whose text is still to come wait.

    A token that is in no text, such as an end mark, is left out once a later token was found.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[bytes, Any]] = []
        self._text = b""

    @property
    def waits(self) -> bool:
        """Whether a token waits for its text."""
        return bool(self._waiting)

    def take(self, text: str, tokens: list[tuple[bytes, Any]]) -> list[Any]:
        """Add *text*, which has come, and *tokens*: pairs of the bytes of a token's text and any object.

        Return the objects of the tokens whose text has come by now.
        """
        new = text.encode("utf-8", "surrogatepass")
        if b"".join(token for token, _ in tokens) == new:  # as nearly always
            if new:
                self._waiting, self._text = [], b""
            return [each for _, each in tokens]
        self._text = (self._text + new)[-_MOST_TEXT:]
        self._waiting = [*self._waiting, *tokens][-_MOST_TOKENS:]
        found: list[Any] = []
        taken = 0
        for number, (token, each) in enumerate(self._waiting):
            at = self._text.find(token) if len(token) <= _LONGEST else -1
            if at >= 0 and (token or number == taken):
                found.append(each)
                self._text, taken = self._text[at + len(token) :], number + 1
            elif not self._text or self._begins(token):
                break
        del self._waiting[:taken]
        return found

    def _begins(self, token: bytes) -> bool:
        """Return whether the text ends with the beginning of *token*, so that the rest may follow."""
        return any(self._text.endswith(token[:size]) for size in range(1, min(len(token), _LONGEST)))


class HeldScores:
    """Holds back the log-probabilities in the chunks of one stream of the chat or the completions API."""

    def __init__(self) -> None:
        self._tokens: Mapping[str, HeldTokens] = {"content": HeldTokens(), "reasoning_content": HeldTokens()}

    @property
    def waits(self) -> bool:
        """Whether a log-probability waits for its text."""
        return any(held.waits for held in self._tokens.values())

    def take(self, scores: Any, text: str, reasoning: str) -> dict[str, Any] | None:
        """Return the log-probabilities to show with a chunk whose field ``logprobs`` is *scores*.

        *text* and *reasoning* are the texts of the chunk. The result is ``None`` if there are none to show.
        """
        given = scores if isinstance(scores, dict) else {}
        shown: dict[str, Any] = {}
        if isinstance(given.get("tokens"), list):
            lists = {name: given[name] for name in _LISTS if isinstance(given.get(name), list)}
            rows = [(_spelled(token, None), number) for number, token in enumerate(given["tokens"])]
            members = [(token, {name: each[at : at + 1] for name, each in lists.items()}) for token, at in rows]
            for member in self._tokens["content"].take(reasoning + text, members):
                for name, each in member.items():
                    shown[name] = shown.get(name, []) + each
        else:
            for name, said in (("content", reasoning + text), ("reasoning_content", reasoning)):
                if found := self._tokens[name].take(said, tokens_of(given.get(name))):
                    shown[name] = found
        return {**dict.fromkeys(given), **shown} if shown else None


def tokens_of(scores: Any) -> list[tuple[bytes, Any]]:
    """Return the tokens in *scores*, a list of log-probabilities, each with the bytes of its text."""
    rows = [each for each in scores if isinstance(each, dict)] if isinstance(scores, list) else []
    return [(_spelled(each.get("token"), each.get("bytes")), each) for each in rows]


def _spelled(token: Any, parts: Any) -> bytes:
    """Return the bytes of *token*. *parts* are its bytes as numbers, which are used for a part of a character only."""
    if not isinstance(token, str):
        return b""
    if isinstance(parts, list) and (_REPLACED in token or token.startswith(_ESCAPED)):
        with suppress(TypeError, ValueError):
            return bytes(parts)
    return token.encode("utf-8", "surrogatepass")


def with_scores_of_text(value: Any, scores_of: TakeTokens | None = None) -> Any:
    """Return *value*, an event of the Responses API, without log-probabilities of tokens that are not in its text.

    Log-probabilities are in a field ``logprobs`` beside ``text``, at any depth. *scores_of* finds those beside
    ``delta``.
    """
    if isinstance(value, list):
        return [with_scores_of_text(each) for each in value]
    if not isinstance(value, dict):
        return value
    shown = {name: with_scores_of_text(each) for name, each in value.items()}
    scores = value.get("logprobs")
    if scores_of is not None or isinstance(scores, list):
        text = value.get("delta" if scores_of else "text")
        found = (scores_of or HeldTokens().take)(text if isinstance(text, str) else "", tokens_of(scores))
        if found or scores:
            shown["logprobs"] = found
    return shown
