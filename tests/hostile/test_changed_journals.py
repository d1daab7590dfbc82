"""Real journals in which one field was changed: no reader believes them."""

import random
import sys
from pathlib import Path

import anyio
import interwhen
import msgspec
import pytest
from interwhen._run.recheck import check_again
from interwhen.journal import Journal, JournalError, TimelineReader, verify
from interwhen.journal import _records as records
from interwhen.journal._files import frame, frames, preamble
from interwhen.journal._signatures import Signer
from interwhen.testing import ScriptedModel
from tests.resealed import new_key

sys.path.insert(0, str(Path(__file__).parents[1] / "journal" / "support"))

COUNT = 50
"""How many journals are changed."""
CHANGES = 8
"""How many fields of each are changed, drawn at random."""
OPERATORS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def lines(dice):
    written = []
    for _ in range(dice.randrange(2, 6)):
        one, other, sign = dice.randrange(2, 99), dice.randrange(2, 99), dice.choice("+-*")
        value = OPERATORS[sign](one, other) + (dice.random() < 0.15)
        written.append(f"{dice.choice(('', 'so ', 'then '))}{one} {sign} {other} = {value}\n")
    return "".join(written)


def record(seed, path, **options):
    dice = random.Random(seed)
    text = lines(dice)
    model = ScriptedModel(lambda request: [text[len(request.prefix) :]])
    monitor = dice.choice(("arithmetic", "arithmetic:delivery=gate", "arithmetic:delivery=observe"))
    prompt = f"Compute, number {seed}."
    with interwhen.run_sync(model, prompt, monitors=[monitor], journal=Journal(path, **options)) as run:
        return run.drain()


def leaves(value, place=()):
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def other(value):
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value + 0.5
        case str():
            return value[:-1] + ("x" if value[-1:] != "x" else "y")
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1]) if value else b"x"
    return "x"


def changed(tree, place):
    *path, last = place
    for key in path:
        tree = tree[key]
    tree[last] = other(tree[last])


def written(trees, *, sign):
    data, chain = preamble()
    digest = b""
    for tree in trees:
        payload = msgspec.msgpack.encode(tree)
        if tree[0] == "seal":
            seal = records.SealRecord(tree[1], digest)
            payload = records.encode(msgspec.structs.replace(seal, signature=sign(seal.signed_bytes())))
        framed, chain = frame(payload, chain)
        digest = records.link(digest, payload)
        data += framed
    return data


def reframed(trees):
    data, chain = preamble()
    for tree in trees:
        framed, chain = frame(msgspec.msgpack.encode(tree), chain)
        data += framed
    return data


def page(path):
    reader = TimelineReader(str(path))
    reader.feed(path.read_bytes())
    return reader.timeline()


def recheck(path):
    return anyio.run(check_again, path)


def resume(path):
    return interwhen.resume(path, model=ScriptedModel([""]), monitors=["arithmetic"])


READERS = (interwhen.journal.read_journal, interwhen.replay, interwhen.journal.timeline, page, recheck, resume)


def is_open(tree, place):
    return tree[0] == "seal" and place[-1] == 3


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return new_key(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.mark.fault("H2", injected="a field of 50 journals changed, checksums made right", happens="refused by all")
@pytest.mark.parametrize("signed", [True, False])
def test_a_changed_field_is_refused(signed, key, tmp_path):
    other_key = Signer(new_key(tmp_path / "other.pem"))
    tried = 0
    for seed in range(COUNT):
        path = tmp_path / f"{seed}.journal"
        record(seed, path, **({"sign_with": key} if signed else {}))
        payloads = [frame.payload for frame in frames(path.read_bytes(), "x")]
        places = [
            (number, place)
            for number, payload in enumerate(payloads)
            for place, _ in leaves(msgspec.msgpack.decode(payload))
            if place != (0,) and (signed or not is_open(msgspec.msgpack.decode(payload), place))
        ]
        dice = random.Random(seed)
        for number, place in dice.sample(places, CHANGES):
            trees = [msgspec.msgpack.decode(payload) for payload in payloads]
            changed(trees[number], place)
            forged = [reframed(trees)]
            # All that a seal holds is made again, so a change of the seal itself is gone.
            if signed and trees[number][0] != "seal" and place != (len(trees[0]) - 1,):
                forged += [written(trees, sign=other_key.sign), written(trees, sign=lambda _: b"")]
            for data in forged:
                path.write_bytes(data)
                for read in (READERS[0], dice.choice(READERS[1:])):
                    with pytest.raises(JournalError):
                        pytest.fail(f"{read} believed {trees[number][0]} {place}: {read(path)!r:.200}")
                tried += 1
    assert tried >= COUNT * CHANGES


def test_a_file_that_was_made_again_names_nobody(tmp_path, key):
    for seed in range(COUNT):
        result = record(seed, tmp_path / f"{seed}.journal")
        if result.status == "verified":
            verification = verify(result.certificate, result.text)
            assert (verification.answer, verification.signer) == ("unsigned", "")
            assert "by" not in verification.why.split()
            forged = msgspec.structs.replace(result.certificate, signer=Signer(key).public, signature="00" * 64)
            assert verify(forged, result.text).answer == "mismatch"
