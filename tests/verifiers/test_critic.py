"""``critic``: an opinion is marked as one, never passes anything, and cannot be talked into anything by the text."""

import json

import interwhen
import pytest
from interwhen import Segment, Span, Unknown, Violation, load_monitor
from interwhen.models import ModelError
from interwhen.registry import PluginError
from interwhen.testing import LabelledTrace, ScriptedModel, Turn, try_monitor_sync
from interwhen.testing.complexity import assert_linear, assert_quick

from interwhen_verifiers import critic as module
from interwhen_verifiers.critic import OPINION, critic, parse, weigh

TRACE = LabelledTrace(name="t", turns=(Turn(prompt="Who?", text="It was Ann.\n\nAnn is tall."),), label="unclear")


def reply(**fields):
    return json.dumps(fields)


WRONG = reply(verdict="wrong", quote="Ann is", why="She is not.")


def tried(answer, monitor=None):
    [one] = try_monitor_sync(monitor or critic(), [TRACE], model=ScriptedModel([""], forks=lambda _: answer))
    return one


def test_objection_is_violation_marked_as_opinion():
    one = tried(WRONG)
    assert [(violation.quote, violation.why) for violation in one.violations] == [
        ("Ann is", f"She is not. ({OPINION})")
    ]


@pytest.mark.parametrize(
    "answer",
    [
        reply(verdict="ok"),
        reply(verdict="unsure"),
        "Fine!",
        "",
        "{",
        reply(verdict="great"),
        '{"verdict": "ok", "why": 3}',
    ],
)
def test_critic_never_passes_a_claim(answer):
    one = tried(answer)
    assert (one.passed, one.violated, one.unknown) == (0, 0, 2)
    assert all(why.startswith(OPINION) for why in one.reasons)


@pytest.mark.parametrize("quote", ["", "n", "Bob"])
def test_objection_without_quotation_flags_no_text(quote):
    one = tried(reply(verdict="wrong", quote=quote, why="No."))
    assert (one.violations, one.violated) == ((), 2)


def test_critic_observes_and_is_optional():
    monitor = critic()
    assert (monitor.delivery, monitor.required, monitor.verifier.version) == ("observe", False, "1-unsound")
    model = ScriptedModel(["It was Ann.\n\n2 + 2 = 4\n"], forks=lambda _: WRONG)
    with interwhen.run_sync(model, "", monitors=["critic", "arithmetic"]) as run:
        result = run.drain()
    assert result.text == "It was Ann.\n\n2 + 2 = 4\n"
    assert result.ledger.remedies == 0
    assert {check.monitor for check in result.certificate.checks} == {"arithmetic"}


def test_interrupt_delivery_interrupts_the_run():
    answers = iter([WRONG, reply(verdict="ok"), reply(verdict="ok"), reply(verdict="ok")])
    model = ScriptedModel(["Ann is tall.\n\n", "Ann was tall.\n"], forks=lambda _: next(answers))
    monitor = load_monitor("critic:delivery=interrupt,remedy=resample")
    with interwhen.run_sync(model, "", monitors=[monitor]) as run:
        result = run.drain()
    assert (result.text, result.ledger.remedies) == ("Ann was tall.\n", 1)


class TestAnotherModel:
    @pytest.fixture
    def judge(self, monkeypatch):
        made = []

        def give(answer):
            def opened(spec, **options):
                made.append(ScriptedModel([""], forks=answer if callable(answer) else lambda _: answer))
                return made[-1]

            monkeypatch.setattr(module, "load_model", opened)
            return made

        return give

    def test_critic_prompt_contains_task_and_earlier_text(self, judge):
        made = judge(WRONG)
        [one] = try_monitor_sync(critic(model="local", criterion="Is it Ann?"), [TRACE])
        assert [violation.quote for violation in one.violations] == ["Ann is"]
        asked = made[-1].fork_requests[0].prompt[1].content
        assert (
            asked.index("Who?") < asked.index("It was Ann.") < asked.index("Ann is tall.") < asked.index("Is it Ann?")
        )

    def test_random_marker_surrounds_judged_text(self, judge):
        made = judge(reply(verdict="ok"))
        try_monitor_sync(critic(model="local"), [TRACE])
        first, second = (model.fork_requests[0].prompt[1].content.split(">")[0] for model in made)
        assert first != second

    def test_quotation_missing_from_text_is_unknown(self, judge):
        judge(reply(verdict="wrong", quote="Bob", why="No."))
        [one] = try_monitor_sync(critic(model="local"), [TRACE])
        assert (one.violated, one.unknown) == (0, 2)

    def test_failing_model_gives_no_verdict(self, judge):
        def fail(_request):
            raise ModelError("gone")

        judge(fail)
        [one] = try_monitor_sync(critic(model="local"), [TRACE])
        assert [trouble.what for trouble in one.troubles] == ["ModelError: gone"] * 2


@pytest.mark.parametrize("options", ["every=word", "criterion= ,every=answer", "seconds=0", "served=m"])
def test_invalid_options_are_refused(options):
    with pytest.raises(PluginError):
        load_monitor(f"critic:{options}")


def test_invalid_place_in_reply_is_unknown():
    segment = Segment(text="Ann is tall.", span=Span(50, 62), phase="answer")
    [claim] = parse(WRONG, segment)
    assert weigh.check(claim) == Violation(why=f"She is not. ({OPINION})", where=Span(0, 6))
    [claim] = parse("x" * 100_000, segment)
    assert isinstance(weigh.check(claim), Unknown)
    assert len(claim.key) < 2000


def test_reply_parsing_is_linear():
    assert_linear(critic())
    assert_quick(critic(), seconds=0.5)
