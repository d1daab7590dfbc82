"""Verifiers by name: what is sent, and what the cluster refuses."""

import sys
from types import ModuleType

import msgspec
import pytest
from interwhen import Pass, load_monitor, verifier
from interwhen._engine.monitors import BoundVerifier
from interwhen._types.extensions import Task
from interwhen.integrations.ray._messages import CodeDiffers, NamedVerifier, code_of, encode, make, named


def encoded(verifier, **changes):
    decoded = msgspec.msgpack.decode(encode(named(verifier)), type=NamedVerifier)
    return msgspec.msgpack.encode(msgspec.structs.replace(decoded, **changes))


def bound(monitor, question):
    task = Task(question)
    return BoundVerifier(monitor.verifier, monitor.prepare(task), monitor.prepare, task)


def test_verifier_is_rebuilt_from_its_name():
    monitor = load_monitor("work")
    data = encoded(monitor.verifier)
    assert make(data) == monitor.verifier
    assert b"ray_checks" not in data  # a name and options; no code and no pickle


def test_prepared_value_is_recomputed_from_the_task():
    made = make(encoded(bound(load_monitor({"name": "prepared", "prefix": "asked: "}), "why?")))
    assert made.prepared == "asked: why?"


def test_verifier_without_plugin_is_not_named():
    @verifier(name="mine")
    def mine(claim):
        return Pass()

    monitor = load_monitor("prepared")
    assert named(mine) is None
    assert named(bound(monitor, "x")) is not None
    assert named(BoundVerifier(monitor.verifier, "value")) is None
    assert named(BoundVerifier(monitor.verifier, "value", lambda task: "value", Task(""))) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code": "0"}, "must have the digest 0"),
        ({"version": "0"}, "must have the version 0"),
        ({"name": "nothing_like_it"}, "must be installed on each node"),
    ],
)
def test_differing_code_is_refused(change, words):
    with pytest.raises(CodeDiffers, match=words):
        make(encoded(load_monitor("work").verifier, **change))


def test_the_digest_changes_with_any_file(tmp_path, monkeypatch):
    package = tmp_path / "digested_package"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    module = ModuleType("digested_package")
    module.__path__ = [str(package)]
    monkeypatch.setitem(sys.modules, "digested_package", module)

    def factory():
        pass

    factory.__module__ = "digested_package.inner"
    monkeypatch.setattr("interwhen.integrations.ray._messages.load_verifier", lambda _name: factory)
    digest = code_of.__wrapped__
    before = digest("any")
    assert digest("any") == before
    (package / "more.py").write_text("")
    after = digest("any")
    monkeypatch.setattr("interwhen.integrations.ray._messages.sys.version_info", (2, 7))
    assert len({before, after, digest("any"), code_of("work")}) == 4


def test_verifier_key_covers_options_but_not_prompt():
    one = NamedVerifier("a", {"x": "1"}, 0, "1", prompt="p")
    assert one.key == msgspec.structs.replace(one, prompt="q", code="c").key
    assert one.key != msgspec.structs.replace(one, options={"x": "2"}).key
