"""The registry: what is installed, loading by name with options, and every way that it can go wrong."""

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from interwhen import (
    Auto,
    Claim,
    Feedback,
    InterwhenError,
    Monitor,
    Pass,
    Repair,
    Resample,
    UsageError,
    verifier,
)
from interwhen import registry as r
from interwhen.registry import PluginError
from interwhen.remedies import Retry


@verifier(name="yes", version="3", deadline=4.0)
def yes(claim: Claim) -> Pass:
    return Pass()


def plain(*, words: tuple[str, ...] = (), limit: float | None = None, level: str = "mine") -> Monitor:
    plain.seen = (words, limit, level)
    return Monitor(name="plain", verifier=yes, extractor=lambda segment: ())


class Opaque:
    """A verifier that is no dataclass."""

    name, version, deadline, worker = "opaque", "1", 1.0, "inline"

    def check(self, claim: Claim) -> Pass:
        return Pass()


GOOD = """
    from __future__ import annotations
    from interwhen import Claim, Monitor, Pass, Repair, verifier

    @verifier(name="yes")
    def yes(claim: Claim) -> Pass:
        return Pass()

    SEEN = []

    def dates(*, calendar: str = "julian", tolerance: float = 0.5, words: tuple[str, ...] = ()) -> Monitor:
        '''Checks dates.'''
        SEEN.append((calendar, tolerance, words))
        return Monitor(name="dates", verifier=yes, extractor=lambda segment: ())

    def needs(*, path: str) -> Monitor:
        '''Needs an option.'''
        return Monitor(name="needs", verifier=yes, extractor=lambda segment: ())

    def open_rest(**kwargs: object) -> Monitor:
        SEEN.append(kwargs)
        return Monitor(name="open_rest", verifier=yes, extractor=lambda segment: ())

    def hidden(*, when: datetime = None) -> Monitor:
        raise AssertionError

    def unclosed(*, when: "list[" = None) -> Monitor:
        raise AssertionError

    def leaves() -> Monitor:
        raise SystemExit("no licence")

    def raises() -> Monitor:
        raise RuntimeError("no table")

    def nothing() -> None:
        return None

    def pair(*, calendar: str = "julian") -> list[Monitor]:
        return [Monitor(name=f"{calendar}-{each}", verifier=yes, extractor=lambda segment: ()) for each in "ab"]

    def twins() -> list[Monitor]:
        return [Monitor(name="same", verifier=yes, extractor=lambda segment: ()) for _ in range(2)]

    def mixed() -> tuple[object, ...]:
        return (Monitor(name="one", verifier=yes, extractor=lambda segment: ()), "two")

    def opened(text):
        return text

    CONSTANT = 3
"""
POINTS = """
    [interwhen.verifiers]
    dates = acme_dates:dates
    needs = acme_dates:needs
    open_rest = acme_dates:open_rest
    hidden = acme_dates:hidden
    unclosed = acme_dates:unclosed
    leaves = acme_dates:leaves
    raises = acme_dates:raises
    nothing = acme_dates:nothing
    pair = acme_dates:pair
    twins = acme_dates:twins
    mixed = acme_dates:mixed
    constant = acme_dates:CONSTANT
    absent = acme_dates:no_such_name
    broken = acme_broken:make
    exits = acme_exits:make

    [interwhen.models]
    opened = acme_dates:opened
    failing = acme_dates:raises
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    modules: set[str] = set()

    def installed(name: str, version: str, points: str, **sources: str) -> Path:
        root = tmp_path / name
        info = root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(points))
        for module, source in sources.items():
            (root / f"{module}.py").write_text(textwrap.dedent(source))
        modules.update(sources)
        monkeypatch.syspath_prepend(str(root))
        importlib.invalidate_caches()
        return root

    yield installed
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def acme(install: Install) -> Path:
    return install(
        "acme-dates",
        "2.1",
        POINTS,
        acme_dates=GOOD,
        acme_broken="import a_module_that_is_not_there",
        acme_exits="raise SystemExit('no licence')",
    )


class TestListing:
    def test_third_party_verifier_is_listed_with_its_origin(self, acme: Path) -> None:
        [dates] = [p for p in r.verifiers() if p.name == "dates"]
        assert dates == r.Plugin("dates", "acme-dates", "2.1", "acme_dates:dates")

    def test_listing_imports_no_plugin(self, acme: Path) -> None:
        r.verifiers()
        r.models()
        assert not {"acme_dates", "acme_broken", "acme_exits"} & set(sys.modules)

    def test_listing_reports_load_errors_on_request(self, acme: Path) -> None:
        by_name = {p.name: p for p in r.verifiers(load=True) if p.distribution == "acme-dates"}
        assert (by_name["dates"].loaded, by_name["dates"].error) == (True, "")
        assert by_name["broken"].loaded is False
        assert "a_module_that_is_not_there" in by_name["broken"].error

    def test_models_are_listed_too(self, acme: Path) -> None:
        assert {"opened", "local"} <= {p.name for p in r.models()}


class TestSpecs:
    def test_monitor_loads_by_name(self, acme: Path) -> None:
        assert r.load_monitor("dates").name == "dates"

    def test_monitor_loads_by_distribution_and_name(self, acme: Path) -> None:
        assert r.load_monitor("acme-dates/dates").name == "dates"

    def test_monitor_loads_from_mapping(self, acme: Path) -> None:
        monitor = r.load_monitor({"name": "dates", "level": "flag", "required": False, "remedy": Resample()})
        assert (monitor.level, monitor.required, monitor.remedy) == ("flag", False, Resample())

    def test_monitor_loads_from_factory(self) -> None:
        assert r.load_monitor(plain).name == "plain"

    def test_a_monitor_is_returned_as_it_is(self) -> None:
        monitor = plain()
        assert r.load_monitor(monitor) is monitor

    def test_own_options_are_converted_by_their_annotations(self, acme: Path) -> None:
        r.load_monitor('dates:calendar=gregorian, tolerance=2 ,words=["a","b"]')
        assert sys.modules["acme_dates"].SEEN == [("gregorian", 2.0, ("a", "b"))]

    def test_single_value_becomes_one_element_list(self, acme: Path) -> None:
        r.load_monitor("dates:calendar=gregorian,words=easter")
        assert sys.modules["acme_dates"].SEEN[-1] == ("gregorian", 0.5, ("easter",))

    def test_invalid_list_option_explains_the_syntax(self) -> None:
        from interwhen.registry import converted

        assert converted("x", "skip", "a", list[str]) == ["a"]
        assert converted("x", "skip", "a", tuple[str, ...] | None) == ("a",)
        assert converted("x", "skip", "3", frozenset[int]) == frozenset((3,))
        for text, annotation in (("[a", list[str]), ("a", list[int])):
            with pytest.raises(PluginError, match=r'write a list as JSON, skip=\["a","b"\]; a single value may stand'):
                converted("x", "skip", text, annotation)
        with pytest.raises(PluginError):
            converted("x", "rules", "a", dict[str, str])

    def test_class_constructor_options_are_converted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from interwhen.registry import split_options

        class Factory:
            def __init__(self, *, limit: float) -> None: ...

        assert split_options("x", Factory, {"limit": "2"}) == ({"limit": 2.0}, {})

    def test_factory_option_takes_precedence_over_generic_one(self, install: Install) -> None:
        from interwhen.registry import split_options

        own, generic = split_options("plain", plain, {"level": "anything", "phase": "answer"})
        assert (own, generic) == ({"level": "anything"}, {"phase": "answer"})

    def test_factory_with_var_keywords_gets_unknown_options(self, acme: Path) -> None:
        assert r.load_monitor("open_rest:colour=red,level=flag").level == "flag"
        assert sys.modules["acme_dates"].SEEN == [{"colour": "red"}]

    @pytest.mark.parametrize(
        ("options", "field", "value"),
        [
            ("level=explain", "level", "explain"),
            ("delivery=gate", "delivery", "gate"),
            ("phase=reasoning", "phase", "reasoning"),
            ("unproven=closed", "unproven", "closed"),
            ("on_error=closed", "on_error", "closed"),
            ("on_error=retry:3:closed,level=flag", "on_error", Retry(3, "closed")),
            ("required=false", "required", False),
            ("label=calendar", "name", "calendar"),
            ("remedy=resample", "remedy", Resample()),
            ("remedy=feedback", "remedy", Feedback()),
            ("remedy=feedback,place=rewind", "remedy", Feedback("rewind")),
            ("remedy=repair,place=rewind", "remedy", Repair(Feedback("rewind"))),
            ("place=rewind", "remedy", Auto(place="rewind")),
            ("end=unverified", "remedy", Auto(end="unverified")),
            ("remedy=auto,end=unverified,place=append", "remedy", Auto(place="append", end="unverified")),
        ],
    )
    def test_generic_options_set_monitor_fields(self, acme: Path, options: str, field: str, value: object) -> None:
        assert getattr(r.load_monitor(f"dates:{options}"), field) == value

    def test_on_error_accepts_a_record(self, acme: Path) -> None:
        for value in (Retry(4), {"times": 4}):
            assert r.load_monitor({"name": "dates", "on_error": value}).on_error == Retry(4)
        for value in ("ajar", "retry:x", 3, {"times": -1}, {"times": "x"}, {"attempts": 3}):
            with pytest.raises(PluginError, match=r"'dates'.*(on_error|times)"):
                r.load_monitor({"name": "dates", "on_error": value})

    def test_remedy_accepts_a_record(self, acme: Path) -> None:
        assert r.load_monitor({"name": "dates", "remedy": Auto(samples=3)}).remedy == Auto(samples=3)

    def test_deadline_option_sets_the_verifier_deadline(self, acme: Path) -> None:
        assert r.load_monitor("dates:deadline=0.25").verifier.deadline == 0.25

    def test_several_specs_load_together(self, acme: Path) -> None:
        one, two = r.load_monitors(["dates", plain()])
        assert (one.name, two.name) == ("dates", "plain")
        assert [m.name for m in r.load_monitors("dates")] == ["dates"]
        assert [m.name for m in r.load_monitors({"name": "dates"})] == ["dates"]
        assert r.load_monitors(()) == ()

    def test_factory_may_return_several_monitors(self, acme: Path) -> None:
        made = r.load_monitors(["pair:calendar=mayan,delivery=observe", "dates"])
        assert [(monitor.name, monitor.delivery) for monitor in made[:2]] == [
            ("mayan-a", "observe"),
            ("mayan-b", "observe"),
        ]
        assert made[2].name == "dates"
        with pytest.raises(PluginError, match=r"'pair'.*must make one monitor here, got 2 \(julian-a, julian-b\)"):
            r.load_monitor("pair")
        with pytest.raises(UsageError, match="must differ, got 'julian-a' twice"):
            r.load_monitors(["pair", "pair"])
        assert [monitor.name for monitor in r.describe("pair").monitors] == ["julian-a", "julian-b"]
        assert r.why_failed(" pair:calendar=mayan").endswith("makes the monitors 'mayan-a', 'mayan-b'")
        assert r.why_failed("pair").endswith("makes the monitors 'julian-a', 'julian-b'")
        assert "must differ, got 'same' twice" in r.why_failed("twins")

    def test_duplicate_monitor_names_are_refused(self, acme: Path) -> None:
        with pytest.raises(UsageError, match=r"must differ, got 'dates' twice.*label="):
            r.load_monitors(["dates", "dates"])
        assert len(r.load_monitors(["dates", "dates:label=others"])) == 2


class TestFaults:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("datse", r"'datse': not installed \(did you mean 'dates'\? install its package, or use one of: .*dates"),
            ("zzz", r"'zzz': not installed \(install its package, or use one of: "),
            ("dates:tolerence=1", r"must be among calendar, .*level.*, got 'tolerence' \(did you mean 'tolerance'\?\)"),
            ("dates:tolerance=wide", r"option tolerance must have a value that fits, got 'wide'"),
            ("dates:level=loud", r"option level must .*, got 'loud'.*choose one of flag, locate, explain, witness"),
            ("dates:remedy=hope", r"choose one of auto, repair, feedback, resample, conclude, stop, abstain"),
            ("dates:remedy=stop,end=unverified", r"got end='unverified' with Stop"),
            ("dates:remedy=stop,place=rewind", r"got place='rewind' with Stop"),
            ("dates:deadline=-1", r"its option deadline must have a value that fits"),
            ("dates:level", r"must have a name and a value, got 'level'"),
            ("dates:level=flag,level=flag", r"must be given once, got 'level' twice"),
            ("broken", r"acme_broken:make of acme-dates 2.1 does not load: ModuleNotFoundError.*why-failed broken"),
            ("exits", r"acme-dates 2.1 does not load: SystemExit: no licence"),
            ("absent", r"does not load: AttributeError"),
            ("constant", r"got acme_dates:CONSTANT of acme-dates 2.1, which is 3 and cannot be called"),
            ("raises", r"and raised RuntimeError: no table"),
            ("needs", r"and raised TypeError.*'path'.*with no options"),
            ("pair:label=both", r"label must .* one monitor, got 'both' for 2 monitors"),
            ("mixed", r"its factory must return a Monitor, got 'two'"),
            ("nothing", r"its factory must return a Monitor, got None"),
            ("hidden:when=today", r"the annotation of its option 'when' must be resolvable, got 'datetime'"),
            ("unclosed:when=today", r"the annotation of its option 'when' must be resolvable, got .*list\["),
            ("leaves", r"and raised SystemExit: no licence"),
            ("dates:label=", r"its option label must have a value that fits, got ''"),
            ("dates:tolerance=\ud800", r"option tolerance must have a value that fits"),
        ],
    )
    def test_plugin_error_says_what_and_what_to_do(self, acme: Path, spec: str, message: str) -> None:
        with pytest.raises(PluginError, match=message) as caught:
            r.load_monitor(spec)
        assert caught.value.name == spec.partition(":")[0]

    def test_unresolvable_factory_annotation_is_an_error(self, acme: Path) -> None:
        with pytest.raises(
            PluginError, match=r"the annotation of its option 'when' must be resolvable, got 'datetime'"
        ):
            r.make("interwhen.verifiers", "hidden:when=today", {})

    def test_non_text_option_key_is_refused(self, acme: Path) -> None:
        with pytest.raises(PluginError, match=r"must be among .*, got 5"):
            r.load_monitor({"name": "dates", 5: "x"})  # type: ignore[dict-item]

    def test_the_original_error_is_chained(self, acme: Path) -> None:
        with pytest.raises(PluginError) as caught:
            r.load_monitor("broken")
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)

    def test_name_in_two_distributions_needs_qualification(self, acme: Path, install: Install) -> None:
        install("beta", "1", "[interwhen.verifiers]\ndates = acme_dates:dates\n")
        with pytest.raises(PluginError, match=r"got 2 that offer it.*write one of: acme-dates/dates, beta/dates"):
            r.load_monitor("dates")
        assert r.load_monitor("beta/dates").name == "dates"
        assert {p.loaded for p in r.verifiers(load=True) if p.name == "dates"} == {True}

    @pytest.mark.parametrize("spec", [{"level": "flag"}, {"name": 3}, 7, yes])
    def test_invalid_monitor_spec_is_refused(self, spec: object) -> None:
        with pytest.raises(UsageError) as caught:
            r.load_monitor(spec)
        assert not isinstance(caught.value, PluginError)

    def test_fixed_deadline_option_is_refused(self) -> None:
        from interwhen.registry import apply_generic

        monitor = Monitor(name="m", verifier=Opaque(), extractor=lambda segment: ())
        with pytest.raises(PluginError, match="deadline must be used with a verifier that has a deadline"):
            apply_generic("m", monitor, {"deadline": 1.0})


class TestReports:
    def test_describe_lists_options_and_monitors(self, acme: Path) -> None:
        report = r.describe("dates")
        assert report.summary == "Checks dates."
        assert any(option.startswith("tolerance: ") and "0.5" in option for option in report.options)
        assert "level" in report.generic
        assert [monitor.name for monitor in report.monitors] == ["dates"]

    def test_a_summary_is_plain_text(self) -> None:
        from interwhen.registry import _plain

        text = "A :class:`~a.b.Task` of :mod:`a.b` and :py:func:`~a.run`, with ``x=1`` and :class:`Plain`."
        assert _plain(text) == "A Task of a.b and run, with `x=1` and Plain."
        for plugin in r.verifiers():
            if plugin.distribution.startswith("interwhen"):
                assert ":`" not in r.describe(plugin.name).summary

    def test_describe_without_required_options_lists_no_monitors(self, acme: Path) -> None:
        assert r.describe("needs").monitors == ()

    def test_why_failed_shows_where(self, acme: Path) -> None:
        text = r.why_failed("broken")
        assert "No module named 'a_module_that_is_not_there'" in text
        assert "acme_broken.py:1 in <module>: import a_module_that_is_not_there" in text
        assert "importlib" not in text
        assert "no table" in r.why_failed("raises")

    def test_why_failed_reports_working_plugin(self, acme: Path) -> None:
        assert (
            r.why_failed("dates")
            == "plug-in 'dates' works: acme_dates:dates of acme-dates 2.1 makes the monitor 'dates'"
        )

    def test_why_failed_reports_missing_plugin(self) -> None:
        assert "not installed" in r.why_failed("zzz")


class TestModels:
    def test_plugin_returning_no_model_is_an_error(self, acme: Path) -> None:
        with pytest.raises(PluginError, match="its factory must return a Model, got 'tiny'"):
            r.load_model("opened:tiny")

    def test_raising_model_plugin_is_an_error(self, acme: Path) -> None:
        with pytest.raises(PluginError, match="its factory must accept its options, and raised"):
            r.load_model("failing")

    def test_unknown_model_suggests_a_name(self) -> None:
        with pytest.raises(PluginError, match=r"did you mean 'local'"):
            r.load_model("locla")

    def test_unknown_api_is_refused(self) -> None:
        with pytest.raises(UsageError, match="api must be one of completions, chat, got 'chats'"):
            r.load_model("http://localhost:1/v1", name="m", api="chats")  # type: ignore[arg-type]

    def test_spaces_around_address_are_ignored(self) -> None:
        assert r.load_model(" http://localhost:1/v1\n", name="m").name == "m@localhost:1"

    def test_a_server_needs_a_name(self) -> None:
        with pytest.raises(InterwhenError, match="may serve several, got none: name one of them"):
            r.load_model("http://localhost:1/v1")

    @pytest.mark.parametrize(("api", "kind"), [("completions", "CompletionsModel"), ("chat", "ChatModel")])
    def test_model_loads_from_server_address(self, api: r.Api, kind: str) -> None:
        model = r.load_model("http://localhost:1/v1", name="tiny", api=api)
        assert type(model).__name__ == kind
        assert r.load_model(model) is model


def test_the_registry_imports_no_plug_in() -> None:
    code = "import sys, interwhen.registry as r; r.verifiers(); print('interwhen_verifiers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_registry_all_names_exist() -> None:
    assert all(hasattr(r, name) for name in r.__all__)
