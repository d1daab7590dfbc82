"""Restore a prefix or read it again: the formula with given rates, and the rates of a server whose times are known."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.models import ModelError
from interwhen.models._prefix_rates import PrefixRates, measure_prefix_rates

pytestmark = pytest.mark.anyio
RATES = PrefixRates(prefill=1000.0, restored=1e6, token_bytes=500.0, restore=0.01)


@pytest.mark.parametrize(("tokens", "pays"), [(1, False), (19, False), (21, True), (4000, True)])
def test_moving_states_pays_only_above_break_even_length(tokens, pays):
    assert RATES.break_even == pytest.approx(20.0)
    assert RATES.pays(tokens) is pays


def test_a_slow_disk_never_pays():
    slow = RATES._replace(restored=4e5)
    assert slow.break_even is None
    assert not slow.pays(10**9)


@given(st.builds(PrefixRates, *[st.floats(1e-3, 1e9)] * 3, st.floats(0.0, 10.0)), st.integers(1, 10**6))
def test_the_choice_and_the_break_even_length_agree(rates, tokens):
    least = rates.break_even
    if least is None or tokens < least * (1 - 1e-6):
        assert not rates.pays(tokens)
    elif tokens > least * (1 + 1e-6) and least > 0:
        assert rates.pays(tokens) or rates.token_bytes / rates.restored * rates.prefill > 1 - 1e-6


class Server:
    """A llama.cpp server that reads a character in *character* ms, and restores 100 bytes of it in 10 ms + *byte* s a byte."""

    def __init__(self, character=1.0, byte=1e-6):
        self.now, self.size, self.paths = 0.0, 0, set()
        self.character, self.byte = character, byte

    async def exchange(self, method, path, body):
        told = json.loads(body)
        self.paths.add(path)
        if path == "/completion":
            assert told["cache_prompt"] is False
            self.size = len(told["prompt"])
            self.now += 99  # the clock of the client does not count for what the server measures itself
            return json.dumps(
                {"timings": {"prompt_n": self.size, "prompt_ms": 5 + self.character * self.size}}
            ).encode()
        assert told == {"filename": "a.kv"}
        if path.endswith("save"):
            return json.dumps({"n_saved": self.size, "n_written": 100 * self.size}).encode()
        self.now += 0.01 + self.byte * 100 * self.size
        return b"{}"


@pytest.mark.parametrize("context", [64, 4096])
async def test_the_rates_of_a_server_are_measured(context):
    server = Server()
    rates = await measure_prefix_rates(server.exchange, slot=1, context=context, file="a.kv", clock=lambda: server.now)
    assert rates == pytest.approx(PrefixRates(prefill=1000.0, restored=1e6, token_bytes=100.0, restore=0.01))
    assert server.paths == {"/completion", "/slots/1?action=save", "/slots/1?action=restore"}


@pytest.mark.parametrize("context", [64])
async def test_a_restore_independent_of_size_has_infinite_rate(context):
    server = Server(byte=0.0)
    rates = await measure_prefix_rates(server.exchange, slot=1, context=context, file="a.kv", clock=lambda: server.now)
    assert rates.restored == math.inf
    assert rates.break_even == pytest.approx(10.0)
    assert (rates.pays(9), rates.pays(11)) == (False, True)


async def test_reading_longer_prompts_faster_requires_measuring_again():
    server = Server(character=-0.001)
    with pytest.raises(ModelError, match="measure again when the server is idle"):
        await measure_prefix_rates(server.exchange, slot=1, context=4096, file="a.kv", clock=lambda: server.now)
