"""The library prints nothing, and its log holds no text of the trace."""

import logging
import subprocess
import sys
import textwrap

import pytest
from interwhen import verifier
from interwhen.models import ConnectError
from interwhen.testing import ScriptedModel
from structlog.testing import capture_logs
from sums import slow, supervise, watch
from tests.virtual_clock import virtual_backend

pytestmark = pytest.mark.anyio

SECRET = "the answer is 1+1=2"


@pytest.fixture
def anyio_backend():
    return virtual_backend()


def raises(claim):
    raise RuntimeError(f"about {claim.key}")


async def eventful():
    model = ScriptedModel([[f"{SECRET}\n", ConnectError(f"at {SECRET}")], "2+2=4\n"])
    failing = verifier(name="failing", worker="async")(slow(0.0, function=raises).check)
    late = slow(1e9, name="late", deadline=2.0)
    await supervise(model, watch(failing, name="a"), watch(late, name="b"), prompt=SECRET)


async def test_the_events_have_stable_names_and_no_text(configured):
    with capture_logs() as logs:
        await eventful()
    named = {}
    for entry in logs:
        named.setdefault(entry["event"], []).append(entry)
    assert set(named) == {"run.finished", "stream.broken", "verifier.timed_out", "verifier.failed"}
    (finished,) = named["run.finished"]
    assert finished["log_level"] == "info"
    assert (finished["status"], finished["checks"], finished["characters"]) == ("unverified", 4, len(SECRET) + 7)
    assert named["stream.broken"] == [
        {"event": "stream.broken", "error": "ConnectError", "retryable": True, "log_level": "warning"}
    ]
    assert {entry["verifier"] for entry in named["verifier.timed_out"]} == {"late"}
    assert {entry["verifier"] for entry in named["verifier.failed"]} == {"failing"}
    assert SECRET not in str(logs)
    assert "1+1=2" not in str(logs)


async def test_a_failure_on_the_spot_is_logged_too(configured):
    def raises_at_once(segment):
        raise RuntimeError(f"about {segment.text}")

    failing = verifier(name="failing", worker="inline")(raises)
    with capture_logs() as logs:
        await supervise(
            ScriptedModel([f"{SECRET}\n"]), watch(failing, name="a"), watch(name="b", extractor=raises_at_once)
        )
    named = [(entry["event"], entry.get("verifier", entry.get("monitor"))) for entry in logs]
    assert sorted(named[:-1]) == [("extractor.failed", "b"), ("verifier.failed", "failing")]
    assert "1+1=2" not in str(logs)


async def test_without_structlog_configured_the_standard_library_has_them(caplog):
    caplog.set_level(logging.INFO, logger="interwhen")
    await eventful()
    assert "event='run.finished'" in caplog.text
    assert "1+1=2" not in caplog.text


def test_nothing_is_printed_by_default():
    script = """
        import interwhen
        from interwhen._types import errors
        from interwhen.testing import ScriptedModel
        model = ScriptedModel([["text", errors.ConnectError("broken")], [errors.ModelError("broken")]])
        with interwhen.run_sync(model, "Q") as run:
            assert run.drain().status == "failed"
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=110, check=True
    )
    assert done.stdout == ""
    # The standard library's last resort shows warnings of loggers without a handler; a library adds a NullHandler.
    assert done.stderr == ""
