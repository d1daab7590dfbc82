"""Verdicts are bound to what they judged, and a signature binds them to who ran."""

import hashlib
import subprocess
import sys

import interwhen
import msgspec
import pytest
from interwhen import UsageError, Verified
from interwhen.journal import Journal, JournalError, TimelineReader, read_journal, verify
from interwhen.journal import _records as records
from interwhen.journal._signatures import Signer
from interwhen.testing import End, ScriptedModel
from interwhen.toolkit import MissingExtraError
from journals import KINDS, recorded
from sums import supervise, watch
from tests.resealed import new_key, put_together, taken_apart

pytestmark = pytest.mark.anyio

TEXT = "1+1=2 and so\n2+2=4\n"


@pytest.fixture(scope="session")
def pem(tmp_path_factory):
    return new_key(tmp_path_factory.mktemp("keys") / "key.pem")


async def supervised(path, **options):
    result, _ = await supervise(ScriptedModel([TEXT]), watch(), journal=Journal(path, **options))
    assert isinstance(result, Verified)
    return result


def with_text(change):
    def changed(record):
        if isinstance(record, records.TextRecord):
            return msgspec.structs.replace(record, texts=tuple(change(text) for text in record.texts))
        return record

    return changed


def readers(path):
    monitors = [watch()]

    def page():
        reader = TimelineReader("x")
        reader.feed(path.read_bytes())
        return reader.timeline()

    return {
        "read_journal": lambda: read_journal(path),
        "replay": lambda: interwhen.replay(path),
        "resume": lambda: interwhen.resume(path, model=ScriptedModel([TEXT]), monitors=monitors),
        "timeline": lambda: interwhen.journal.timeline(path),
        "page": page,
    }


FAULT = pytest.mark.fault(
    "H2", injected="the text of a verdict changed, checksums and seals made right", happens="refused by every reader"
)


@FAULT
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("reseal", [True, False])
async def test_journal_with_changed_text_is_refused(ended, reseal, path):
    await supervised(path)
    entries = [with_text(lambda text: text.replace("4", "9"))(one) for one in taken_apart(path.read_bytes())]
    if not ended:
        end = next(at for at, one in enumerate(entries) if isinstance(one, records.EndRecord))
        entries = entries[:end]
    path.write_bytes(put_together(entries, reseal=reseal))
    for name, read in readers(path).items():
        with pytest.raises(JournalError, match="so it was changed"):
            pytest.fail(f"{name} believed {read()}")


async def test_a_check_records_what_it_judged(path):
    result = await supervised(path)
    prompt = hashlib.sha256(b"Q").hexdigest()
    for check in result.checks:
        parts = (prompt, check.verifier, check.version, "", check.code_sha256)
        assert check.judge_sha256 == hashlib.sha256("\n".join(parts).encode()).hexdigest()
    assert result.certificate.chain_sha256
    seals = [one for one in taken_apart(path.read_bytes()) if isinstance(one, records.SealRecord)]
    assert seals[-1].checks == result.certificate.chain_sha256
    assert len({seal.checks for seal in seals}) == len(result.checks)


async def test_judge_hash_covers_monitor_options():
    async def judged(spec):
        async with interwhen.run(ScriptedModel(["1 + 1 = 2\n"]), "Q", monitors=[spec]) as run:
            return {check.judge_sha256 for check in (await run.drain()).checks}

    assert await judged("arithmetic:level=flag") == await judged("arithmetic:level=flag")
    assert await judged("arithmetic:level=flag") != await judged("arithmetic:level=locate")


@pytest.mark.parametrize("name", sorted(KINDS))
async def test_seal_chain_continues_after_resume(name, path):
    kind = KINDS[name]
    result, _, data = await recorded(kind, path)
    entries = taken_apart(data)
    seal = next((at for at, one in enumerate(entries) if isinstance(one, records.SealRecord)), 2)
    path.write_bytes(put_together(entries[: seal + 1]))
    async with kind.resume(path) as run:
        again = await run.drain()
    assert (again.text, again.status) == (result.text, result.status)
    journal = read_journal(path)
    assert journal.left_out == 0
    assert interwhen.replay(path).differences == ()
    if isinstance(again, Verified):
        assert again.certificate.chain_sha256 == journal.records[-1].checks


async def test_resume_with_other_code_records_its_hash(path, monkeypatch):
    await supervised(path)
    entries = taken_apart(path.read_bytes())
    seal = next(at for at, one in enumerate(entries) if isinstance(one, records.SealRecord))
    path.write_bytes(put_together(entries[: seal + 1]))
    monkeypatch.setattr("interwhen._run.run.code_digest", lambda _verifier: "c" * 64)
    model = ScriptedModel(lambda request: [TEXT[len(request.prefix) :], End("stop")])
    async with interwhen.resume(path, model=model, monitors=[watch()]) as run:
        result = await run.drain()
    codes = {check.key: check.code_sha256 for check in result.checks}
    assert codes["2+2=4"] == "c" * 64 != codes["1+1=2"]
    assert interwhen.replay(path).differences == ()


async def test_a_file_that_ends_early_is_incomplete(path):
    await supervised(path)
    entries = taken_apart(path.read_bytes())
    for count in range(1, len(entries)):
        path.write_bytes(put_together(entries[:count]))
        journal = read_journal(path)
        assert journal.result is None or isinstance(entries[count - 1], records.SealRecord)


# Signatures.


async def test_signed_run_replays_and_resumes_with_key(path, pem, tmp_path):
    result = await supervised(path, sign_with=pem)
    assert result.certificate.signer == read_journal(path).header.signer == Signer(pem).public
    assert interwhen.replay(path).result.text == result.text
    entries = taken_apart(path.read_bytes())
    seal = next(at for at, one in enumerate(entries) if isinstance(one, records.SealRecord))
    path.write_bytes(put_together(entries[: seal + 1], reseal=False))
    model = ScriptedModel(lambda request: [TEXT[len(request.prefix) :], End("stop")])
    for wrong in ("", new_key(tmp_path / "other.pem")):
        with pytest.raises(JournalError, match="must continue with the key that signed it"):
            async with interwhen.resume(Journal(path, sign_with=wrong), model=model, monitors=[watch()]):
                pass
    async with interwhen.resume(Journal(path, sign_with=pem), model=model, monitors=[watch()]) as run:
        again = await run.drain()
    assert verify(again.certificate, again.text).answer == "signed"
    assert read_journal(path).result.certificate == again.certificate


CHANGES = {
    "a text": with_text(lambda text: text.replace("1", "7")),
    "the prompt": lambda one: msgspec.structs.replace(one, prompt="P") if isinstance(one, records.Header) else one,
    "the model": lambda one: msgspec.structs.replace(one, model="gpt") if isinstance(one, records.Header) else one,
    "a verdict's time": lambda one: (
        msgspec.structs.replace(one, at=9.0) if isinstance(one, records.FactRecord) else one
    ),
}


@pytest.mark.fault("H2", injected="a signed journal changed, all but the key made right", happens="refused by all")
@pytest.mark.parametrize("what", CHANGES)
async def test_a_changed_signed_journal_is_refused(what, path, pem, tmp_path):
    await supervised(path, sign_with=pem)
    other = Signer(new_key(tmp_path / "other.pem"))
    entries = [CHANGES[what](one) for one in taken_apart(path.read_bytes())]
    for sign in (None, other.sign):
        path.write_bytes(put_together(entries, sign=sign))
        for name, read in readers(path).items():
            with pytest.raises(JournalError, match=r"must be signed by .*, and one is not"):
                pytest.fail(f"{name} believed {read()}")


async def test_verification_has_four_outcomes(path, pem, monkeypatch):
    signed = await supervised(path, sign_with=pem)
    plain, _ = await supervise(ScriptedModel([TEXT]), watch())
    public = Signer(pem).public
    for result, answer in ((signed, "signed"), (plain, "unsigned")):
        encoded = msgspec.json.decode(msgspec.json.encode(result.certificate), type=interwhen.results.Certificate)
        verification = verify(encoded, result.text)
        assert (verification.answer, verification.signer) == (answer, public if answer == "signed" else "")
        assert ("anyone can make hashes" in verification.why) == (answer == "unsigned")
    certificate = signed.certificate
    assert verify(certificate, TEXT, key=public).answer == "signed"
    assert verify(certificate, TEXT, key="0" * 64).answer == "mismatch"
    assert verify(plain.certificate, TEXT, key=public).answer == "mismatch"
    changed = verify(certificate, TEXT.replace("2+2", "3+2"))
    assert (changed.answer, changed.at) == ("mismatch", TEXT.index("2+2"))
    assert verify(certificate, TEXT + "!").at is None
    assert verify(certificate, TEXT + "!", original=TEXT).at == len(TEXT)
    for name in certificate.__struct_fields__:
        value = getattr(certificate, name)
        other = {str: "0" * 64, float: 0.9, bool: True, tuple: ()}[type(value)]
        if name == "scope":
            other = "answer"
        if value != other:
            assert verify(msgspec.structs.replace(certificate, **{name: other}), TEXT).answer == "mismatch", name
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    assert verify(certificate, TEXT).answer == "undecided"
    with pytest.raises(MissingExtraError, match=r"interwhen\[sign\]"):
        read_journal(path)


async def test_invalid_key_is_refused_before_the_run(path, tmp_path):
    (tmp_path / "text").write_text("no key")
    rsa = tmp_path / "rsa.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "rsa", "-out", rsa], check=True, capture_output=True)
    for key, why in (("missing", "readable PEM"), ("text", "readable PEM"), ("rsa.pem", "an Ed25519 key, got")):
        with pytest.raises(UsageError, match=why):
            await supervised(path, sign_with=tmp_path / key)
    assert not path.exists()
