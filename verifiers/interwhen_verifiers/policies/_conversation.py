"""Rules that look at the conversation rather than at the world: what many written policies demand alike."""

from __future__ import annotations

import re
from typing import Any

from interwhen import Pass, Unknown, Verdict, Violation

from interwhen_verifiers.tool_policy import Call

_DOING = "do|go|cancel|book|change|update|make|process|exchange|return|modify|upgrade|downgrade|add|submit|finali[sz]e"
_YES = re.compile(
    r"\b(?:y|yes|yeah|yea|yep|yup|sure|ok|okay|confirm\w*|correct|right|agree\w*|accept\w*|approve\w*|proceed\w*"
    r"|continue|go (?:ahead|on|for)|do (?:it|that|so)|that works|works for me|absolutely|definitely|of course"
    r"|(?:sounds?|looks?|works?|all|very) (?:\w+ )?(?:good|great|fine|perfect|right)|certainly|exactly|perfect|great"
    rf"|fine|affirmative|happy|please (?:{_DOING}))\b",
    re.IGNORECASE,
)
"""Words of agreement. The list is long on purpose: who said none of them has not agreed explicitly."""
_LATIN = re.compile(r"[a-z]", re.IGNORECASE)

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
    # A detail may be asked for between the yes and the action: two turns of the user count.
    words = " ".join(list(history.texts("user"))[-2:])
    if _YES.search(words):
        return Pass("the user was told, and agreed")
    if not _LATIN.search(history.last_user):
        return Unknown("the user's words are not understood")
    return Violation(
        why="the user has not explicitly confirmed this action",
        witness=f"list its details and wait for a yes: the user's last words were '{_short(history.last_user)}'",
    )


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else f"{flat[:79]}…"
