"""The page's code runs as it stands, before and after, but for addresses. Behind a gateway: see the tests of that."""

from importlib.util import find_spec

import pytest
from interwhen.testing.server import events
from page import blocks, everything, mistaken, run, thinking

BARE, SOUND = "17 * 24 = 418\n", "17 * 24 = 408\n"
PAIRS = ["Chat", "Async chat", "The stream helper", "Completions", "Responses", "An agent library"]
LLAMA, REASONING = "A llama.cpp server", "Reasoning channels"
TOOLS, GUARDED, INFO = "Tool calls", "A function that a model calls", "SupervisionInfo"
BY_URL, BY_STRATEGY, BY_LIBRARY = "For one request", "Strategies", "Calls made by a library"


def test_no_block_is_left_out():
    pairs = [*PAIRS, LLAMA, REASONING, GUARDED]
    shown = [code for heading in (*pairs, TOOLS, INFO, BY_URL, BY_STRATEGY, BY_LIBRARY) for code in blocks(heading)]
    assert sorted(shown) == sorted(everything("python"))
    for heading in pairs:
        before, after = blocks(heading)
        assert before.startswith("# before")
        assert after.startswith("# after")


@pytest.mark.parametrize("heading", PAIRS)
def test_before_and_after(heading, serve, tmp_path):
    if heading == "An agent library":
        pytest.importorskip("agents", reason="openai-agents is not installed")
    before, after = blocks(heading)
    assert run(before, tmp_path, serve(mistaken).base_url).rstrip() == BARE.rstrip()
    shown = run(after, tmp_path, serve(mistaken).base_url)
    assert SOUND in shown
    assert "result.status" not in after or shown.endswith("\nverified\n")


def test_reasoning(serve, tmp_path):
    before, after = blocks(REASONING)
    assert run(before, tmp_path, serve(thinking).base_url) == f"{BARE}So it is."
    shown = run(after, tmp_path, serve(thinking).base_url)
    assert SOUND in shown
    assert shown.endswith("So it is.verified\n")


def at(code, url):
    assert "http://localhost:8080/v1" in code
    return code.replace("http://localhost:8080/v1", url)


def test_a_server_that_continues_the_turn(serve, tmp_path):
    before, after = blocks(LLAMA)
    server = serve(mistaken, owned_by="llamacpp")
    assert run(at(before, server.base_url), tmp_path).rstrip() == BARE.rstrip()
    server = serve(mistaken, owned_by="llamacpp")
    assert run(at(after, server.base_url), tmp_path) == f"{SOUND}\nverified prefill\n"
    assert server.posts[-1].json["continue_final_message"] is True


@pytest.mark.slow
@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="not installed: xllamacpp (extra 'local')")
def test_a_real_llama_cpp_server(tmp_path):
    from anyio.from_thread import start_blocking_portal
    from tests.local.llamacpp import llama_server

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(llama_server()) as server:
        for code in blocks(LLAMA):
            shown = run(at(code, f"{server.url}/v1").replace('"none"', repr(server.api_key)), tmp_path)
            assert shown.strip()
        assert set(shown.split()) & {"verified", "unverified", "abstained"}


def test_keeping_the_trace(serve, tmp_path):
    stream = blocks("Chat")[1].partition("for chunk in stream")[0]
    [keeping] = blocks(INFO)
    script = f"{stream}\n{keeping}\nprint(trace, chunk.interwhen.result.text == trace)"
    assert run(script, tmp_path, serve(mistaken).base_url) == f"{SOUND} True\n"


def test_a_strategy(serve, tmp_path):
    def script(request):
        return events([SOUND if request.number == 2 else BARE], api="chat")

    [code] = blocks(BY_STRATEGY)
    assert run(code, tmp_path, serve(script).base_url) == f"{SOUND}\nverified 4\n"


def test_calls_made_by_a_library(serve, tmp_path):
    [code] = blocks(BY_LIBRARY)
    # The callback has a thread of its own, so it writes to the log: prints of two threads would mix within a line.
    first, second = run(code, tmp_path, serve(mistaken).base_url).splitlines()
    assert first == "answer verified ['17 × 24 is not 418']"
    assert second.startswith("wrap 'my-model': answer verified, ")
    assert "1 violations: arithmetic: 17 × 24 is not 418 (repair)" in second


def test_a_guarded_function(tmp_path):
    [monitor] = blocks(TOOLS)
    (tmp_path / monitor.split("\n")[0].removeprefix("# ")).write_text(monitor)
    before, after = blocks(GUARDED)
    assert run(before, tmp_path) == "deleted notes.txt\n"
    assert run(after, tmp_path) == "The call of delete_file was not made: nothing may be deleted here.\n"
