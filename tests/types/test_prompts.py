"""Monitors of the prompt refuse wrong values, and a refusal says why without quoting the prompt."""

import pytest
from interwhen import UsageError
from interwhen._types.results import PromptRecord
from interwhen.clients import PromptRefused
from interwhen.toolkit import PromptMonitor


def nothing(_):
    return ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"action": "stop"}, "action must be one of observe, refuse, rewrite, got 'stop'"),
        ({"on_error": "maybe"}, "on_error must be one of open, closed or None"),
        ({"find": 3}, "find must be a function"),
        ({"action": "rewrite"}, "rewrite must be given with action='rewrite'"),
        ({"rewrite": str}, "rewrite must be given with action='rewrite'"),
        ({"roles": ("robot",)}, "roles must be some of"),
        ({"roles": "tool"}, "roles must be some of"),
        ({"roles": ()}, "roles must be some of"),
        ({"deadline": 0}, "deadline must be positive seconds"),
        ({"name": 5}, "name must be a text, got 5"),
        ({"version": 2}, "version must be a text, got 2"),
    ],
)
def test_wrong_values_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        PromptMonitor(**{"name": "m", "find": nothing, **wrong})


@pytest.mark.parametrize(
    ("action", "on_error", "closed"),
    [
        ("observe", None, False),
        ("refuse", None, True),
        ("rewrite", None, True),
        ("observe", "closed", True),
        ("refuse", "open", False),
    ],
)
def test_what_acts_is_closed_on_failure_by_default(action, on_error, closed):
    rewrite = (lambda *_: "") if action == "rewrite" else None
    monitor = PromptMonitor(name="m", find=nothing, action=action, on_error=on_error, rewrite=rewrite)
    assert monitor.is_closed is closed


def test_a_refusal_names_what_refused():
    records = (
        PromptRecord("a", "1", "observed", "user", 0, None, "seen"),
        PromptRecord("b", "1", "refused", "user", 0, None, "a key"),
        PromptRecord("c", "1", "failed", None, None, None, "it raised"),
    )
    error = PromptRefused(records)
    assert error.reason == "the prompt must pass its monitors, and was refused by b: a key; c: it raised"
    assert error.result.status == "abstained"
    assert (error.result.reason, error.result.prompt_findings) == (error.reason, records)
