"""Values are compared with their annotations, and errors say what must be there instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from interwhen._types.errors import UsageError
from interwhen._types.vetting import Positive, Share, Texts, describe, is_of, vet, vetted
from interwhen.models import Model
from interwhen.testing import ScriptedModel
from msgspec import Meta


@dataclass(frozen=True)
class Plan:
    steps: Positive | None = 1
    share: Share = 0.5
    words: Texts = ()
    mode: Literal["fast", "slow"] = "fast"
    call: Callable[[], object] | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    model: Model | None = None
    plans: tuple["Plan", ...] = ()

    def __post_init__(self):
        vet(self)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("steps", 0, "a whole number of at least 1 or None"),
        ("steps", True, "a whole number of at least 1 or None"),
        ("steps", "2", "a whole number of at least 1 or None"),
        ("share", 1.5, "a number from 0 to 1"),
        ("share", float("nan"), "a number from 0 to 1"),
        ("words", "one", "a tuple, each item a text that is not empty"),
        ("words", [""], "a tuple, each item a text that is not empty"),
        ("mode", "late", "one of fast, slow"),
        ("call", 3, "a function or None"),
        ("extra", [], "a mapping"),
        ("model", 3, "a Model or None"),
        ("plans", [3], "a tuple, each item Plan(...)"),
    ],
)
def test_an_error_names_the_field_and_its_value(name, value, said):
    with pytest.raises(UsageError) as caught:
        Plan(**{name: value})
    assert str(caught.value) == f"Plan: {name} must be {said}, got {value!r}: correct it"


def test_what_the_annotations_allow_is_kept():
    model = ScriptedModel(["x"])
    plan = Plan(None, 1, ["a"], "slow", len, {"a": object()}, model, (Plan(),))
    assert (plan.share, plan.model) == (1, model)


def test_a_subclass_of_float_is_a_number():
    class Measured(float):
        pass

    assert is_of(Measured(0.5), Share)
    assert not is_of(Measured(1.5), Share)


def test_a_description_replaces_the_derived_words():
    assert describe(Annotated[int, Meta(ge=0, lt=9, description="a digit")]) == "a digit"
    assert describe(Annotated[int, Meta(gt=0, lt=9)] | None) == "a whole number above 0 and below 9 or None"


@vetted("--")
def command(name, *, pieces: Positive | None = None, dry_run: bool = False, mode: Literal["fast", "slow"] = "fast"):
    return name, pieces, dry_run, mode


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pieces": 0}, "--pieces must be a whole number of at least 1 or None, got 0"),
        ({"mode": "late"}, "--mode must be one of fast, slow, got 'late'"),
    ],
)
def test_arguments_are_compared_with_their_annotations(given, said):
    with pytest.raises(UsageError, match=said):
        command("a", **given)


def test_arguments_within_their_limits_are_passed_on():
    assert command("a", pieces=2, dry_run=3) == ("a", 2, 3, "fast")  # a plain type is no limit
