"""Compares log-probabilities with the text of their tokens, and holds them back until this text has come.

The tokens must spell the text, except for white space: a reader of the tokens must read what monitors read.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

_MOST_TOKENS = 256
"""The most tokens that wait for their text."""
_MOST_TEXT = 4096
"""The most bytes of text that wait for their tokens."""
_LAST = 64
"""The most bytes of a last token after the end of the stop sequence in it."""
_MOST_ALTERNATIVES = 128

_LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
"""The lists of the completions API, with one member for each token."""
_REPLACED = "\ufffd"
_ESCAPED = re.compile(r"(?:bytes:)?(?:\\x[0-9a-f]{2})+|<0x[0-9A-F]{2}>")
"""A token that is a part of a character, such as ``\\xf0\\x9f`` or ``<0xF0>``."""
_HEX = re.compile(r"x([0-9a-fA-F]{2})")
_LONGEST = 128
"""The most bytes of a token whose text is not that of its bytes."""
_MARK = re.compile(rb"<(?:[\w|/:-]|\xef\xbd\x9c|\xe2\x96\x81){1,40}>|\[[A-Z_/]{1,32}\]|token_id:[0-9]{1,9}")
"""A token that is in no text, such as ``</s>`` or ``[INST]``, or that has a number in place of its text."""
_MOST_MARKS = 32
"""The most of them in a stream: more would be a text of their own."""
_BLANK = re.compile(r"[\s\u2581]+")
"""White space, with the sign for a space in some vocabularies. Servers strip it, and some leave it out of tokens."""
_UNKNOWN, _OTHER = b"\xfe", b"\xff"
"""Stand for a part of a character whose bytes are not known, and for a token with two texts. No text has such bytes."""
_CHARACTER = 4
"""The most bytes of a character."""


class HeldTokens:
    """Finds the tokens whose text has come, in their order."""

    # Marks, which are in no text, are left out. After a token that does not spell the text, no further token is found.

    def __init__(self) -> None:
        self._waiting: list[tuple[bytes, Any]] = []
        self._text = b""
        self._unknown = 0
        """How many bytes at the start of the text may belong to tokens with unknown bytes."""
        self._has_scores = False
        self._marks = 0
        self.differs = False
        """Whether the tokens do not spell the text."""

    def take(self, text: str, tokens: list[tuple[bytes, Any]], *, optional: bool = False) -> list[Any]:
        # `tokens` are pairs of the bytes of a token's text and any object. Return the objects whose text has come by
        # now. From the first token on, text without tokens makes `differs` true, unless it is `optional` and nothing
        # waits.
        self._has_scores = self._has_scores or bool(tokens)
        if not self._has_scores or not (tokens or self._waiting or self._text or not optional):
            return []
        self._text += _packed(text)
        self._waiting += tokens
        matched = [] if self.differs else self._matched()
        if len(self._waiting) > _MOST_TOKENS or len(self._text) > _MOST_TEXT:
            self.differs = True
        if self.differs:
            self._waiting, self._text = [], b""
        return matched

    def _matched(self) -> list[Any]:
        matched: list[Any] = []
        taken = 0
        for token, each in self._waiting:
            if token == _UNKNOWN:
                self._unknown += _CHARACTER
                matched.append(each)
                taken += 1
                continue
            self._skip_unknown(token)
            if self._text.startswith(token):
                self._text = self._text[len(token) :]
                self._unknown = 0 if token else self._unknown
                matched.append(each)
            elif token.startswith(self._text):
                break  # the rest may follow
            else:
                self._marks += 1
                if self._marks > _MOST_MARKS or not _MARK.fullmatch(token):
                    self.differs = True
                    break
            taken += 1
        del self._waiting[:taken]
        return matched

    def _skip_unknown(self, token: bytes) -> None:
        most, at = min(self._unknown, len(self._text)), 0
        while at < most and self._text[at] >= 0x80 and not self._text.startswith(token, at):
            at += 1
        self._text, self._unknown = self._text[at:], self._unknown - at

    def finish(self, stops: Iterable[str] = ()) -> None:
        words = [token for token, _ in self._waiting if not _MARK.fullmatch(token)]
        rest = b"".join(words)
        self._skip_unknown(rest or _OTHER)
        ends = [self._text + _packed(stop) for stop in stops]
        is_end = any(end.startswith(rest) or (rest.startswith(end) and len(rest) <= len(end) + _LAST) for end in ends)
        has_many_marks = self._marks + len(self._waiting) - len(words) > _MOST_MARKS
        self.differs = self.differs or has_many_marks or not (rest == self._text or is_end)
        self._waiting, self._text = [], b""


def _packed(text: str) -> bytes:
    return _BLANK.sub("", text).encode("utf-8", "surrogatepass")


class HeldScores:
    """The log-probabilities in the chunks of one stream of the chat or the completions API."""

    def __init__(self) -> None:
        self._tokens: Mapping[str, HeldTokens] = {"content": HeldTokens(), "reasoning_content": HeldTokens()}

    @property
    def differs(self) -> bool:
        return any(held.differs for held in self._tokens.values())

    def take(self, scores: Any, text: str, reasoning: str) -> dict[str, Any] | None:
        """Return the log-probabilities to show with a chunk, if any.

        *scores* is the field ``logprobs`` of the chunk.
        """
        given = scores if isinstance(scores, dict) else {}
        shown: dict[str, Any] = {}
        if isinstance(given.get("tokens"), list):
            lists = {name: given[name] for name in _LISTS if isinstance(given.get(name), list)}
            rows = [(_spelled(token, None), number) for number, token in enumerate(given["tokens"])]
            members = [(token, {name: each[at : at + 1] for name, each in lists.items()}) for token, at in rows]
            for member in self._tokens["content"].take(reasoning + text, members, optional=not text):
                for name, each in member.items():
                    shown[name] = shown.get(name, []) + each
        else:
            # A server may give log-probabilities of the answer only, or of the reasoning in a list of their own.
            thoughts = tokens_of(given.get("reasoning_content"))
            if matched := self._tokens["reasoning_content"].take(reasoning, thoughts, optional=True):
                shown["reasoning_content"] = matched
            said = text if thoughts else reasoning + text
            if matched := self._tokens["content"].take(said, tokens_of(given.get("content")), optional=not text):
                shown["content"] = matched
        if tokens_of(given.get("refusal")) or isinstance(given.get("tokens"), str):
            self._tokens["content"].differs = True  # no monitor reads a refusal, and no server sends such tokens
        return {**dict.fromkeys(given), **shown} if shown else None

    def finish(self, stops: Iterable[str]) -> None:
        for held in self._tokens.values():
            held.finish(stops)


def tokens_of(scores: Any) -> list[tuple[bytes, Any]]:
    rows = [each for each in scores if isinstance(each, dict)] if isinstance(scores, list) else []
    return [(_spelled_row(each), each) for each in rows]


def _spelled_row(row: dict[str, Any]) -> bytes:
    others = row.get("top_logprobs")
    others = [each for each in others if isinstance(each, dict)] if isinstance(others, list) else []
    is_sound = all(_spelled(each.get("token"), each.get("bytes")) != _OTHER for each in others)
    return _spelled(row.get("token"), row.get("bytes")) if is_sound and len(others) <= _MOST_ALTERNATIVES else _OTHER


def _spelled(token: Any, parts: Any) -> bytes:
    # `parts` are its bytes as numbers, if they are known.
    if not isinstance(token, str):
        return b"" if token is None else _OTHER
    given = None
    if isinstance(parts, list):
        with suppress(TypeError, ValueError):
            given = bytes(parts[: _LONGEST + 1]).translate(None, string.whitespace.encode())
    is_part = _ESCAPED.fullmatch(token) is not None
    spelled = _packed(token)
    if is_part or _REPLACED in token:
        # Around a part of a character, a token may have whole ones, which its bytes or the text must have, too.
        rest = b"" if is_part else _packed(token.replace(_REPLACED, ""))
        if given and given != token.encode("utf-8", "surrogatepass"):  # vLLM gives the bytes of the replacement
            is_same = is_part or _packed(given.decode("utf-8", "ignore")) == rest
            return given if is_same and len(given) <= _LONGEST else _OTHER
        if is_part:
            return bytes.fromhex("".join(_HEX.findall(token)))
        return spelled if rest else _UNKNOWN
    if _MARK.fullmatch(spelled) and _BLANK.search(token.strip()):
        return _OTHER  # a mark is a single word, and this is text
    if given is not None and _packed(given.decode("utf-8", "replace")) != spelled:
        return _OTHER
    return spelled


def with_scores_of_text(value: Any, held: HeldTokens | None = None) -> tuple[Any, bool]:
    # Log-probabilities are in a field `logprobs` beside `text`, at any depth. `held` has the earlier tokens of the text
    # in `delta`. Return also whether tokens do not spell their text.
    if isinstance(value, list):
        members = [with_scores_of_text(each) for each in value]
        return [each for each, _ in members], any(differs for _, differs in members)
    if not isinstance(value, dict):
        return value, False
    fields = {name: with_scores_of_text(each) for name, each in value.items()}
    shown, differs = (
        {name: each for name, (each, _) in fields.items()},
        any(differing for _, differing in fields.values()),
    )
    scores = value.get("logprobs")
    if held is not None or isinstance(scores, list):
        text = value.get("text" if held is None else "delta")
        tokens = held or HeldTokens()
        matched = tokens.take(text if isinstance(text, str) else "", tokens_of(scores))
        if held is None:
            tokens.finish()
        if matched or scores:
            shown["logprobs"] = matched
        differs = differs or tokens.differs
    return shown, differs
