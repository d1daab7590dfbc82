"""Closing what belongs to the model: shielded, bounded, and never a reason for a run to fail."""

from __future__ import annotations

import anyio

from interwhen._engine.cancelled import is_called_off
from interwhen._log import log_warning
from interwhen.models.base import Model, Stream

STREAM_SECONDS = 0.5
"""How long closing a stream may take before we go on without it."""
ABORT_SECONDS = 1.0
MODEL_SECONDS = 5.0


async def close_stream(stream: Stream) -> None:
    """Close *stream*, or give up on it."""
    with anyio.move_on_after(STREAM_SECONDS, shield=True) as scope:
        try:
            await stream.aclose()
        except Exception as error:  # noqa: BLE001  (the run needs nothing more from this stream)
            log_warning("stream.close_failed", error=type(error).__name__)
        except anyio.get_cancelled_exc_class():
            if is_called_off():
                raise
            log_warning("stream.close_failed", error="cancelled from within")
    if scope.cancelled_caught:
        log_warning("stream.close_timed_out", seconds=STREAM_SECONDS)


async def abort_stream(stream: Stream) -> None:
    """Have the server of *stream*, which is closed, told to stop, where the stream can do that; or give up on it."""
    abort = getattr(stream, "abort", None)
    if abort is None:
        return
    with anyio.move_on_after(ABORT_SECONDS, shield=True) as scope:
        try:
            await abort()
        except Exception as error:  # noqa: BLE001  (the run needs nothing more from this stream)
            log_warning("stream.abort_failed", error=type(error).__name__)
        except anyio.get_cancelled_exc_class():
            if is_called_off():
                raise
            log_warning("stream.abort_failed", error="cancelled from within")
    if scope.cancelled_caught:
        log_warning("stream.abort_timed_out", seconds=ABORT_SECONDS)


async def close_model(model: Model) -> None:
    """Close *model*, or give up on it."""
    with anyio.move_on_after(MODEL_SECONDS, shield=True) as scope:
        try:
            await model.aclose()
        except Exception as error:  # noqa: BLE001  (the result stands, whatever becomes of the model)
            log_warning("model.close_failed", error=type(error).__name__)
        except anyio.get_cancelled_exc_class():
            if is_called_off():
                raise
            log_warning("model.close_failed", error="cancelled from within")
    if scope.cancelled_caught:
        log_warning("model.close_timed_out", seconds=MODEL_SECONDS)
