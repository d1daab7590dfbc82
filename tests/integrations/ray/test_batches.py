"""Answers for the rows of a Ray dataset: one result for each row, in its order, and a failed row stops no other one."""

from contextlib import contextmanager

import pytest
from anyio.from_thread import start_blocking_portal
from interwhen import UsageError
from interwhen.integrations.ray import map_batches
from interwhen.integrations.ray._batches import COLUMNS, SupervisedBatches
from interwhen.testing.server import Disconnect, Head, ScriptedServer, Send, events


def doubling(request):
    is_chat = "messages" in request.json
    text = request.json["messages"][-1]["content"] if is_chat else request.json["prompt"]
    if text == "Refuse.":
        return [Head(400, headers={"content-length": "2"}), Send(b"{}"), Disconnect()]
    number = int(text.split()[1].rstrip("."))
    return [
        Head(),
        *events(
            [f"2 * {number} =", f" {2 * number}\n", f"Answer: {2 * number}"], api="chat" if is_chat else "completions"
        ),
    ]


@contextmanager
def serving():
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(ScriptedServer(doubling)) as server:
        yield server.base_url


class Rows:
    """A dataset of one batch, which calls the class that it is given as Ray Data does."""

    def __init__(self, batch):
        self.batch = batch

    def map_batches(self, made, *, fn_constructor_args, fn_constructor_kwargs, batch_size, concurrency):
        self.asked = batch_size, concurrency
        return made(*fn_constructor_args, **fn_constructor_kwargs)(self.batch)


def test_each_row_gets_its_result_in_order():
    rows = Rows({"prompt": [f"Double {number}." for number in range(20)], "id": list(range(20))})
    with serving() as url:
        results = map_batches(rows, url, model="m", monitors=["arithmetic"], batch_size=20, actors=3)
    assert rows.asked == (20, 3)
    assert results["id"] == list(range(20))
    assert [text.rpartition(" ")[2] for text in results["text"]] == [str(2 * number) for number in range(20)]
    assert set(results) == {"prompt", "id", *COLUMNS}
    assert set(results["status"]) <= {"verified", "unverified"}
    assert all(results["tokens"])


def test_completions_prompt_is_continued():
    with serving() as url:
        batch = SupervisedBatches(url, "m", api="completions")({"prompt": ["Double 4."]})
    assert batch["text"] == ["2 * 4 = 8\nAnswer: 8"]


def test_failed_row_gives_reason_and_stops_no_other():
    with serving() as url:
        batch = SupervisedBatches(url, "m")({"prompt": ["Double 1.", "Refuse.", "Double 2."]})
    assert [status == "failed" for status in batch["status"]] == [False, True, False]
    assert "400" in batch["why"][1]


def test_invalid_arguments_are_refused_before_actors_start():
    rows = Rows({"question": ["x"]})
    with pytest.raises(UsageError, match="no_such"):
        map_batches(rows, "http://a/v1", model="m", monitors=["no_such"])
    with pytest.raises(UsageError, match="actors must be a whole number of at least 1"):
        map_batches(rows, "http://a/v1", model="m", actors=0)
    with pytest.raises(UsageError, match=r"'prompt'.*question"):
        map_batches(rows, "http://a/v1", model="m")
