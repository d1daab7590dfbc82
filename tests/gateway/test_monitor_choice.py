"""Which monitors run: by all, by the model, by the request; and what a locked gateway allows."""

from dataclasses import fields

import msgspec
import pytest
from interwhen import UsageError
from interwhen.clients._calls import Settings
from interwhen.gateway import Config
from interwhen.gateway._http_errors import HttpError
from interwhen.gateway._monitor_choice import MonitorChooser

USUAL = "arithmetic"
OTHER = "arithmetic:label=careful,delivery=gate"


def chooser(**config):
    config = {"monitors": (USUAL,), "offers": (OTHER,), **config}
    return MonitorChooser(msgspec.convert(config, Config))


def choose(who, model="m", said=None, **headers):
    fields = {"model": model} if said is None else {"model": model, "interwhen": said}
    return who.choose(fields, {f"x-interwhen-{name}": value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, "arithmetic"),
        ({"said": {"monitors": ["careful"]}}, "careful"),
        ({"said": {"monitors": "careful, arithmetic"}}, "arithmetic, careful"),
        ({"said": {"monitors": []}}, "none"),
        ({"said": False}, "none"),
        ({"said": True}, "arithmetic"),
        ({"said": {}}, "arithmetic"),
        ({"monitors": "careful"}, "careful"),
        ({"monitors": "none"}, "none"),
        ({"monitors": ""}, "none"),
        ({"model": "m#careful"}, "careful"),
        ({"model": "m#careful,arithmetic"}, "arithmetic, careful"),
        ({"model": "m#"}, "none"),
        ({"model": "m#careful", "monitors": "arithmetic"}, "arithmetic"),
        ({"monitors": "careful", "said": {"monitors": ["arithmetic"]}}, "arithmetic"),
        ({"monitors": "careful", "said": {"reading": "gate"}}, "careful"),
    ],
)
def test_request_selects_the_monitors(asked, names):
    assert choose(chooser(), **asked).names == names


def test_gateway_options_are_not_forwarded():
    choice = choose(chooser(), "org/m-7#careful", {"detail": "full"})
    assert (choice.body, choice.model, choice.changed, choice.detail) == ({"model": "org/m-7"}, "org/m-7", True, "full")
    assert not choose(chooser()).changed


def test_request_overrides_model_rule_which_overrides_default():
    rules = (
        {"match": "qwen-*", "monitors": ["careful"], "reading": "final", "detail": "off", "starts_in": "reasoning"},
        {"match": "*-base", "monitors": []},
    )
    who = chooser(models=rules)
    choice = choose(who, "qwen-9")
    assert (choice.names, choice.settings.reading, choice.detail) == ("careful", "final", "off")
    assert choice.settings.starts_in == "reasoning"
    assert choose(who, "x-base").names == "none"
    assert choose(who, "other").names == "arithmetic"
    assert choose(who, "qwen-9#arithmetic").names == "arithmetic"
    assert choose(who, "qwen-9", reading="gate").settings.reading == "gate"


@pytest.mark.parametrize("asked", [{"said": {"monitors": []}}, {"said": False}, {"model": "m#"}, {"monitors": "none"}])
def test_locked_gateway_keeps_its_monitors(asked):
    assert choose(chooser(locked=True), **asked).names == "arithmetic"


def test_locked_gateway_allows_only_added_monitors():
    who = chooser(locked=True)
    assert choose(who, "m#careful").names == "arithmetic, careful"
    for asked in ({"reading": "live"}, {"said": {"detail": "full"}}):
        with pytest.raises(HttpError) as caught:
            choose(who, **asked)
        assert (caught.value.status, caught.value.code) == (403, "locked")


def test_options_of_monitors_are_the_operators():
    with pytest.raises(HttpError, match="a monitor must be one of this gateway"):
        choose(chooser(), said={"monitors": ["arithmetic:delivery=observe"]})


@pytest.mark.parametrize(
    "config",
    [
        {"offers": ("arithmetic",)},
        {"offers": ("none-such",)},
        {"models": ({"match": "*", "monitors": ["none-such"]},)},
    ],
)
def test_invalid_configuration_is_refused_at_start(config):
    with pytest.raises(UsageError):
        chooser(**config)


def test_monitors_are_loaded_once_and_settings_kept():
    who = chooser()
    assert choose(who).settings is choose(who).settings


CARRIED = {
    # A setting that the gateway and `wrap` share: a value that is not the default.
    "abstention": "No answer.",
    "budgets": {"remedies": 1},
    "min_coverage": 0.5,
    "probe": "never",
    "reading": "final",
    "resume": "turn",
    "starts_in": "reasoning",
    "strategy_samples": 3,
    "strategy_tokens": 77,
    "tools": False,
}
MADE_OF_THEM = {
    "audit",
    "demotion",
    "journal",
    "monitors",
    "processes",
    "prompt_monitors",
    "strategy",
    "threads",
    "workers",
}


@pytest.mark.parametrize("name", sorted({each.name for each in fields(Settings)} & {*Config.__struct_fields__}))
def test_each_shared_setting_reaches_the_call(name):
    if name in MADE_OF_THEM:  # objects, which other tests look at
        return
    usual, changed = (choose(chooser(**options)).settings for options in ({}, {name: CARRIED[name]}))
    assert getattr(changed, name) != getattr(usual, name)
