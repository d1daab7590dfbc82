"""The policies of tau-bench as rules: sentence by sentence, and on recorded runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from interwhen import Message, Monitor, Pass, Segment, Span, Task, ToolCall, Tracker, Unknown, Verdict, Violation
from interwhen.policy import read_policy
from interwhen.policy._admission import replay, run_of
from tests.public_sets import FOLDER, needs

import interwhen_verifiers
from interwhen_verifiers.tool_policy import tool_policy
from interwhen_verifiers.traces.tools import tau_bench

DATA = FOLDER / "tau_bench"
needs_data = needs("tau_bench")


def verdicts(monitor: Monitor, prompt: Any, calls: Iterable[ToolCall]) -> list[Verdict]:
    assert monitor.prepare is not None
    assert isinstance(monitor.extractor, Tracker)
    prepared = monitor.prepare(Task(prompt))
    state, judged, at = monitor.extractor.start(prepared), [], 0
    for call in calls:
        segment = Segment(call.text, Span(at, at + len(call.text)), "answer", call)
        at = segment.span.end
        state, claims = monitor.extractor.step(state, segment)
        judged += [monitor.verifier.check(claim, prepared) for claim in claims]  # type: ignore[call-arg]
    return judged  # type: ignore[return-value]


def conversation(*results: tuple[str, dict[str, Any], Any], last: str = "Yes, please.") -> tuple[Message, ...]:
    said = [Message("user", "Hi, I have a request."), Message("assistant", "Sure.")]
    for number, (name, arguments, result) in enumerate(results):
        said.append(Message("assistant", "", (ToolCall(str(number), name, json.dumps(arguments)),)))
        said.append(Message("tool", result if isinstance(result, str) else json.dumps(result), call_id=str(number)))
    return (*said, Message("assistant", "I would do this: ... Shall I?"), Message("user", last))


def reservation(**changes: Any) -> tuple[str, dict[str, Any], Any]:
    record = {
        "reservation_id": "R1",
        "user_id": "u",
        "origin": "AAA",
        "destination": "CCC",
        "flight_type": "round_trip",
        "cabin": "economy",
        "flights": [
            {"origin": "AAA", "destination": "CCC", "flight_number": "F1", "date": "2024-05-20", "price": 100},
            {"origin": "CCC", "destination": "AAA", "flight_number": "F2", "date": "2024-05-25", "price": 100},
        ],
        "passengers": [{"first_name": "A"}, {"first_name": "B"}],
        "created_at": "2024-05-01T10:00:00",
        "total_baggages": 2,
        "nonfree_baggages": 0,
        "insurance": "no",
        **changes,
    }
    return "get_reservation_details", {"reservation_id": "R1"}, record


USER = (
    "get_user_details",
    {"user_id": "u"},
    {
        "membership": "regular",
        "payment_methods": {
            "gift_card_1": {"source": "gift_card", "amount": 90, "id": "gift_card_1"},
            "credit_card_1": {"source": "credit_card", "id": "credit_card_1"},
            "certificate_1": {"source": "certificate", "amount": 100, "id": "certificate_1"},
        },
        "reservations": ["R1"],
    },
)
SEARCH = (
    "search_direct_flight",
    {"origin": "AAA", "destination": "CCC", "date": "2024-05-21"},
    [
        {
            "flight_number": "F3",
            "origin": "AAA",
            "destination": "CCC",
            "status": "available",
            "prices": {"economy": 150},
        },
        {
            "flight_number": "F4",
            "origin": "AAA",
            "destination": "DDD",
            "status": "available",
            "prices": {"economy": 120},
        },
        {"flight_number": "F5", "origin": "AAA", "destination": "CCC", "status": "delayed"},
    ],
)
F1, F2, F3 = (
    {"flight_number": f"F{n}", "date": date} for n, date in ((1, "2024-05-20"), (2, "2024-05-25"), (3, "2024-05-21"))
)


def airline(name: str, arguments: dict[str, Any], *results: Any, last: str = "Yes, please.") -> Verdict:
    prompt = conversation(*results, last=last)
    (verdict,) = verdicts(tool_policy(policy="airline"), prompt, [ToolCall("c", name, json.dumps(arguments))])
    return verdict


def change(flights: list[dict[str, str]], payment: str = "credit_card_1", cabin: str = "economy") -> dict[str, Any]:
    return {"reservation_id": "R1", "cabin": cabin, "flights": flights, "payment_id": payment}


CANCEL = {"reservation_id": "R1"}
BROKEN_AIRLINE = [
    ("cancel_reservation", CANCEL, [reservation()], "has no travel insurance"),
    ("cancel_reservation", CANCEL, [reservation(cabin="basic_economy")], "is not in business"),
    (
        "cancel_reservation",
        CANCEL,
        [reservation(cabin="business", flights=[{"flight_number": "F1", "date": "2024-05-14"}])],
        "has been flown",
    ),
    (
        "update_reservation_flights",
        change([F3, F2]),
        [reservation(cabin="basic_economy"), USER, SEARCH],
        "basic economy",
    ),
    ("update_reservation_flights", change([F1]), [reservation(), USER], "leaves out flights"),
    (
        "update_reservation_flights",
        change([{"flight_number": "F4", "date": "2024-05-21"}, F2]),
        [reservation(), USER, SEARCH],
        "change the origin, the destination",
    ),
    (
        "update_reservation_flights",
        change([{"flight_number": "F5", "date": "2024-05-21"}, F2]),
        [reservation(), USER, SEARCH],
        "cannot be booked",
    ),
    ("update_reservation_flights", change([F3, F2], "certificate_1"), [reservation(), USER, SEARCH], "by certificate"),
    (
        "update_reservation_flights",
        change([F3, F2], "credit_card_9"),
        [reservation(), USER, SEARCH],
        "not in the user's",
    ),
    ("update_reservation_flights", change([F3, F2], "gift_card_1"), [reservation(), USER, SEARCH], "not enough left"),
    (
        "update_reservation_baggages",
        {"reservation_id": "R1", "total_baggages": 1, "nonfree_baggages": 0, "payment_id": "gift_card_1"},
        [reservation()],
        "cannot be removed",
    ),
    (
        "update_reservation_passengers",
        {"reservation_id": "R1", "passengers": [{"first_name": "A"}]},
        [reservation()],
        "number of passengers",
    ),
    ("send_certificate", {"user_id": "u", "amount": 100}, [reservation(), USER], "not eligible"),
]


@pytest.mark.parametrize(("name", "arguments", "results", "why"), BROKEN_AIRLINE)
def test_violating_airline_calls_are_refuted(
    name: str, arguments: dict[str, Any], results: list[Any], why: str
) -> None:
    verdict = airline(name, arguments, *results)
    assert isinstance(verdict, Violation)
    assert why in verdict.why


KEPT_AIRLINE = [
    ("cancel_reservation", CANCEL, [reservation(cabin="business")]),
    ("cancel_reservation", CANCEL, [reservation(created_at="2024-05-15T01:00:00")]),
    ("update_reservation_flights", change([F3, F2]), [reservation(), USER, SEARCH]),
    ("update_reservation_passengers", {"reservation_id": "R1", "passengers": [{}, {}]}, [reservation()]),
    ("get_reservation_details", CANCEL, []),
    (
        "update_reservation_flights",
        change([F1, F2], cabin="business"),
        [reservation(cabin="basic_economy"), USER],
    ),
]


@pytest.mark.parametrize(("name", "arguments", "results"), KEPT_AIRLINE)
def test_compliant_airline_calls_are_not_refuted(name: str, arguments: dict[str, Any], results: list[Any]) -> None:
    assert not isinstance(airline(name, arguments, *results), Violation)


def test_missing_information_is_unknown() -> None:
    assert isinstance(airline("cancel_reservation", CANCEL), Unknown)
    assert isinstance(airline("cancel_reservation", CANCEL, reservation(insurance="yes")), Unknown)
    changed = ("update_reservation_flights", change([F1, F2], cabin="business"), "Error: not enough seats")
    assert isinstance(airline("cancel_reservation", CANCEL, reservation(), changed), Violation)


def test_upgrade_counts_despite_stale_tool_result() -> None:
    upgraded = ("update_reservation_flights", change([F1, F2], cabin="business"), reservation()[2])
    assert not isinstance(airline("cancel_reservation", CANCEL, reservation(), upgraded), Violation)


def test_user_without_consent_has_not_agreed() -> None:
    verdict = airline("cancel_reservation", CANCEL, reservation(cabin="business"), last="Hmm, no. Never mind!")
    assert isinstance(verdict, Violation)
    assert "not explicitly confirmed" in verdict.why
    for last in ("Yes!", "Go ahead.", "that works for me", "はい、お願いします"):
        assert not isinstance(
            airline("cancel_reservation", CANCEL, reservation(cabin="business"), last=last), Violation
        )
    at_once = (Message("user", "Cancel R1."), Message("assistant", "One moment."))
    (first,) = verdicts(
        tool_policy(policy="airline"), at_once, [ToolCall("c", "cancel_reservation", json.dumps(CANCEL))]
    )
    assert isinstance(first, Violation)
    assert "was not told" in first.why


def order(**changes: Any) -> tuple[str, dict[str, Any], Any]:
    record = {
        "order_id": "#W1",
        "user_id": "u",
        "status": "delivered",
        "items": [{"name": "Mug", "product_id": "P", "item_id": "1", "price": 10.0}],
        "payment_history": [{"transaction_type": "payment", "amount": 10.0, "payment_method_id": "credit_card_1"}],
        **changes,
    }
    return "get_order_details", {"order_id": "#W1"}, record


FOUND = ("find_user_id_by_email", {"email": "a@b.c"}, "u")
SHOPPER = (
    "get_user_details",
    {"user_id": "u"},
    {
        "payment_methods": {
            "gift_card_1": {"source": "gift_card", "balance": 3, "id": "gift_card_1"},
            "paypal_1": {"source": "paypal", "id": "paypal_1"},
            "credit_card_1": {"source": "credit_card", "id": "credit_card_1"},
        }
    },
)
PRODUCT = (
    "get_product_details",
    {"product_id": "P"},
    {
        "product_id": "P",
        "variants": {
            "1": {"item_id": "1", "available": True, "price": 10.0},
            "2": {"item_id": "2", "available": True, "price": 15.0},
            "3": {"item_id": "3", "available": False, "price": 10.0},
        },
    },
)


def retail(name: str, arguments: dict[str, Any], *results: Any) -> Verdict:
    prompt = conversation(*results)
    call = ToolCall("c", name, json.dumps({"order_id": "#W1", **arguments}))
    (verdict,) = verdicts(tool_policy(policy="retail"), prompt, [call])
    return verdict


def swap(new: str, payment: str = "credit_card_1") -> dict[str, Any]:
    return {"item_ids": ["1"], "new_item_ids": [new], "payment_method_id": payment}


KNOWN = (FOUND, order(), SHOPPER, PRODUCT)
BROKEN_RETAIL = [
    ("cancel_pending_order", {"reason": "no longer needed"}, KNOWN, "cannot be cancelled"),
    ("cancel_pending_order", {"reason": "too dear"}, (FOUND, order(status="pending")), "no reason for a cancellation"),
    ("cancel_pending_order", {"reason": "no longer needed"}, (order(status="pending"),), "has not been authenticated"),
    (
        "cancel_pending_order",
        {"reason": "no longer needed"},
        (FOUND, order(status="pending", user_id="v")),
        "another user",
    ),
    (
        "exchange_delivered_order_items",
        swap("2"),
        (FOUND, order(status="processed"), SHOPPER, PRODUCT),
        "cannot be returned",
    ),
    ("exchange_delivered_order_items", swap("9"), KNOWN, "not of the same product"),
    ("exchange_delivered_order_items", swap("3"), KNOWN, "not available"),
    ("exchange_delivered_order_items", swap("2", "gift_card_1"), KNOWN, "not enough left"),
    ("exchange_delivered_order_items", swap("2", "gift_card_9"), KNOWN, "not in the user's profile"),
    ("return_delivered_order_items", {"item_ids": ["1"], "payment_method_id": "paypal_1"}, KNOWN, "a refund must go"),
    (
        "return_delivered_order_items",
        {"item_ids": ["8"], "payment_method_id": "credit_card_1"},
        KNOWN,
        "not in this order",
    ),
    (
        "modify_pending_order_payment",
        {"payment_method_id": "credit_card_1"},
        (FOUND, order(status="pending"), SHOPPER),
        "original payment method",
    ),
    ("cancel_pending_order", {"reason": "no longer needed"}, (FOUND,), "was not checked"),
]


@pytest.mark.parametrize(("name", "arguments", "results", "why"), BROKEN_RETAIL)
def test_violating_retail_calls_are_refuted(name: str, arguments: dict[str, Any], results: Any, why: str) -> None:
    verdict = retail(name, arguments, *results)
    assert isinstance(verdict, Violation)
    assert why in verdict.why


KEPT_RETAIL = [
    ("cancel_pending_order", {"reason": "no longer needed"}, (FOUND, order(status="pending"))),
    ("exchange_delivered_order_items", swap("2"), KNOWN),
    ("return_delivered_order_items", {"item_ids": ["1"], "payment_method_id": "gift_card_1"}, KNOWN),
    ("return_delivered_order_items", {"item_ids": ["1"], "payment_method_id": "credit_card_1"}, KNOWN),
]


@pytest.mark.parametrize(("name", "arguments", "results"), KEPT_RETAIL)
def test_compliant_retail_calls_pass(name: str, arguments: dict[str, Any], results: Any) -> None:
    assert isinstance(retail(name, arguments, *results), Pass)


def flagged(monitor: Monitor, file: str) -> tuple[Counter[str], Counter[str], list[str]]:
    traces, hits, false = Counter[str](), Counter[str](), []
    for trace in tau_bench(DATA / file):
        kind = "gold" if trace.name.startswith("gold-") else "run"
        traces[f"{kind} {trace.label}"] += 1
        judged = [verdict for turn in trace.turns for verdict in verdicts(monitor, turn.prompt, turn.calls)]
        if any(isinstance(verdict, Violation) for verdict in judged):
            hits[f"{kind} {trace.label}"] += 1
            if trace.label == "right":
                false.append(trace.name)
    return traces, hits, false


@needs_data
@pytest.mark.parametrize("state", [None, "env_airline"])
def test_airline_flags_meet_the_recorded_bars(state: str | None) -> None:
    monitor = tool_policy(policy="airline", state=str(DATA / state) if state else None)
    traces, hits, false = flagged(monitor, "airline_gpt4o.jsonl.gz")
    assert false == []
    if state:
        assert hits["run wrong"] >= 0.4 * traces["run wrong"]


@needs_data
def test_right_retail_runs_are_flagged_only_for_slips() -> None:
    monitor = tool_policy(policy="retail", state=str(DATA / "env_retail"))
    _, hits, false = flagged(monitor, "retail_grok3.jsonl.gz")
    # A call without new items, which the shop refused, and two gold calls that the shop refuses, too.
    assert sorted(false) == ["gold-retail-13", "gold-retail-64", "tau1-retail-grok3-31"]
    assert hits["run wrong"] >= 2


def test_gift_card_is_judged_by_its_recorded_balance() -> None:
    card = {"source": "gift_card", "balance": 20.0, "id": "gift_card_1"}
    user = ("get_user_details", {"user_id": "u"}, {"payment_methods": {"gift_card_1": card}, "orders": ["#W1"]})
    order = (
        "get_order_details",
        {"order_id": "#W1"},
        {
            "order_id": "#W1",
            "user_id": "u",
            "status": "pending",
            "items": [{"name": "Mug", "product_id": "P", "item_id": "1", "price": 30.0}],
            "payment_history": [{"transaction_type": "payment", "amount": 30.0, "payment_method_id": "paypal_1"}],
        },
    )
    lookup = ("find_user_id_by_email", {"email": "a@example.org"}, "u")
    arguments = {"order_id": "#W1", "payment_method_id": "gift_card_1"}
    call = ToolCall("c", "modify_pending_order_payment", json.dumps(arguments))
    (verdict,) = verdicts(tool_policy(policy="retail"), conversation(lookup, user, order), [call])
    assert isinstance(verdict, Violation)
    assert verdict.why == "this gift card has not enough left for the total"
    card["balance"] = 30.0
    (verdict,) = verdicts(tool_policy(policy="retail"), conversation(lookup, user, order), [call])
    assert isinstance(verdict, Pass)


@pytest.mark.parametrize(
    ("policy", "reading", "changing"),
    [
        ("retail", "get_order_details", "cancel_pending_order"),
        ("airline", "get_user_details", "cancel_reservation"),
    ],
)
def test_parallel_calls_need_to_be_read_only(policy: str, reading: str, changing: str) -> None:
    monitor = tool_policy(policy=policy)
    calls = [ToolCall(str(number), reading, json.dumps({"order_id": "#W1", "user_id": "u"})) for number in range(3)]
    assert not any(isinstance(verdict, Violation) for verdict in verdicts(monitor, "Hi.", calls))
    last = verdicts(monitor, "Hi.", [*calls, ToolCall("9", changing, json.dumps({"order_id": "#W1", "reason": "x"}))])[
        -1
    ]
    assert isinstance(last, Violation)
    assert "only one tool call may be made at a time" in last.why


@needs_data
@pytest.mark.parametrize("policy", ["airline", "retail"])
def test_every_rule_field_occurs_in_recorded_results(policy: str) -> None:
    (path,) = DATA.glob(f"{policy}_*.jsonl.gz")
    folder = Path(interwhen_verifiers.__file__).parent / "policies" / policy
    runs = [(*trace.turns[-1].prompt, Message("assistant", "", trace.turns[-1].calls)) for trace in tau_bench(path)]
    replayed = replay(read_policy(folder), [run_of(run) for run in runs])
    assert replayed.results > 100
    assert replayed.unseen == {}
    assert not {"gift-card-covers-the-difference", "gift-card-covers-the-change"} & set(replayed.undecided)
