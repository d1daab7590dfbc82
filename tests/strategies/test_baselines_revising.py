"""Sequential revision: the feedback and its level, when it stops, and when it gives up."""

import pytest
from interwhen import Message
from interwhen.models import ContextOverflow
from interwhen.strategies import Revision
from tests.strategies.worlds import PLAIN, RIGHT, WRONG, question, telling, try_out, writer

pytestmark = pytest.mark.anyio

CHAT = (Message("user", "Two and two?"),)


def once_told(request):
    return RIGHT if len(request.prompt) > 1 else WRONG


async def test_what_is_wrong_is_said_and_the_question_asked_again():
    model = writer(once_told)
    found = await try_out(Revision(), model, question=question(prompt=CHAT))
    assert (found.status, found.answer) == ("verified", "4")
    assert found.ledger.total_tokens == len(WRONG + RIGHT)
    assert (found.ledger.kept, found.ledger.discarded) == (len(RIGHT), len(WRONG))
    again = model.requests[1].prompt
    assert again[:2] == (*CHAT, Message("assistant", WRONG))
    assert again[2].content.startswith("Wait, 2 + 2 is 4, not 5.\nWork it out again")


async def test_no_more_is_told_than_the_level_allows():
    model = writer(once_told)
    await try_out(Revision(), model, question=question(prompt=CHAT, monitors=("arithmetic:level=flag",)))
    told = model.requests[1].prompt[2].content
    assert told.startswith("Wait, something above is not right.")
    assert "4" not in told


async def test_a_text_prompt_is_gone_on_with():
    model = telling(WRONG, RIGHT)
    found = await try_out(Revision(), model)
    assert found.answer == "4"
    assert model.requests[1].prompt == f"Two and two?\n{WRONG}\n\nWait, 2 + 2 is 4, not 5.\n{tail()}\n\n"


def tail():
    return "Work it out again from the start, and give the whole solution."


async def test_nothing_is_said_where_it_is_to_say_nothing():
    model = telling(WRONG, WRONG, RIGHT)
    found = await try_out(Revision("generate-test", tell=False), model)
    assert (found.status, len(model.requests)) == ("verified", 3)
    assert {request.prompt for request in model.requests} == {"Two and two?\n"}


async def test_what_cannot_be_judged_stands_and_is_not_verified():
    found = await try_out(Revision(), telling(PLAIN))
    assert (found.status, found.answer, found.ledger.requests) == ("unverified", "4", 1)


async def test_it_gives_up_where_all_is_refuted():
    found = await try_out(Revision(), telling(WRONG), budget=4 * len(WRONG))
    assert (found.status, found.answer) == ("abstained", None)
    assert found.why == "each text was refuted, or gave no answer"
    assert found.text == WRONG


async def test_a_text_without_an_end_is_no_solution():
    model = writer(lambda request: RIGHT if "no answer" in str(request.prompt) else "2 + 2 = 4\n" * 20)
    found = await try_out(Revision(), model)
    assert (found.status, len(model.requests)) == ("verified", 2)


async def test_a_text_without_an_answer_is_no_solution():
    found = await try_out(Revision(), telling("2 + 2 = 4\nWell.", RIGHT))
    assert (found.status, found.ledger.requests) == ("verified", 2)


async def test_it_gives_up_where_the_story_outgrows_the_context():
    def choose(request):
        if len(str(request.prompt)) > 200:
            raise ContextOverflow("the prompt is too long", status=400)
        return WRONG

    found = await try_out(Revision(), writer(choose), question=question(prompt=CHAT))
    assert (found.status, found.why) == ("abstained", "the prompt is too long")
    assert found.ledger.total_tokens == len(WRONG)
