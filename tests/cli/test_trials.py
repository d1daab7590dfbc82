"""``interwhen verifiers try``: what is printed, what fails, what is refused."""

import json
import textwrap

import pytest
from interwhen import Span
from interwhen.cli import _main as cli
from interwhen.testing import LabelledTrace, Mistake, Turn, write_traces


def trace(name, text, label, mistake=None):
    return LabelledTrace(name=name, turns=(Turn(prompt="Add.", text=text),), label=label, mistake=mistake)


TRACES = [
    trace("good", "2 + 2 = 4\n", "right"),
    trace("slip", "So:\n2 + 2 = 5\nDone.", "wrong", Mistake(turn=0, span=Span(4, 13))),
    trace("silent", "It is five.", "wrong"),
    trace("mislabelled", "3 + 3 = 7\n\x1b[31mred", "right"),
]


@pytest.fixture
def traces(tmp_path):
    write_traces(tmp_path / "t.jsonl.gz", TRACES)
    return str(tmp_path / "t.jsonl.gz")


@pytest.fixture
def cli_run(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(["verifiers", "try", *arguments])
        told = capsys.readouterr()
        return ended.value.code, told.out, told.err

    return run


def test_output_shows_rates_and_cases(cli_run, traces):
    code, out, err = cli_run("arithmetic", traces)
    assert (code, err) == (0, "")
    assert "50.00% (1 of 2;" in out
    assert "false alarms: right, and flagged (1 of 1)\nmislabelled" in out
    assert "3 + 3 is not 7 (3 + 3 is 6, not 7)" in out
    assert "misses: wrong, and not flagged (1 of 1)\nsilent" in out
    assert "\x1b" not in out


def test_json_is_one_object_with_every_case(cli_run, traces):
    code, out, _err = cli_run("arithmetic:rounding=exact", traces, "--json")
    printed = json.loads(out)
    assert code == 0
    assert (printed["score"]["recall"]["hits"], printed["score"]["recall"]["of"]) == (1, 2)
    assert [case["trace"]["name"] for case in printed["cases"]["false_alarms"]] == ["mislabelled"]
    assert out.count("\n") == 1
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("bars", "code", "why"),
    [
        (("--fail-above-false", "0.5", "--fail-below-recall", "0.5", "--fail-below-precision", "0.5"), 0, ""),
        (("--fail-above-false", "0.01"), 1, "false interrupts: 50.00% is above the bar of 1.00%"),
        (("--fail-below-recall", "0.9"), 1, "recall: 50.00% is below the bar of 90.00%"),
        (("--fail-below-precision", "0.9"), 1, "precision: 50.00% is below the bar of 90.00%"),
        (("--limit", "1", "--fail-below-recall", "0.1"), 1, "recall must be measured on at least one such trace"),
    ],
)
def test_bars_decide_the_exit_code(cli_run, traces, bars, code, why):
    exit_code, _out, err = cli_run("arithmetic", traces, *bars)
    assert exit_code == code
    assert why in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("no_such", "{traces}"), "'no_such': not installed"),
        (("arithmetic:rounding=up", "{traces}"), "rounding"),
        (("arithmetic", "absent.jsonl"), "does not exist"),
        (("arithmetic", "{traces}", "--format", "nonsense"), "'nonsense': not installed"),
        (("arithmetic", "{traces}", "--limit", "0"), "--limit must be a whole number of at least 1 or None, got 0"),
        (("arithmetic", "{traces}", "--show", "-1"), "--show must be a whole number of at least 0, got -1"),
        (("arithmetic", "{traces}", "--fail-below-recall", "nan"), "--fail-below-recall must be a number from 0 to 1"),
        (("arithmetic", "{traces}", "--fail-above-false", "5"), "--fail-above-false must be a number from 0 to 1"),
        (("arithmetic", "{traces}", "--fail-below-precision=-1"), "--fail-below-precision must be a number from 0 to"),
        (("arithmetic", "{traces}", "--model", "local"), "which asks none"),
        (("absent_module:make", "{traces}"), "the module absent_module must load, and raised ModuleNotFoundError"),
        (("json:absent", "{traces}"), "json.absent must be a factory, got None"),
    ],
)
def test_invalid_options_are_refused(cli_run, traces, arguments, why):
    code, out, err = cli_run(*(argument.format(traces=traces) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert why in err


def test_file_without_traces_is_refused(cli_run, tmp_path):
    (tmp_path / "t.jsonl").write_text("\n")
    assert cli_run("arithmetic", str(tmp_path / "t.jsonl"))[0] == 2


@pytest.fixture
def beside(tmp_path, monkeypatch):
    (tmp_path / "checks_beside.py").write_text(
        textwrap.dedent(
            """
            import interwhen

            @interwhen.verifier(name="crash", worker="inline")
            def check(claim):
                raise RuntimeError("no table")

            def crash(*, word: str = "2"):
                def extract(segment):
                    if word in segment.text:
                        yield interwhen.Claim(key=word, span=segment.span)
                return interwhen.Monitor(name="crash", verifier=check, extractor=extract)
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    yield "checks_beside:crash"
    __import__("sys").modules.pop("checks_beside", None)


def test_factory_loads_from_working_directory(cli_run, traces, beside):
    code, out, _err = cli_run(beside, traces)
    assert code == 0
    assert "checks that failed (2 of 2)" in out
    assert "RuntimeError: no table" in out
    assert "failed (1 of 1)\nsilent" in cli_run(f"{beside}:word=five", traces)[1]


def test_failing_verifier_meets_no_bar(cli_run, traces, beside):
    code, _out, err = cli_run(beside, traces, "--fail-above-false", "0.5")
    assert code == 1
    assert "all checks must end with a verdict to meet a bar, and 2 failed" in err


def test_formats_are_listed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["verifiers", "formats"])
    assert "gsm8k" in capsys.readouterr().out
