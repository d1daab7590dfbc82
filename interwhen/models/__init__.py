"""Adapters to language models, and base classes for new adapters.

`ChatModel` and `CompletionsModel` use an OpenAI-compatible server; `open_local` runs a small model in a child process.
`ReplayModel` streams known text, `RecordingModel` records streams, and `MeteredModel` limits the tokens of a model. To
write an adapter, implement `Model` and `Stream`; `GuardedStream`, `IteratorStream` and `ModelWrapper` are base classes.
To read the code, start with `_openai_api.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from interwhen._types.errors import (
    ConnectError,
    ContextOverflow,
    MalformedEvent,
    ModelError,
    OutOfTokens,
    RateLimited,
    StreamClosed,
    StreamProtocolError,
    StreamTimeout,
    UnexpectedForm,
    UpstreamError,
)
from interwhen._types.models import (
    Capabilities,
    Chunk,
    Completion,
    FinishReason,
    Message,
    Model,
    Piece,
    Prompt,
    Reply,
    Request,
    ResumeMode,
    ResumeWay,
    Retries,
    Sampling,
    ScoredToken,
    Stream,
    Timeouts,
    Usage,
)

if TYPE_CHECKING:
    from interwhen.models._fast_transport import FastTransport
    from interwhen.models._httpx2_transport import Httpx2Transport
    from interwhen.models._local import LocalModel, open_local
    from interwhen.models._messages import read_messages, read_turn
    from interwhen.models._metered import MeteredModel
    from interwhen.models._openai_api import ChatModel, CompletionsModel
    from interwhen.models._orphans import OrphanedStream
    from interwhen.models._questions import probe
    from interwhen.models._replay import Recording, RecordingModel, ReplayModel, TimedChunk, load_recordings
    from interwhen.models._token_stream import GuardedStream, IteratorStream, StreamNotes, collect
    from interwhen.models._transport import HttpRequest, HttpResponse, Transport
    from interwhen.models._wrapper import ModelWrapper

__all__ = [
    "Capabilities",
    "ChatModel",
    "Chunk",
    "Completion",
    "CompletionsModel",
    "ConnectError",
    "ContextOverflow",
    "FastTransport",
    "FinishReason",
    "GuardedStream",
    "HttpRequest",
    "HttpResponse",
    "Httpx2Transport",
    "IteratorStream",
    "LocalModel",
    "MalformedEvent",
    "Message",
    "MeteredModel",
    "Model",
    "ModelError",
    "ModelWrapper",
    "OrphanedStream",
    "OutOfTokens",
    "Piece",
    "Prompt",
    "RateLimited",
    "Recording",
    "RecordingModel",
    "ReplayModel",
    "Reply",
    "Request",
    "ResumeMode",
    "ResumeWay",
    "Retries",
    "Sampling",
    "ScoredToken",
    "Stream",
    "StreamClosed",
    "StreamNotes",
    "StreamProtocolError",
    "StreamTimeout",
    "TimedChunk",
    "Timeouts",
    "Transport",
    "UnexpectedForm",
    "UpstreamError",
    "Usage",
    "collect",
    "load_recordings",
    "open_local",
    "probe",
    "read_messages",
    "read_turn",
]

# `import interwhen` imports modules of this package. It must not pay for the HTTP libraries of adapters that a program
# does not use, so these names are imported when they are first asked for.
_LAZY = {
    "ChatModel": "_openai_api",
    "CompletionsModel": "_openai_api",
    "FastTransport": "_fast_transport",
    "GuardedStream": "_token_stream",
    "HttpRequest": "_transport",
    "HttpResponse": "_transport",
    "Httpx2Transport": "_httpx2_transport",
    "IteratorStream": "_token_stream",
    "LocalModel": "_local",
    "MeteredModel": "_metered",
    "ModelWrapper": "_wrapper",
    "OrphanedStream": "_orphans",
    "Recording": "_replay",
    "RecordingModel": "_replay",
    "ReplayModel": "_replay",
    "StreamNotes": "_token_stream",
    "TimedChunk": "_replay",
    "Transport": "_transport",
    "collect": "_token_stream",
    "load_recordings": "_replay",
    "open_local": "_local",
    "probe": "_questions",
    "read_messages": "_messages",
    "read_turn": "_messages",
}


def __getattr__(name: str) -> object:
    home = _LAZY.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
