"""Strategies by name, with options, and what is said where that cannot be."""

import interwhen.strategies
import pytest
from interwhen import UsageError
from interwhen.registry import PluginError
from interwhen.strategies import Strategy, load_strategy
from interwhen.strategies._baselines import BestOf, Vote
from interwhen.strategies._catalog import SHIPPED, load_strategies


def test_every_shipped_strategy_loads_under_its_name():
    for name in SHIPPED:
        strategy = load_strategy(name)
        assert isinstance(strategy, Strategy)
        assert strategy.name == name
    assert [one.name for one in load_strategies()] == list(SHIPPED)


def test_options_are_converted_and_show_in_the_name():
    assert load_strategy("weighted-vote:n=3") == Vote("weighted-vote:n=3", 3, "by verifiers")
    assert load_strategies("best-of-n:n=2") == (BestOf("best-of-n:n=2", 2),)


def test_comma_separated_strategies_keep_their_options():
    names = [
        one.name for one in load_strategies(("greedy, interrupt-auto:samples=4,restarts=3,interrupt", "weighted-vote"))
    ]
    assert names == ["greedy", "interrupt-auto:samples=4,restarts=3", "interrupt", "weighted-vote"]


def test_strategy_in_working_directory_loads_by_path(tmp_path, monkeypatch):
    (tmp_path / "mine_strategy.py").write_text(
        "from interwhen.strategies._baselines import Greedy\ndef make(*, name: str = 'mine'):\n    return Greedy(name)\n"
        "def bad():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_strategy("mine_strategy:make:name=x").name == "x"
    with pytest.raises(PluginError, match="must return a Strategy, got 3"):
        load_strategy("mine_strategy:bad")


def test_plugin_name_shows_options_unless_factory_names_it(tmp_path, monkeypatch):
    (tmp_path / "sized_strategy.py").write_text(
        "from dataclasses import dataclass\nfrom interwhen.strategies._baselines import Greedy\n"
        "@dataclass(frozen=True)\nclass Sized(Greedy):\n    name: str = 'sized'\n    size: int = 1\n"
        "def make(*, size: int = 1):\n    return Sized(size=size)\n"
        "def named(*, size: int = 1):\n    return Sized(f'sized-{size}', size)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    both = load_strategies(["sized_strategy:make:size=1", "sized_strategy:make:size=2"])
    assert [one.name for one in both] == ["sized_strategy:make:size=1", "sized_strategy:make:size=2"]
    assert load_strategy("sized_strategy:make").name == "sized"
    assert load_strategy("sized_strategy:named:size=2").name == "sized-2"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("greedi", r"'greedi': not installed .*shipped: .*best-of-n"),
        ("best-of-n:m=4", r"must be among n, got 'm\'"),
        ("best-of-n:n=many", "its option n must have a value that fits, got 'many'"),
        ("best-of-n:n=0", "its option n must have a value that fits, got '0'"),
        ("interrupt:restarts=-3", "its option restarts must have a value that fits, got '-3'"),
        ("interrupt:restarts", "must have a name and a value"),
        ("no.such:thing", r"the module no.such must load"),
    ],
)
def test_invalid_strategy_spec_is_refused(spec, message):
    with pytest.raises(PluginError, match=message):
        load_strategy(spec)


def test_duplicate_strategy_names_are_refused():
    with pytest.raises(UsageError, match="the names of strategies must differ, got 'greedy' twice"):
        load_strategies("greedy,greedy")


def test_blanks_around_a_strategy_change_nothing():
    assert load_strategy(" best-of-n:n=3 ") == load_strategy("best-of-n:n=3")


def test_a_removed_strategy_names_its_replacement():
    with pytest.raises(PluginError, match=r"'adaptive': .*was removed.*use until-verified"):
        load_strategy("adaptive:share=0.5")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("AdaptiveAllocator", "use until-verified"),
        ("ForkPlanner", "measure_prefix_rates"),
        ("StepSearch", "step_beam.py"),
    ],
)
def test_a_removed_name_names_its_replacement(name, instead):
    with pytest.raises(ImportError, match=f"interwhen.strategies.{name} was removed: .*{instead}"):
        exec(f"from interwhen.strategies import {name}")


def test_a_name_that_never_existed_is_no_attribute():
    assert not hasattr(interwhen.strategies, "Unheard")
