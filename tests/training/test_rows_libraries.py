"""The libraries that train load each format as it is. Skipped where they are not installed."""

from __future__ import annotations

import pytest
from interwhen import Feedback, Message, Repair, Resample
from interwhen.training import export_journals
from interwhen.training._export import FORMATS
from sums import watch

datasets = pytest.importorskip("datasets", reason="datasets is not installed")

pytestmark = pytest.mark.filterwarnings("default")  # of libraries that are not ours


@pytest.fixture
def load(record, tmp_path):
    def make(form):
        paths = [
            record(["1+1=2\n2+2=4\n"], answered=True)[0],
            record(["1+1=3\n", "\n2+2=4\n"], watch(remedy=Repair()), answered=True)[0],
            record(["1+1=2\n2+2=5\n", "2+2=4\n"], watch(remedy=Resample()), prompt="Another?\n", answered=True)[0],
            record(
                ["<think>1+1=3\n", "1+1=2\n</think>two\n"],
                watch(remedy=Feedback("append")),
                prompt="More?\n",
                answered=True,
            )[0],
            record(
                ["5+5=10\n"], prompt=[Message("system", "Be brief."), Message("user", "Five and five?")], answered=True
            )[0],
        ]
        out = tmp_path / f"{form}.jsonl"
        done = export_journals(paths, out, format=form)
        dataset = datasets.load_dataset("json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
        assert len(dataset) == done.rows > 1
        return dataset

    return make


@pytest.mark.parametrize("form", FORMATS)
def test_datasets_loads_every_format(load, form):
    dataset = load(form)
    wanted = {
        "tpt": {"text"},
        "messages": {"messages"},
        "prm": {"prompt", "completions", "labels"},
        "preference": {"prompt", "chosen", "rejected"},
    }
    assert wanted[form] <= set(dataset.column_names)


def test_column_types_match_the_trainers(load):
    steps = load("prm")
    assert all(len(row["completions"]) == len(row["labels"]) for row in steps)
    assert {type(label) for row in steps for label in row["labels"]} == {bool}
    assert False in [label for row in steps for label in row["labels"]]
    roles = [[turn["role"] for turn in row["messages"]] for row in load("messages")]
    assert ["system", "user", "assistant"] in roles


@pytest.fixture
def tokenizer():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizers = pytest.importorskip("tokenizers")
    letters = {chr(code): code - 32 for code in range(32, 127)}
    words = letters | {"\n": 95, "<end>": 96, "<unknown>": 97}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unknown>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", pad_token="<end>", unk_token="<unknown>"
    )
    made.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.reasoning_content or '' }}{{ m.content }}\n{% endfor %}"
    )
    return made


@pytest.fixture
def network(tokenizer):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=2,
    )
    return transformers, config


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tpt", "messages"])
def test_trl_trains_on_whole_traces(load, tokenizer, network, tmp_path, form):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    transformers, config = network
    trainer = trl.SFTTrainer(
        model=transformers.LlamaForCausalLM(config),
        args=trl.SFTConfig(**_arguments(tmp_path)),
        train_dataset=load(form),
        processing_class=tokenizer,
    )
    assert trainer.train().global_step == 1


@pytest.mark.slow
def test_trl_trains_on_preference_pairs(load, tokenizer, network, tmp_path):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    transformers, config = network
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")  # it is loaded once more, to compare with
    trainer = trl.DPOTrainer(
        model=str(tmp_path / "model"),
        args=trl.DPOConfig(**_arguments(tmp_path)),
        train_dataset=load("preference"),
        processing_class=tokenizer,
    )
    assert trainer.train().global_step == 1


@pytest.mark.slow
def test_trl_trains_on_labelled_steps(load, tokenizer, network, tmp_path):
    prm = pytest.importorskip("trl.experimental.prm", reason="trl is not installed, or is of a version without it")
    transformers, config = network
    trainer = prm.PRMTrainer(
        model=transformers.LlamaForTokenClassification(config),
        args=prm.PRMConfig(**_arguments(tmp_path)),
        train_dataset=load("prm"),
        processing_class=tokenizer,
    )
    assert trainer.train().global_step == 1


def _arguments(path):
    return {
        "output_dir": str(path / "out"),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
    }
