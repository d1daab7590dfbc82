"""``interwhen verify``: what it says of a certificate and a text, and with which exit code."""

import json

import interwhen
import msgspec
import pytest
from interwhen.cli._main import main
from interwhen.testing import ScriptedModel
from tests.resealed import new_key

TEXT = "1 + 1 = 2\n"


@pytest.fixture
def verify(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["verify", *map(str, arguments)])
        out, err = capsys.readouterr()
        return ended.value.code, (out + err).strip()

    return call


def ran(path, text=TEXT, **options):
    journal = interwhen.journal.Journal(path, **options)
    with interwhen.run_sync(ScriptedModel([text]), "Q", monitors=["arithmetic"], journal=journal) as run:
        return run.drain()


def test_journal_result_and_certificate_verify_alike(verify, tmp_path):
    result = ran(tmp_path / "run.journal", sign_with=new_key(tmp_path / "key.pem"))
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "other").write_text(TEXT + "more")
    (tmp_path / "result").write_bytes(msgspec.json.encode(result))
    (tmp_path / "certificate").write_bytes(msgspec.json.encode(result.certificate))
    (tmp_path / "events").write_bytes(b"{}\n" + msgspec.json.encode(interwhen.events.Finished(result)) + b"\n")
    key = result.certificate.signer
    for name in ("run.journal", "result", "certificate", "events"):
        assert verify(tmp_path / name, tmp_path / "text") == (
            0,
            f"signed: the text is the certified one, signed by {key}",
        )
        assert verify(tmp_path / name, tmp_path / "text", "--key", key)[0] == 0
        assert verify(tmp_path / name, tmp_path / "text", "--key", "0" * 64)[0] == 1
        code, said = verify(tmp_path / name, tmp_path / "other")
        assert code == 1
        assert ("at character 10" in said) == (name != "certificate")


def test_unsigned_certificate_names_no_signer(verify, tmp_path):
    ran(tmp_path / "run.journal")
    (tmp_path / "text").write_text(TEXT)
    code, said = verify(tmp_path / "run.journal", tmp_path / "text")
    assert code == 0
    assert said.startswith("unsigned: unchanged as far as hashes tell; anyone can make hashes")
    assert "signed by" not in said
    code, said = verify(tmp_path / "run.journal", tmp_path / "text", "--json")
    assert (code, json.loads(said)["answer"]) == (0, "unsigned")


def test_undecidable_verification_exits_with_3(verify, tmp_path):
    ran(tmp_path / "wrong.journal", "1 + 1 = 3\n" * 2)
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "junk").write_bytes(b"\x00[[[{")
    (tmp_path / "latin").write_bytes(b"\xff")
    assert verify(tmp_path / "junk", tmp_path / "text")[0] == 3
    assert verify(tmp_path / "wrong.journal", tmp_path / "text")[0] in (1, 3)
    ran(tmp_path / "right.journal")
    assert verify(tmp_path / "right.journal", tmp_path / "latin")[0] == 1
    data = bytearray((tmp_path / "right.journal").read_bytes())
    (tmp_path / "half.journal").write_bytes(data[: len(data) // 2])
    code, said = verify(tmp_path / "half.journal", tmp_path / "text")
    assert (code, "of a run that ended" in said) == (3, True)
    assert verify(tmp_path / "missing", tmp_path / "text")[0] == 2
