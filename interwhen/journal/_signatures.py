"""Signatures of journals and certificates with Ed25519 (RFC 8032), and what a certificate says of a text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from interwhen._types.errors import MissingExtraError, UsageError
from interwhen._types.results import Certificate, CheckRecord, Result, Verified
from interwhen._types.segments import sha256
from interwhen.journal._evidence import certificate_flaws

Answer = Literal["signed", "unsigned", "mismatch", "undecided"]


class Signer:
    """Signs with the private key in the file *path*: Ed25519, PEM, without a password."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        ed25519, serialization = _library()
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                key = serialization.load_pem_private_key(file.read(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"the signing key {os.fspath(path)!r:.200} must be a readable PEM file without a password ({error}): "
                "make one with openssl genpkey -algorithm ed25519 -out FILE"
            ) from error
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise UsageError(
                f"the signing key {os.fspath(path)!r:.200} must be an Ed25519 key, got {type(key).__name__}: make one "
                "with openssl genpkey -algorithm ed25519 -out FILE"
            )
        self._key = key
        self.public = str(key.public_key().public_bytes_raw().hex())
        """The public key, in hex."""

    def sign(self, data: bytes) -> bytes:
        return bytes(self._key.sign(data))

    def certify(self, result: Result) -> Result:
        if not isinstance(result, Verified):
            return result
        named = msgspec.structs.replace(result.certificate, signer=self.public, signature="")
        signed = msgspec.structs.replace(named, signature=self.sign(_unsigned(named)).hex())
        return msgspec.structs.replace(result, certificate=signed)


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtraError("a signature", "sign") from error
    return ed25519, serialization


def is_signed(public: str, signature: bytes, data: bytes) -> bool:
    ed25519, _ = _library()
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _unsigned(certificate: Certificate) -> bytes:
    import json

    plain = msgspec.to_builtins(msgspec.structs.replace(certificate, signature=""))
    return b"interwhen certificate\n" + json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


class Verification(msgspec.Struct, frozen=True):
    """What :func:`verify` found."""

    answer: Answer
    """``signed``: the text is the certified one, and the signature is right. ``unsigned``: the text is the certified
    one as far as hashes tell, and anyone can make hashes. ``mismatch``: text or certificate was changed, or the
    signature is wrong. ``undecided``: see ``why``."""
    why: str
    """One sentence for a person."""
    signer: str = ""
    """For ``signed``: the public key, in hex."""
    at: int | None = None
    """For a text that does not match: the offset of the first known difference, in characters."""


def verify(certificate: Certificate, text: str, *, key: str = "", original: str | None = None) -> Verification:
    """Compare *certificate* with *text*, the ``text`` of a result. No verifier runs, and nothing is asked.

    With *key*, the public Ed25519 key in hex, only a signature by this key is ``signed``. *original* is the text that
    was kept with the certificate, if there is one: it shows the exact place of a difference.
    """
    if not certificate.matches(text):
        at, where = _difference(certificate.checks, text, original)
        return Verification("mismatch", f"the text is not the certified one: {where}", at=at)
    wrong = next(certificate_flaws(certificate, text), "")
    if wrong:
        return Verification("mismatch", f"the certificate contradicts itself: {wrong}")
    return _signature_of(certificate, key)


def _signature_of(certificate: Certificate, key: str) -> Verification:
    signer = certificate.signer
    if not (signer or certificate.signature):
        why = "unchanged as far as hashes tell; anyone can make hashes, and it has no signature"
        return Verification("mismatch" if key else "unsigned", why)
    try:
        signature = bytes.fromhex(certificate.signature)
        right = is_signed(signer, signature, _unsigned(certificate))
    except MissingExtraError as error:
        return Verification("undecided", f"the signature cannot be checked: {error}")
    except ValueError:
        right = False
    if not right:
        return Verification("mismatch", "the signature is not that of this certificate")
    if key and key.lower() != signer:
        return Verification("mismatch", f"it is signed by another key, {signer}")
    return Verification("signed", f"the text is the certified one, signed by {signer}", signer)


def _difference(checks: Sequence[CheckRecord], text: str, original: str | None) -> tuple[int | None, str]:
    if original is not None and original != text:
        pairs = enumerate(zip(original, text, strict=False))
        at = next((at for at, (one, other) in pairs if one != other), min(len(original), len(text)))
        return at, f"the first difference is at character {at}"
    for check in sorted((one for one in checks if one.span is not None), key=lambda one: one.span or ()):
        span = check.span
        assert span is not None
        if check.claim_sha256 and sha256(text[span.start : span.end]) != check.claim_sha256:
            return span.start, f"the first checked claim that differs is at characters {span.start} to {span.end}"
    return None, "all checked claims are the same, so it differs where no check was"
