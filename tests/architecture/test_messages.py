"""Error messages say what must be true and what was found."""

import ast

import pytest
from tests.architecture import messages
from tests.architecture.messages import Message

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source


def test_each_message_says_what_must_be_true_and_what_was_found():
    found = [f"{message.file}:{message.line}: {message.text}" for message in messages.unclear()]
    assert found == [], "write: what must be X, got Y; do Z"
    assert len(list(messages.messages())) > 400  # else the walk finds no messages any more


@pytest.mark.parametrize(
    ("written", "requirement", "finding"),
    [
        ('f"runs must be at least 1, got {runs!r}: give more"', True, True),
        ('"the model must be open, and is not: open it again"', True, True),
        ('f"nothing waits under {name!r} in this folder"', False, True),
        ('"examples must be written as a list of tables"', True, False),
        ('"two examples of this rule have the same name"', False, False),
    ],
)
def test_a_message_is_judged_by_its_words(written, requirement, finding):
    (node,) = ast.parse(written).body
    assert isinstance(node, ast.Expr)
    message = Message("", 0, messages.words(node.value))
    assert (message.says_what_must_be, message.says_what_was_found) == (requirement, finding)
