"""A connection that breaks at every token and at every byte of an event, through whole runs."""

import pytest
from interwhen.models import Retries
from interwhen.testing._server_script import rest_of
from interwhen.testing.server import Disconnect, Head, Reset, ScriptedTransport, Send, events
from tests.virtual_clock import virtual_backend
from wire_cases import STORY, WHOLE, open_model, supervised

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return virtual_backend()


@pytest.mark.fault("W18", injected="a reset or close at every byte of a stream", happens="resumed; the text is whole")
@pytest.mark.parametrize(("api", "last"), [("completions", Reset()), ("chat", Disconnect())], ids=["reset", "close"])
async def test_wherever_it_breaks_the_text_is_whole(api, last, record_property):
    body = b"".join(step.data for step in events(STORY, api=api))
    stop = len(body) - len(b"data: [DONE]\n\n")
    for size in range(len(body)):

        def script(request, size=size):
            if request.number == 0:
                return (Send(body[:size]), last) if size else (Head(), last)
            return events(rest_of(STORY, request.kept), api=api)

        transport = ScriptedTransport(script)
        run, shown = await supervised(open_model(api, "http://h/v1", transport=transport, retries=Retries(base=0.0)))
        result = run.result
        assert (shown, result.status, result.text) == (WHOLE, "verified", WHOLE), size
        # Once the model has said that it is done, only the end mark is lost.
        assert result.ledger.reconnects == (0 if size >= stop else 1), size
        assert transport.open_responses == 0
    record_property("tries", len(body))


def test_a_storys_rest_begins_where_kept_text_ends():
    for at in range(len(WHOLE) + 1):
        assert "".join(rest_of(STORY, "a prompt " + WHOLE[:at])) == WHOLE[at:]
    assert rest_of(STORY, "something else") == STORY
    assert rest_of(STORY, WHOLE[:3]) == (WHOLE[3:6], *STORY[1:])
