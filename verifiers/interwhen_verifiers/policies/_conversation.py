"""Rules that look at the conversation rather than at the world: what many written policies demand alike."""

from __future__ import annotations

import re
from typing import Any

from interwhen import Pass, Unknown, Verdict, Violation

from interwhen_verifiers.tool_policy import Call

_WORDS = (
    "y yes yeah yea yep yup sure ok okay confirm confirmed confirming correct right agree agreed accept accepted "
    "approve approved perfect great fine good work works absolutely definitely certainly course exactly please proceed "
    "want ready happy affirmative cancel book change update exchange return modify upgrade downgrade use thank thanks "
    "si oui"
)
_PHRASES = r"go (?:ahead|on|for)|do (?:it|that|so)|let'?s|let us|would like|i'd like|make (?:it|the)"
_YES = re.compile(rf"\b(?:{_PHRASES}|{_WORDS.replace(' ', '|')})\b", re.IGNORECASE)
"""Words by which somebody may agree. It is long on purpose: a user whose words hold none of them has not agreed."""

NO_TALK = "the conversation before the call is not known"


def one_at_a_time(call: Call[Any]) -> Verdict | None:
    """Refute a call that is made beside another one."""
    if not call.beside:
        return None
    return Violation(
        why="only one tool call may be made at a time",
        witness=f"this turn has called {call.beside[-1].name} already, and a turn may make one call",
    )


def confirmed(call: Call[Any]) -> Verdict | None:
    """Refute an action that was not put to the user, or that they have said nothing like a yes to."""
    history = call.history
    if not history.is_conversation:
        return Unknown(NO_TALK)
    last = max((at for at, message in enumerate(history.messages) if message.role == "user"), default=-1)
    spoken = [message.content for message in history.messages[:last] if message.role == "assistant"]
    if not any(text.strip() for text in spoken):
        return Violation(
            why="the user was not told what would be done, and has not confirmed it",
            witness="nothing was said to the user before this call: list the details of the action and ask for a yes",
        )
    if not _YES.search(history.last_user):
        return Violation(
            why="the user has not confirmed this action",
            witness=f"the user's last words hold no confirmation: '{_short(history.last_user)}'",
        )
    return Pass("the user was told, and agreed")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else f"{flat[:79]}…"
