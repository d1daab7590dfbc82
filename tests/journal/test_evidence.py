"""A journal that somebody changed, checksums made right again, is not believed."""

import hashlib

import anyio
import interwhen
import msgspec
import pytest
from interwhen import Pass, Span, Unknown, Verified, resume
from interwhen.journal import JournalError, read_journal
from interwhen.journal._evidence import flaws
from interwhen.journal._records import EndRecord, Header, SealRecord, code_digest
from interwhen.results import Judged
from interwhen.testing import ScriptedModel
from sums import adds_up, supervise, watch
from tests.resealed import put_together, taken_apart

pytestmark = pytest.mark.anyio


async def recorded(path, text="1+1=2 and so\n2+2=4\n", monitor=None):
    result, _ = await supervise(ScriptedModel([text]), monitor or watch(), journal=path)
    return result


def forge(path, change, **options):
    path.write_bytes(put_together([change(record) for record in taken_apart(path.read_bytes())], **options))


def with_result(**fields):
    def change(record):
        if not isinstance(record, EndRecord):
            return record
        return msgspec.structs.replace(record, result=msgspec.structs.replace(record.result, **fields))

    return change


def with_certificate(**fields):
    def change(record):
        if not isinstance(record, EndRecord):
            return record
        certificate = msgspec.structs.replace(record.result.certificate, **fields)
        return with_result(certificate=certificate)(record)

    return change


def with_check(**fields):
    def change(record):
        if not isinstance(record, EndRecord):
            return record
        checks = tuple(msgspec.structs.replace(check, **fields) for check in record.result.checks)
        return with_certificate(checks=checks)(with_result(checks=checks)(record))

    return change


FORGED = {
    "the text": with_result(text="1+1=2 and so\n2+2=5\n"),
    "the text and its hash": lambda record: with_result(text="9+9=2 and so\n2+2=4\n")(
        with_certificate(text_sha256=hashlib.sha256(b"9+9=2 and so\n2+2=4\n").hexdigest())(record)
    ),
    "a longer text and its hash": lambda record: with_result(text="1+1=2 and so\n2+2=4\nmore")(
        with_certificate(text_sha256=hashlib.sha256(b"1+1=2 and so\n2+2=4\nmore").hexdigest())(record)
    ),
    "the hash of the text": with_certificate(text_sha256="0" * 64),
    "the hash of the prompt": with_certificate(prompt_sha256="0" * 64),
    "the coverage": with_certificate(coverage=1.0),
    "the head of the chain": with_certificate(chain_sha256="0" * 64),
    "what is covered": with_certificate(covered=(Span(0, 19),)),
    "no checks": with_certificate(checks=(), covered=(), coverage=0.0),
    "a check's place": with_check(span=Span(0, 3)),
    "a check's verdict": with_check(outcome=Judged(Unknown("?"))),
    "a check's words": with_check(claim_sha256="0" * 64),
    "hidden reasoning": with_result(hidden_reasoning=True),
    "hidden reasoning, with the certificate": lambda record: with_result(hidden_reasoning=True)(
        with_certificate(hidden_reasoning=True)(record)
    ),
    "the finish reason": with_result(finish_reason="length"),
    "the prompt": lambda record: msgspec.structs.replace(record, prompt="P") if isinstance(record, Header) else record,
}


@pytest.mark.fault("G14", injected="each field changed, checksums made right again", happens="refused, and it says why")
@pytest.mark.parametrize("what", FORGED)
async def test_a_result_that_contradicts_its_certificate_is_refused(what, path):
    assert isinstance(await recorded(path), Verified)
    forge(path, lambda record: record)
    assert isinstance(read_journal(path).result, Verified)
    good = path.read_bytes()
    forge(path, FORGED[what], reseal=False)
    with pytest.raises(JournalError, match="its seals must fit to the records before them, and one does not"):
        read_journal(path)
    path.write_bytes(good)
    forge(path, FORGED[what])
    with pytest.raises(JournalError, match="must agree with itself, and does not, so it was changed"):
        read_journal(path)
    with pytest.raises(JournalError, match="must agree with itself, and does not, so it was changed"):
        resume(path, monitors=[watch()])


@pytest.mark.fault("G14", injected="a consistent result of other facts", happens="refused by resume")
async def test_a_result_of_other_facts_is_not_resumed(path, tmp_path):
    other = tmp_path / "other.journal"
    await recorded(path, "1+1=2 and so\n2+2=5, no\n", watch(delivery="observe"))
    await recorded(other, "1+1=2 and so\n2+2=4, no\n", watch(delivery="observe"))
    good = read_journal(other).result
    assert isinstance(good, Verified)
    chain = next(record.checks for record in reversed(read_journal(path).records) if isinstance(record, SealRecord))
    good = msgspec.structs.replace(good, certificate=msgspec.structs.replace(good.certificate, chain_sha256=chain))
    forge(
        path, lambda record: msgspec.structs.replace(record, result=good) if isinstance(record, EndRecord) else record
    )
    assert isinstance(read_journal(path).result, Verified)

    async def main():
        with pytest.raises(JournalError, match="must be the one that its facts give, and it differs"):
            async with resume(path, monitors=[watch(delivery="observe")]) as run:
                await run.drain()

    # The task group of the refused run has ended: otherwise trio stops the whole program at the end.
    await anyio.to_thread.run_sync(lambda: anyio.run(main, backend="trio"))


async def test_each_check_hashes_its_claim_and_code(path):
    result = await recorded(path)
    assert [check.claim_sha256 for check in result.checks] == [
        hashlib.sha256(words).hexdigest() for words in (b"1+1=2", b"2+2=4")
    ]
    assert {check.code_sha256 for check in result.checks} == {code_digest(adds_up)}
    assert len(code_digest(adds_up)) == 64
    assert interwhen.replay(path).differences == ()
    assert flaws(result) == ()


def test_code_without_a_file_has_no_digest():
    namespace = {"__name__": "nowhere"}
    exec("def check(claim): ...", namespace)
    assert code_digest(interwhen.verifier(name="v")(namespace["check"])) == ""
    assert code_digest(interwhen.verifier(name="v")(lambda _: Pass())) != ""
