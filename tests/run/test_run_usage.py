"""What cannot work is refused at once, with what happened, to what, and what to do."""

import interwhen
import pytest
from interwhen import UsageError
from interwhen._run import recheck
from interwhen._run import run as runs
from interwhen.testing import ScriptedModel
from sums import watch

pytestmark = pytest.mark.anyio


async def test_what_cannot_be_done_says_so():
    run = interwhen.run(ScriptedModel(["x"]), "Q")
    with pytest.raises(UsageError, match="no result yet"):
        _ = run.result
    with pytest.raises(UsageError, match="must be entered before it is read"):
        await anext(run)
    with pytest.raises(UsageError, match="must be entered before its text is read"):
        _ = run.text
    async with run:
        with pytest.raises(UsageError, match="no result yet"):
            _ = run.result
        assert run.text == ""
        with pytest.raises(UsageError, match="only once"):
            await run.__aenter__()
        await run.drain()
        assert run.text == run.result.text == "x"
    with pytest.raises(UsageError, match="only once"):
        await run.__aenter__()


@pytest.mark.parametrize(
    ("prompt", "options", "why"),
    [
        ("Q", {"allocator": object()}, "'allocator', which was removed: choose the strategy until-verified"),
        ("Q", {"monitor": []}, "the options of a run must be among .*, got 'monitor'; did you mean 'monitors'"),
        ([{"role": "user"}], {}, "message 0"),
        ([{"role": "user", "content": None}], {}, "message 0"),
        ([{"role": "boss", "content": "x"}], {}, "message 0.*boss"),
        ([{"role": "user", "content": "x"}, 3], {}, "message 1"),
        (None, {}, "prompt must be .*, got None"),
        (b"Q", {}, "prompt must be .*, got b'Q'"),
        ({"role": "user", "content": "x"}, {}, "list of messages"),
        ([], {}, "empty"),
        ("Q", {"threads": 0}, "threads must be .* got 0"),
        ("Q", {"threads": "8"}, "threads must be .* got '8'"),
        ("Q", {"sampling": {"max_tokens": 4}}, r"sampling must be Sampling\(...\)"),
        ("Q", {"budgets": {"forks": 4}}, r"budgets must be Budgets\(...\)"),
        ("Q", {"feedback": "no"}, r"feedback must be FeedbackTemplate\(...\)"),
        ("Q", {"monitors": None}, "put a single monitor in a list"),
        ("Q", {"processes": 0}, "processes must be .* got 0"),
        ("Q", {"starts_in": "middle"}, "starts_in must be .*, got 'middle'"),
        ("Q", {"monitors": watch()}, "put a single monitor in a list"),
        ("Q", {"monitors": "arithmetic"}, "put a single monitor in a list"),
        ("Q", {"monitors": [watch(), watch()]}, "must differ, got 'sums' twice"),
    ],
)
def test_what_cannot_work_is_refused_at_once(prompt, options, why):
    with pytest.raises(UsageError, match=why):
        interwhen.run(ScriptedModel(["x"]), prompt, **options)


def test_what_is_no_model_is_refused_at_once():
    with pytest.raises(UsageError, match=r"model must be a Model or the name of one, got 42"):
        interwhen.run(42, "Q")


def test_a_model_passed_as_the_prompt_is_named():
    with pytest.raises(
        UsageError, match=r"prompt must be a text or messages, got the model .*: write run\(model, prompt\)"
    ):
        interwhen.run("Q", ScriptedModel(["x"]))


@pytest.mark.parametrize("again", ["recheck", "check_again"])
async def test_rechecking_a_journal_with_supervision_off_is_refused(tmp_path, monkeypatch, again):
    path = tmp_path / "run.journal"
    async with interwhen.run(ScriptedModel(["1 + 1 = 2\n"]), "Q", monitors=[watch()], journal=path) as run:
        await run.drain()
    check = getattr(recheck, again)
    await check(path, [watch()])
    monkeypatch.setenv("INTERWHEN_OFF", "1")
    with pytest.raises(UsageError, match="supervision must be on"):
        await check(path, [watch()])


async def test_a_steps_pass_cannot_repeat_an_answer_pass(tmp_path):
    def judge(scope):
        return interwhen.Monitor(
            name="judge",
            trigger=interwhen.Answer(),
            extractor=lambda segment: [interwhen.Claim(key=segment.text, span=segment.span)],
            verifier=interwhen.verifier(name="judge", version="1")(lambda _: interwhen.Pass(scope=scope)),
            scope="answer",
        )

    path = tmp_path / "run.journal"
    result = await interwhen.run(ScriptedModel(["It is 4.\n"]), "Q", monitors=[judge("answer")], journal=path)
    assert result.label == "answer verified"
    for scope, passes in (("answer", True), ("steps", False)):
        _, [repeated] = await recheck.check_again(path, [judge(scope)])
        assert repeated.passes is passes
        assert bool(repeated.why) is not passes


def test_run_keywords_match_run_options_and_are_optional():
    assert runs.RunKeywords.__annotations__.keys() == set(runs.RunOptions.__struct_fields__)
    assert not runs.RunKeywords.__required_keys__
