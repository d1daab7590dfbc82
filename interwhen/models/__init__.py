"""Adapters to language models, and base classes for new adapters.

To write an adapter, implement `Model` and `Stream`; `GuardedStream`, `IteratorStream` and `ModelWrapper` are base
classes. To read the code, start with `_openai_api.py`.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen._types.errors import (
    ConnectError,
    ContextOverflow,
    ModelError,
    RateLimited,
    StreamClosed,
    StreamProtocolError,
    StreamTimeout,
    UpstreamError,
)
from interwhen._types.models import (
    Capabilities,
    Chunk,
    Completion,
    Model,
    Prompt,
    Reply,
    Request,
    Retries,
    ScoredToken,
    Stream,
    Timeouts,
    Usage,
)

if TYPE_CHECKING:
    from interwhen.models._fast_transport import FastTransport
    from interwhen.models._local import open_local
    from interwhen.models._messages import read_messages, read_turn
    from interwhen.models._openai_api import ChatModel, CompletionsModel
    from interwhen.models._questions import probe
    from interwhen.models._replay import RecordingModel, ReplayModel, load_recordings
    from interwhen.models._token_stream import GuardedStream, IteratorStream, collect

__all__ = [
    "Capabilities",
    "ChatModel",
    "Chunk",
    "Completion",
    "CompletionsModel",
    "ConnectError",
    "ContextOverflow",
    "FastTransport",
    "GuardedStream",
    "IteratorStream",
    "Model",
    "ModelError",
    "Prompt",
    "RateLimited",
    "RecordingModel",
    "ReplayModel",
    "Reply",
    "Request",
    "Retries",
    "ScoredToken",
    "Stream",
    "StreamClosed",
    "StreamProtocolError",
    "StreamTimeout",
    "Timeouts",
    "UpstreamError",
    "Usage",
    "collect",
    "load_recordings",
    "open_local",
    "probe",
    "read_messages",
    "read_turn",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    # `import interwhen` imports modules of this package. It must not pay for the HTTP libraries of adapters that a
    # program does not use.
    __getattr__ = lazy_names(
        __name__,
        {
            "interwhen.models._fast_transport": ("FastTransport",),
            "interwhen.models._local": ("open_local",),
            "interwhen.models._messages": ("read_messages", "read_turn"),
            "interwhen.models._openai_api": ("ChatModel", "CompletionsModel"),
            "interwhen.models._questions": ("probe",),
            "interwhen.models._replay": ("RecordingModel", "ReplayModel", "load_recordings"),
            "interwhen.models._token_stream": ("GuardedStream", "IteratorStream", "collect"),
        },
    )
