"""The data of the small model: what is taught, what is only read, and which problems are kept apart."""

from __future__ import annotations

import json
import random

import pytest
from tests.measurements.measure_tiny.graders import is_right, judge
from tools.train_tiny import documents
from tools.train_tiny.charset import CHAT_TEMPLATE, MARKERS, TOKENS, decode, encode
from tools.train_tiny.documents import SENTENCES, SHARES, compose, document, tokenise
from tools.train_tiny.families import FAMILIES
from tools.train_tiny.tasks import HELD_OUT, draw

each_family = pytest.mark.parametrize("family", FAMILIES)


def test_tokens_are_single_characters_bytes_and_markers() -> None:
    assert len(set(TOKENS)) == len(TOKENS)
    text = '<|user|>17 × 24 = 408, "ok"…\n<think>é 漢</think><tool_call>{}</tool_call><|end|>'
    ids = encode(text)
    assert decode(ids) == text
    assert [TOKENS[number] for number in encode("408")] == ["4", "0", "8"]
    assert all(len(encode(marker)) == 1 for marker in MARKERS)


def test_the_same_seed_gives_the_same_documents() -> None:
    first, again = random.Random(3), random.Random(3)
    assert [document(first) for _ in range(50)] == [document(again) for _ in range(50)]


def test_shares_name_every_family() -> None:
    assert set(SHARES) == set(FAMILIES)
    assert sum(SHARES.values()) == pytest.approx(1)


@each_family
def test_splits_share_no_problem_however_it_is_worded(family: str) -> None:
    rng = random.Random(1)
    facts = {
        split: {json.dumps(draw(FAMILIES[family], rng, split).problem.facts, sort_keys=True) for _ in range(300)}
        for split in ("train", "test")
    }
    assert not facts["train"] & facts["test"]
    drawn = [FAMILIES[family](rng, hard=False).problem.is_held_out for _ in range(2000)]
    assert sum(drawn) / len(drawn) == pytest.approx(HELD_OUT / 256, abs=0.04)


@each_family
def test_hard_problems_are_longer_or_larger(family: str) -> None:
    rng = random.Random(2)

    def size(split: documents.Split) -> float:
        drawn = [draw(FAMILIES[family], rng, split) for _ in range(200)]
        return sum(len(one.problem.prompt) + sum(len(step.text) for step in one.steps) for one in drawn)

    assert size("hard") > 1.05 * size("test")


@each_family
def test_inserted_text_and_mistakes_are_not_taught(family: str) -> None:
    rng = random.Random(4)
    corrected = 0
    for _ in range(400):
        pieces = compose(rng, FAMILIES[family], "train")
        taught = "".join(piece.text for piece in pieces if piece.taught)
        assert "Wait," not in taught
        assert "<|user|>" not in taught
        assert "State" not in taught
        whole = "".join(piece.text for piece in pieces)
        corrected += "Wait," in whole
        assert whole.endswith("<|end|>")
        assert pieces[-1].taught
    assert corrected > 50


@each_family
def test_every_line_that_is_taught_is_right(family: str) -> None:
    rng = random.Random(5)
    for number in range(200):
        worked = draw(FAMILIES[family], rng, "hard" if number % 3 == 0 else "train")
        problem = worked.problem
        lines = [step.text for step in worked.steps]
        assert all(judge(family, problem.facts, lines)), problem
        assert is_right(family, problem.facts, worked.answer)


@each_family
def test_generated_mistakes_are_wrong(family: str) -> None:
    rng = random.Random(6)
    for _ in range(200):
        worked = draw(FAMILIES[family], rng, "train")
        facts, lines = worked.problem.facts, [step.text for step in worked.steps]
        for at, step in enumerate(worked.steps):
            if step.blunder is not None:
                mistake = step.blunder(rng)
                assert not judge(family, facts, [*lines[:at], mistake.text])[-1], mistake
                assert mistake.wrong in mistake.text
        assert worked.blunder is not None
        assert not is_right(family, facts, worked.blunder(rng).text)


def test_feedback_is_worded_as_interwhen_words_it() -> None:
    from interwhen import Violation
    from interwhen.remedies import FeedbackTemplate
    from interwhen.toolkit import Level

    mistake = FAMILIES["totals"](random.Random(7), hard=False).steps[0].blunder(random.Random(1))  # type: ignore[misc]
    violation = Violation(why=mistake.why, witness=mistake.witness)
    levels: tuple[Level, ...] = ("flag", "locate", "explain", "witness")
    assert tuple(SENTENCES) == levels
    for level in levels:
        assert SENTENCES[level](mistake) == FeedbackTemplate().render(level, violation, mistake.wrong)


def test_the_mask_follows_the_pieces() -> None:
    pieces = [documents.Piece("<s><|user|>1 + 1<|end|>", False), documents.Piece("2<|end|>", True)]
    made = tokenise(pieces)
    assert [TOKENS[number] for number, taught in zip(made.ids, made.taught, strict=True) if taught] == ["2", "<|end|>"]


def test_chat_template_leaves_last_assistant_turn_open() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="needs jinja2, which torch brings")
    render = jinja2.Template(CHAT_TEMPLATE).render
    turns = [{"role": "user", "content": " 1 + 1 \n"}]
    assert render(bos_token="<s>", messages=turns, add_generation_prompt=True) == "<s><|user|>1 + 1<|end|><|assistant|>"
    turns.append({"role": "assistant", "content": "<think>\n"})
    assert render(bos_token="<s>", messages=turns).endswith("<|end|><|assistant|><think>\n")


def test_rows_hold_whole_documents_and_next_tokens() -> None:
    pytest.importorskip("torch", reason="needs torch: pip install torch")
    from tools.train_tiny.batches import IGNORED, batches

    ids, targets = next(batches(1, 4, 400))
    for row, aims in zip(ids.tolist(), targets.tolist(), strict=True):
        assert decode(row[:1]) == "<s>"
        for at, aim in enumerate(aims[:-1]):
            if aim != IGNORED and aim != TOKENS.index("<|end|>"):
                assert row[at + 1] == aim


def _stop_at_three(line: str) -> None:
    if line.startswith("step 3:"):
        raise KeyboardInterrupt


def test_training_step_lowers_loss_and_checkpoint_resumes(tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install torch")
    pytest.importorskip("gguf", reason="needs gguf: pip install gguf")
    from tools.train_tiny.export import export
    from tools.train_tiny.model import Shape
    from tools.train_tiny.training import Recipe, train

    shape = Shape(width=64, layers=1, heads=2, inner=64)
    recipe = Recipe(steps=6, rows=2, length=400, checkpoint_every=3, matrix_rate=2e-2)
    said: list[str] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    model = train(recipe, shape, tmp_path / "a", said.append, device=torch.device("cpu"), compiled=False)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in said if "loss" in line]
    assert losses[-1] < losses[0]
    # Cut off behind a checkpoint, and taken up again: the same weights.
    with pytest.raises(KeyboardInterrupt):
        train(recipe, shape, tmp_path / "b", _stop_at_three, device=torch.device("cpu"), compiled=False)
    again = train(recipe, shape, tmp_path / "b", said.append, device=torch.device("cpu"), compiled=False)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    export(model, tmp_path / "a.gguf", name="test", precision="q8_0")
    assert (tmp_path / "a.gguf").read_bytes()[:4] == b"GGUF"
