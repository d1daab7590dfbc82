"""A task: what a run was asked, as a verifier that knows the problem reads it."""

from __future__ import annotations

from dataclasses import dataclass

from interwhen.models.base import Message, Prompt


@dataclass(frozen=True, slots=True)
class Task:
    """The prompt of a run: a text that is continued, or the messages of a chat."""

    prompt: Prompt

    @property
    def messages(self) -> tuple[Message, ...]:
        """The turns of the chat; a text is one turn of the user."""
        return self.prompt if isinstance(self.prompt, tuple) else (Message(role="user", content=self.prompt),)

    @property
    def text(self) -> str:
        """What was said to the model, by anybody but itself: the turns joined by empty lines."""
        return "\n\n".join(message.content for message in self.messages if message.role != "assistant")

    @property
    def question(self) -> str:
        """The last turn of the user; empty where there is none."""
        return next((turn.content for turn in reversed(self.messages) if turn.role == "user"), "")
