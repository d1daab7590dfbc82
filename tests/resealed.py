"""Changes journals for tests: writes records as a file whose checksums are right, with or without right seals."""

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from interwhen._core.messages import Settled
from interwhen.journal import _records as records
from interwhen.journal._files import frame, frames, preamble


def taken_apart(data):
    return [records.decode(entry.payload) for entry in frames(data, "test")]


def put_together(entries, *, reseal=True, sign=None):
    # `reseal` makes the digests of the seals right again, `sign` their signatures.
    data, chain = preamble()
    digest = b""
    for entry in entries:
        record = entry
        if isinstance(entry, records.SealRecord) and reseal:
            record = msgspec.structs.replace(entry, digest=digest)
            if sign is not None:
                record = msgspec.structs.replace(record, signature=sign(record.signed_bytes()))
        payload = records.encode(record)
        framed, chain = frame(payload, chain)
        digest = records.link(digest, payload)
        data += framed
    return data


def alone(at, phase, text):
    return records.TextRecord(at, phase, (text,), (at,))


def standing(entries):
    last = max((at for at, entry in enumerate(entries) if isinstance(entry, records.SealRecord)), default=0)
    for at in range(last, len(entries)):
        entry = entries[at]
        if isinstance(entry, records.EndRecord | records.CalledRecord | records.OutlineRecord) or (
            isinstance(entry, records.FactRecord) and isinstance(entry.fact, Settled)
        ):
            return at
    return len(entries)


def new_key(path):
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
