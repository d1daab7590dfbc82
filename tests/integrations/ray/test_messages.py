"""Verifiers by name: what is sent, and what the cluster refuses."""

import msgspec
import pytest
from interwhen import Pass, verifier
from interwhen._engine.monitors import BoundVerifier
from interwhen._types.extensions import Task
from interwhen.integrations.ray._messages import (
    CodeDiffers,
    NamedVerifier,
    code_of,
    digest_of_package,
    make,
    named,
    own_greeting,
)
from interwhen.registry import load_monitor


def encoded(verifier, **changes):
    found = named(verifier)
    return msgspec.msgpack.encode(msgspec.structs.replace(found, **{"code": code_of(found.name), **changes}))


def bound(monitor, question):
    task = Task(question)
    return BoundVerifier(monitor.verifier, monitor.prepare(task), monitor.prepare, task)


def test_a_verifier_of_a_plugin_is_made_again_from_its_name():
    monitor = load_monitor("work")
    data = encoded(monitor.verifier)
    assert make(data) == monitor.verifier
    assert b"ray_checks" not in data  # a name and options; no code and no pickle


def test_a_prepared_value_is_computed_again_from_the_task():
    monitor = load_monitor({"name": "prepared", "prefix": "asked: "})
    made = make(encoded(bound(monitor, "why?")))
    assert made.prepared == "asked: why?"


def test_what_no_plugin_made_has_no_name():
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
def test_other_code_is_refused(change, words):
    with pytest.raises(CodeDiffers, match=words):
        make(encoded(load_monitor("work").verifier, **change))


def test_the_digest_changes_with_a_file(tmp_path, monkeypatch):
    package = tmp_path / "digested_package"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    digest_of = digest_of_package.__wrapped__
    before = digest_of("digested_package")
    (package / "more.py").write_text("")
    assert len({before, digest_of("digested_package"), digest_of("ray_checks"), ""}) == 4
    assert digest_of("no_such_package_here") == digest_of("sys") == ""


def test_two_greetings_of_the_same_code_do_not_differ():
    assert own_greeting().difference(own_greeting()) == ""


def test_the_key_names_the_options_and_not_the_task():
    one = NamedVerifier("a", {"x": "1"}, 0, "1", prompt="p")
    assert one.key == msgspec.structs.replace(one, prompt="q", code="c").key
    assert one.key != msgspec.structs.replace(one, options={"x": "2"}).key
