"""The exceptions that interwhen raises, grouped by who must act: the caller, the machine, the store or the model.

Other modules define a few more subclasses for their own purpose, such as :class:`~interwhen.clients.Refused`.

::

    InterwhenError
    ├── UsageError
    │   ├── PluginError
    │   ├── JournalError
    │   └── UnknownContext
    ├── MissingExtraError
    ├── SandboxUnavailable
    ├── StoreError
    │   └── StoreConflict
    └── ModelError
        ├── ConnectError
        ├── UpstreamError
        │   ├── ContextOverflow
        │   └── RateLimited
        ├── StreamProtocolError
        │   ├── MalformedEvent
        │   └── UnexpectedForm
        ├── OutOfTokens
        ├── StreamTimeout
        └── StreamClosed
"""

from __future__ import annotations

import re
import reprlib
from typing import Final

import msgspec

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What msgspec raises for data that it cannot decode: also for bytes that are not UTF-8, and for too deep nesting."""


class InterwhenError(Exception):
    """The base class of the exceptions that this package defines for its callers."""


class UsageError(InterwhenError, ValueError):
    """The caller passed an invalid value or used an object wrongly. The message names the error and the fix."""


class PluginError(UsageError):
    """The plug-in *name* is missing, does not load, or rejects its options. *reason* says which, *hint* what to do."""

    def __init__(self, name: str, reason: str, hint: str = "") -> None:
        self.name = name
        self.reason = reason
        self.hint = hint
        super().__init__(f"plug-in {name!r}: {reason}" + (f" ({hint})" if hint else ""))


class JournalError(UsageError):
    """The journal at ``path`` cannot be written, read, replayed or resumed; ``reason`` says why, and what to do.

    For example, it is no journal, was changed, is redacted or in use, exists already, or its run had other monitors.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"journal {path!r}: {reason}")


class MissingExtraError(InterwhenError, ImportError):
    """A *feature* needs a package that is not installed.

    *extra* is the extra of interwhen with the package. *install* replaces the default command in the message.
    """

    def __init__(self, feature: str, extra: str, install: str = "") -> None:
        self.feature = feature
        self.extra = extra
        install = install or f"pip install 'interwhen[{extra}]'"
        super().__init__(f"{feature} needs a package that is not installed: {install}")


class SandboxUnavailable(InterwhenError):
    """This machine cannot enforce every guarantee that the *sandbox* must give.

    ``missing`` names the guarantees that it cannot enforce, and ``why`` gives the reason.
    """

    def __init__(self, sandbox: str, missing: frozenset[str], why: str) -> None:
        self.sandbox = sandbox
        self.missing = missing
        self.why = why
        names = ", ".join(sorted(missing))
        super().__init__(
            f"the {sandbox} sandbox cannot enforce {names} here ({why}): install what is missing, or list the "
            f"guarantees that you can do without in allow_missing; `interwhen doctor --sandbox` shows what works here"
        )


class StoreError(InterwhenError):
    """The store of precomputed items at ``place`` cannot be opened, read or written."""

    def __init__(self, place: str, reason: str) -> None:
        self.place = place
        self.reason = reason
        super().__init__(f"store {place!r}: {reason}")


class UnknownContext(UsageError):
    """The store at ``place`` has no prepared context ``name``."""

    def __init__(self, name: str, place: str) -> None:
        self.name = name
        self.place = place
        super().__init__(
            f"context {name!r} must be in the store {place!r}, and it is not; add it first: interwhen precompute add "
            f"{name} FILE"
        )


class StoreConflict(StoreError):
    """Another writer changed the entry ``name`` of a store: its latest generation is not number ``expected``.

    Read the entry again, and repeat the change.
    """

    def __init__(self, place: str, name: str, expected: int) -> None:
        self.name = name
        self.expected = expected
        super().__init__(place, f"{name!r} is no longer at generation {expected}: read it again")


class ModelError(InterwhenError):
    """A request to a model failed, or could not be sent. ``retryable``: whether another try may help."""

    retryable: bool = False


class ConnectError(ModelError):
    """The server could not be reached, or the connection broke.

    ``stale``: a pooled connection broke before the head of the response had arrived.
    """

    retryable = True
    stale: bool = False


class UpstreamError(ModelError):
    """The server sent an error, as its response or inside the stream.

    ``status``: the HTTP status. ``code``: the server's name of the error. ``retry_after``: the seconds that the server
    asks us to wait. Each is ``None`` if it is not known. ``body``: the beginning of the error body.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        body: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.body = body
        self.retry_after = retry_after
        super().__init__(message)

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether the status says that the same request may succeed later (429 and 5xx)."""
        return self.status is not None and (self.status == 429 or self.status >= 500)


class RateLimited(UpstreamError):
    """The server refused the request for now (429). ``retry_after`` is in seconds; ``None`` if the server gave none."""


class ContextOverflow(UpstreamError):
    """The prompt plus the text to continue is longer than the model's context window."""


class StreamProtocolError(ModelError):
    """The server sent an invalid stream. ``offset`` is in bytes of the body; *hint* says what to do.

    ``sample`` holds at most 200 bytes of the invalid data.
    """

    retryable = True

    def __init__(self, message: str, *, offset: int, sample: bytes = b"", hint: str = "") -> None:
        self.offset = offset
        self.sample = sample[:200]
        quoted_sample = f": {self.sample!r}" if self.sample else ""
        super().__init__(f"{message} at byte {offset}{quoted_sample}" + (f"; {hint}" if hint else ""))


class MalformedEvent(StreamProtocolError):
    """One event of the stream is not a valid chunk of the API; the stream can still be read after it."""


class UnexpectedForm(StreamProtocolError):
    """The response has another form than the request asked for: a page, gzip, the other API, or ``n`` > 1.

    A retry would most likely get the same response.
    """

    retryable = False


class OutOfTokens(ModelError):
    """No request was sent, because the budget of *budget* tokens is spent."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        super().__init__(f"the budget of {budget} tokens is spent; give a larger one to continue")


class StreamTimeout(ModelError):
    """A timeout of ``seconds`` ran out. ``timer`` names it as a field of :class:`~interwhen.models.Timeouts`."""

    retryable = True

    def __init__(self, timer: str, seconds: float) -> None:
        self.timer = timer
        self.seconds = seconds
        super().__init__(
            f"the {timer} timeout of {seconds:g} s ran out: allow more time, or look whether the server still answers"
        )


class StreamClosed(ModelError):
    """Our own code closed the stream before or while it was being read."""

    def __init__(self) -> None:
        super().__init__("a stream must be open while it is read, and this side closed it: send the request again")


# Format exceptions and values of user code as short texts: their `str` or `repr` may be huge, or raise.

_WORDS = reprlib.Repr()
_WORDS.maxstring = _WORDS.maxother = 160
_WORDS.maxlevel = 3


def name_error(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001  (the text of an exception of user code may raise)
        text = f"(its text raised {type(second).__name__})"
    return f"{type(error).__name__}: {text}"[:500]


_USER = re.compile(r"//[^/?#]*@")


def without_user(url: str) -> str:
    return _USER.sub("//", url)


def name_value(value: object) -> str:
    try:
        return _WORDS.repr(value)[:200]
    except BaseException as error:  # noqa: BLE001  (user code must not end a run)
        return f"{type(value).__name__} (whose text raised {type(error).__name__})"[:200]
