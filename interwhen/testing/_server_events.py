"""The events of both APIs, as bytes and as steps of a script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from interwhen.testing._server_requests import Api
from interwhen.testing._server_steps import Send, Step

DONE = b"data: [DONE]\n\n"


def chunk(api: Api, text: str | None, *, finish_reason: str | None = None, **choice: Any) -> dict[str, Any]:
    """Build the JSON of one chunk."""
    content: dict[str, Any] = {"text": text} if api == "completions" else {"delta": {"content": text}}
    return {
        "id": "scripted",
        "object": "text_completion" if api == "completions" else "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": finish_reason, **choice}],
    }


def data(value: object) -> bytes:
    """Frame *value* as one event, with its characters as UTF-8."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def events(texts: Iterable[str], *, api: Api = "completions", finish_reason: str | None = "stop") -> tuple[Step, ...]:
    """Script a faultless stream, one send a text."""
    sends = [Send(data(chunk(api, text))) for text in texts]
    last = [Send(data(chunk(api, "", finish_reason=finish_reason)))] if finish_reason else []
    return (*sends, *last, Send(DONE))


@dataclass(frozen=True, slots=True)
class Pen:
    """Writes the events of one API; tells *story*, whose first token comes before most faults."""

    api: Api
    story: Sequence[str]
    wrong: str
    seed: int

    def say(self, text: str | None, **choice: Any) -> Send:
        """Write one chunk."""
        return Send(data(chunk(self.api, text, **choice)))

    def raw(self, text: str, **choice: Any) -> bytes:
        """Return the JSON of one chunk."""
        return json.dumps(chunk(self.api, text, **choice), ensure_ascii=False).encode()

    @property
    def first(self) -> Send:
        """The first token."""
        return self.say(self.story[0])

    def told(self, *middle: Step) -> tuple[Step, ...]:
        """Tell all of the story, with *middle* behind its first token."""
        return (self.first, *middle, *self.ending())

    def ending(self) -> tuple[Step, ...]:
        """Tell the story from its second token on."""
        return events(self.story[1:], api=self.api)

    def body(self) -> bytes:
        """Return the bytes of the whole story."""
        return b"".join(step.data for step in self.told() if isinstance(step, Send))

    def cut(self, last: Step) -> tuple[Step, ...]:
        """Tell the first token and a part of the event of the second, then do *last*."""
        half = b"data: " + self.raw(self.story[1] if len(self.story) > 1 else "more")
        return (self.first, Send(half[: len(half) // 2]), last)
