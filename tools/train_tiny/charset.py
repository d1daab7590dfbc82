"""The tokens of the model: one for each character, one for each byte of anything else, and a few markers."""

from __future__ import annotations

import re

UNKNOWN, BEGIN, END = "<unk>", "<s>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
THINK, THOUGHT = "<think>", "</think>"
CALL, CALLED = "<tool_call>", "</tool_call>"

CONTROL = (UNKNOWN, BEGIN, END, SYSTEM, USER, ASSISTANT)
"""Tokens that a server never shows as text."""
MARKERS = (THINK, THOUGHT, CALL, CALLED)
"""Tokens that are text."""
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
CHARACTERS = ("\n", *(chr(code) for code in range(32, 127)), "×", "…")

TOKENS = (*CONTROL, *MARKERS, *BYTES, *CHARACTERS)
"""All tokens, by id."""
PAD = TOKENS.index(UNKNOWN)
FIRST = TOKENS.index(BEGIN)
"""The first token of every document."""

_IDS = {token: number for number, token in enumerate(TOKENS)}
_MARKS = re.compile("(" + "|".join(re.escape(mark) for mark in (*CONTROL, *MARKERS)) + ")")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{{ message['content'] if message['role'] == 'assistant' else message['content'] | trim }}"
    "{% if not loop.last or message['role'] != 'assistant' %}{{ '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Jinja: each turn is ``<|role|>text<|end|>``, and a last turn of the assistant stays open."""


def encode(text: str) -> list[int]:
    ids: list[int] = []
    for part in _MARKS.split(text):
        if part in _IDS and len(part) > 1:
            ids.append(_IDS[part])
            continue
        for character in part:
            number = _IDS.get(character)
            if number is None:
                ids += (_IDS[f"<0x{byte:02X}>"] for byte in character.encode())
            else:
                ids.append(number)
    return ids


def decode(ids: list[int]) -> str:
    text = bytearray()
    for number in ids:
        token = TOKENS[number]
        text += bytes.fromhex(token[3:5]) if token in BYTES else token.encode()
    return text.decode(errors="replace")
