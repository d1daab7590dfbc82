"""The airline policy of tau-bench (sierra-research/tau-bench, MIT), as rules.

Each rule names the sentence of the policy that it enforces. What the policy leaves to judgement (whether a request can
be handled, whether a reason counts) is no rule here, or is ``Unknown``.
"""

from __future__ import annotations

import datetime as dt
import re

from interwhen import Pass, Unknown, Verdict, Violation

from interwhen_verifiers.policies import _airline_facts as facts
from interwhen_verifiers.policies import _conversation as talk
from interwhen_verifiers.policies._airline_facts import Reservation
from interwhen_verifiers.policies._airline_state import Airline, advance, begin, load
from interwhen_verifiers.tool_policy import Call, Policy

POLICY: Policy[Airline] = Policy("tau_airline", begin=begin, advance=advance, load=load)

CHANGES = (
    "book_reservation",
    "update_reservation_flights",
    "update_reservation_baggages",
    "update_reservation_passengers",
    "cancel_reservation",
)
_AIRLINE_CANCELLED = re.compile(r"\bcancel?led\b|\bcancell?ation by\b", re.IGNORECASE)


def _now(call: Call[Airline]) -> dt.datetime:
    return call.state.now


def _reservation(call: Call[Airline]) -> Reservation | None:
    return call.state.reservations.get(str(call["reservation_id"])) or None


_UNSEEN = Unknown("what this reservation holds now is not known")


@POLICY.before(says="You should only make one tool call at a time.")
def one_call_at_a_time(call: Call[Airline]) -> Verdict | None:
    """One call a turn."""
    return talk.one_at_a_time(call)


@POLICY.before(
    *CHANGES,
    says="Before taking any actions that update the booking database, you must list the action details and obtain "
    "explicit "
    "user confirmation (yes) to proceed.",
)
def confirmed_by_the_user(call: Call[Airline]) -> Verdict | None:
    """An action was put to the user, and they agreed."""
    return talk.confirmed(call)


@POLICY.before(
    "cancel_reservation",
    says="All reservations can be cancelled within 24 hours of booking, or if the airline cancelled the flight. "
    "Otherwise, "
    "basic economy or economy flights can be cancelled only if travel insurance is bought and the condition is met, "
    "and "
    "business flights can always be cancelled.",
)
def may_be_cancelled(call: Call[Airline]) -> Verdict | None:
    """A reservation is cancelled only where the policy lets it be."""
    reservation = _reservation(call)
    if reservation is None:
        return _UNSEEN
    if reservation.get("cabin") == "business":
        return Pass("business flights can always be cancelled")
    created = facts.time(reservation.get("created_at"))
    if created is None:
        return Unknown("the reservation does not say when it was made")
    if _now(call) - created <= dt.timedelta(hours=24):
        return Pass("it was booked within 24 hours")
    statuses = [call.state.status(flight) for flight in reservation.get("flights") or ()]
    if "cancelled" in statuses:
        return Pass("the airline cancelled a flight of it")
    heard = " ".join(call.history.texts("user"))
    if None in statuses and _AIRLINE_CANCELLED.search(heard):
        return Unknown("the airline may have cancelled a flight of it")
    cabin = str(reservation.get("cabin", "")).replace("_", " ")
    if reservation.get("insurance") == "yes":
        return Unknown("it is insured; whether the reason is one of health or weather is not judged here")
    return Violation(
        why=f"this {cabin} reservation was booked more than 24 hours ago, has no travel insurance, and no flight of "
        f"it was "
        "cancelled by the airline, so it cannot be cancelled",
        witness=f"cabin {cabin}, created {created.isoformat()}, insurance {reservation.get('insurance')}",
    )


@POLICY.before(
    "cancel_reservation",
    says="The agent can only cancel the whole trip that is not flown. If any of the segments are already used, the "
    "agent "
    "cannot help and transfer is needed.",
)
def is_not_flown(call: Call[Airline]) -> Verdict | None:
    """Nothing is cancelled that has been flown in part."""
    reservation = _reservation(call)
    if reservation is None:
        return _UNSEEN
    for flight in reservation.get("flights") or ():
        status, date = call.state.status(flight), str(flight.get("date", ""))
        used = status in ("landed", "flying") or (status is None and "" < date < _now(call).date().isoformat())
        if used:
            return Violation(
                why="a segment of this trip has been flown, so it cannot be cancelled",
                witness=f"flight {flight.get('flight_number')} on {date} has taken off",
            )
    return Pass("no segment is known to be flown")


@POLICY.before("update_reservation_flights", says="Basic economy flights cannot be modified.")
def basic_economy_stays(call: Call[Airline]) -> Verdict | None:
    """The flights of a basic economy reservation stay what they are; its cabin may change."""
    reservation = _reservation(call)
    if reservation is None:
        return _UNSEEN
    if reservation.get("cabin") != "basic_economy":
        return Pass(f"the cabin is {reservation.get('cabin')}")
    if facts.pairs(call["flights"]) == facts.pairs(reservation.get("flights")):
        return Pass("its flights stay the same")
    return Violation(
        why="the flights of a basic economy reservation cannot be changed",
        witness="its cabin is basic economy, and this call changes its flights",
    )


@POLICY.before(
    "update_reservation_flights",
    says="Other reservations can be modified without changing the origin, destination, and trip type.",
)
def same_trip(call: Call[Airline]) -> Verdict | None:
    """Origin, destination and trip type stay."""
    reservation = _reservation(call)
    if reservation is None:
        return _UNSEEN
    flights, round_trip = facts.pairs(call["flights"]), reservation.get("flight_type") == "round_trip"
    if len(flights) < (2 if round_trip else 1):
        return Violation(
            why="this call leaves out flights of the trip, which changes its type",
            witness=f"a {'round' if round_trip else 'one-way'} trip cannot have {len(flights)} flights: all "
            f"segments must be "
            "in the call",
        )
    legs = [call.state.leg(number) or facts.leg_of(reservation, number) for number, _ in flights]
    if any(leg is None for leg in legs):
        return Unknown("where one of these flights goes is not known")
    home, away = reservation.get("origin"), reservation.get("destination")
    stops = [legs[0][0], *(leg[1] for leg in legs)]  # type: ignore[index]
    joined = all(leg[0] == stop for leg, stop in zip(legs, stops, strict=False))  # type: ignore[index]
    fits = stops[0] == home and joined and (away in stops and stops[-1] == home if round_trip else stops[-1] == away)
    if fits:
        return Pass("origin, destination and trip type stay the same")
    return Violation(
        why="these flights change the origin, the destination or the trip type",
        witness=f"the reservation goes from {home} to {away}{' and back' if round_trip else ''}, these flights by "
        f"{' - '.join(map(str, stops))}",
    )


@POLICY.before(
    "update_reservation_flights",
    "book_reservation",
    says='If the status is "delayed", "on time" or "flying", the flight cannot be booked.',
)
def flights_can_be_booked(call: Call[Airline]) -> Verdict | None:
    """A flight that is new in a reservation is available."""
    kept: list[tuple[str, str]] = []
    if call.name == "update_reservation_flights":
        reservation = _reservation(call)
        if reservation is None:
            return _UNSEEN
        kept = facts.pairs(reservation.get("flights"))
    unknown = False
    for number, date in facts.pairs(call["flights"]):
        if (number, date) in kept:
            continue
        status = call.state.flight_status(number, date)
        unknown = unknown or status is None
        if status not in (None, "available"):
            return Violation(
                why=f"flight {number} on {date} cannot be booked", witness=f"its status is '{status}', not 'available'"
            )
    return Unknown("the status of a new flight is not known") if unknown else Pass("the new flights are available")


@POLICY.before(
    "update_reservation_flights",
    says="If the flights are changed, the user needs to provide one gift card or credit card for payment or refund "
    "method.",
)
def paid_by_card(call: Call[Airline]) -> Verdict | None:
    """A change is paid, or paid back, by a card of the user's profile."""
    reservation, payment = _reservation(call), str(call["payment_id"])
    if reservation is None:
        return _UNSEEN
    methods = call.state.payment_methods(reservation.get("user_id"))
    if methods is None:
        return Unknown("the user's payment methods are not known")
    if payment not in methods:
        return Violation(
            why="this payment method is not in the user's profile",
            witness=f"the profile has {', '.join(methods) or 'none'}",
        )
    if methods[payment] == "certificate":
        return Violation(
            why="a change of flights cannot be paid by certificate",
            witness="it takes one gift card or credit card, and this is a certificate",
        )
    return Pass(f"it is a {methods[payment].replace('_', ' ')} of the user")


@POLICY.before(
    "update_reservation_baggages", says="The user can add but not remove checked bags.",
)  # fmt: skip
def bags_are_not_removed(call: Call[Airline]) -> Verdict | None:
    """There are no fewer checked bags than before."""
    reservation, total = _reservation(call), facts.number(call["total_baggages"])
    if reservation is None or total is None:
        return _UNSEEN
    had = reservation.get("total_baggages")
    if isinstance(had, int) and total < had:
        return Violation(why="checked bags cannot be removed", witness=f"the reservation has {had} bags, not {total}")
    return Pass("no bag is removed")


_FREE = {
    "regular": {"basic_economy": 0, "economy": 1, "business": 2},
    "silver": {"basic_economy": 1, "economy": 2, "business": 3},
    "gold": {"basic_economy": 2, "economy": 3, "business": 3},
}


@POLICY.before(
    "book_reservation",
    says="Checked bag allowance by membership and cabin; each extra baggage is 50 dollars.",
)
def extra_bags_are_counted(call: Call[Airline]) -> Verdict | None:
    """As many bags are charged as go beyond the allowance. How bags are counted that come later is not said."""
    total, charged = facts.number(call["total_baggages"]), facts.number(call["nonfree_baggages"])
    member = (call.state.user(call["user_id"]) or {}).get("membership")
    free, passengers = _FREE.get(str(member), {}).get(str(call["cabin"])), call["passengers"]
    if total is None or charged is None or free is None or not isinstance(passengers, list):
        return Unknown("membership, cabin or passengers are not known")
    due = max(total - free * len(passengers), 0)
    if charged == due:
        return Pass(f"{free} free bags for each passenger")
    return Violation(
        why=f"{charged} is not how many of the {total} bags are to be paid for",
        witness=f"a {member} member flying {call['cabin']} has {free} free bags for each of "
        f"{len(passengers)} passengers",
    )


@POLICY.before(
    "update_reservation_passengers",
    says="The user can modify passengers but cannot modify the number of passengers.",
)
def as_many_passengers(call: Call[Airline]) -> Verdict | None:
    """The number of passengers stays."""
    reservation, passengers = _reservation(call), call["passengers"]
    if reservation is None or not isinstance(passengers, list):
        return _UNSEEN
    had = len(reservation.get("passengers") or ())
    if len(passengers) == had:
        return Pass("the number of passengers stays the same")
    return Violation(
        why="the number of passengers cannot be changed",
        witness=f"the reservation is for {had}, the call for {len(passengers)}",
    )


@POLICY.before("book_reservation", says="Each reservation can have at most five passengers.")
def at_most_five_passengers(call: Call[Airline]) -> Verdict | None:
    """Five passengers at most."""
    passengers = call["passengers"]
    if isinstance(passengers, list) and len(passengers) > 5:
        return Violation(
            why="a reservation can have at most five passengers", witness=f"the call has {len(passengers)}"
        )
    return Pass("at most five passengers")


@POLICY.before(
    "book_reservation",
    says="Each reservation can use at most one travel certificate, at most one credit card, and at most three gift "
    "cards. All "
    "payment methods must already be in user profile.",
)
def paid_by_known_methods(call: Call[Airline]) -> Verdict | None:
    """Payment methods are the user's, and not too many of a kind."""
    methods = call.state.payment_methods(call["user_id"])
    if methods is None or not isinstance(call["payment_methods"], list):
        return Unknown("the user's payment methods are not known")
    used = [str(entry.get("payment_id")) for entry in call["payment_methods"] if isinstance(entry, dict)]
    strange = [name for name in used if name not in methods]
    if strange:
        return Violation(
            why="a payment method is not in the user's profile",
            witness=f"the profile has {', '.join(methods) or 'none'}",
        )
    for kind, most in (("certificate", 1), ("credit_card", 1), ("gift_card", 3)):
        count = sum(methods[name] == kind for name in used)
        if count > most:
            what = kind.replace("_", " ")
            return Violation(why=f"too many payments by {what}", witness=f"{count} where at most {most} can be used")
    return Pass("all payment methods are in the profile")


@POLICY.before(
    "book_reservation",
    says="Available seats and prices are listed; each extra baggage is 50 dollars; travel insurance is 30 dollars "
    "per passenger.",
)
def payments_add_up(call: Call[Airline]) -> Verdict | None:
    """What is paid is what the flights, the extra bags and the insurance cost."""
    passengers, methods, bags = call["passengers"], call["payment_methods"], facts.number(call["nonfree_baggages"])
    fares = [call.state.fare(number, date, call["cabin"]) for number, date in facts.pairs(call["flights"])]
    if not isinstance(passengers, list) or not isinstance(methods, list) or bags is None or not fares:
        return Unknown("the passengers, bags, flights or payments are not known")
    paid = sum(entry["amount"] for entry in methods if isinstance(entry, dict) and facts.is_amount(entry.get("amount")))
    if any(fare is None for fare in fares):
        return Unknown("the price of a flight is not known")
    insured = 30 * len(passengers) if call["insurance"] == "yes" else 0
    price = len(passengers) * sum(fare or 0.0 for fare in fares) + 50 * bags + insured
    if abs(price - paid) < 0.01:
        return Pass(f"the price is ${price:g}")
    return Violation(
        why=f"${paid:g} is not the price of this booking",
        witness=f"flights, extra bags and insurance cost ${price:g}, and the payments add up to ${paid:g}",
    )


@POLICY.before(
    "update_reservation_flights",
    says="Cabin changes require the user to pay for the difference; the user needs to provide one gift card or "
    "credit card.",
)
def the_gift_card_covers_it(call: Call[Airline]) -> Verdict | None:
    """A gift card has enough for the difference in price."""
    reservation, payment = _reservation(call), str(call["payment_id"])
    if reservation is None:
        return _UNSEEN
    if (call.state.payment_methods(reservation.get("user_id")) or {}).get(payment) != "gift_card":
        return None
    balance, difference = call.state.balance(reservation.get("user_id"), payment), facts.difference(call, reservation)
    if balance is None or difference is None:
        return Unknown("the balance or a price is not known")
    if difference <= balance:
        return Pass(f"the difference is ${difference:g}")
    return Violation(
        why="this gift card has not enough left for the difference in price",
        witness=f"the difference is ${difference:g}, and the card has ${balance:g}",
    )


@POLICY.before(
    "send_certificate",
    says="If the user is silver/gold member or has travel insurance or flies business, the agent can offer a "
    "certificate. Do "
    "not compensate if the user is regular member and has no travel insurance and flies (basic) economy.",
)
def may_be_compensated(call: Call[Airline]) -> Verdict | None:
    """Only who is eligible is compensated, by the amount that a reservation of theirs can have."""
    user_id = str(call["user_id"])
    user = call.state.user(user_id)
    if user is None:
        return Unknown("the user's profile is not known")
    mine = call.state.reservations_of(user_id)
    missing = set(user.get("reservations") or ()) - {str(entry.get("reservation_id")) for entry in mine}
    good = [entry for entry in mine if facts.is_eligible(user, entry)]
    if not good:
        if missing:
            return Unknown("not all reservations of the user are known")
        return Violation(
            why="this user is not eligible for a certificate",
            witness="a regular member, and no reservation with travel insurance or in business",
        )
    amount = facts.number(call["amount"])
    allowed = {dollars for entry in good for dollars in call.state.compensations(entry)}
    if amount in allowed:
        return Pass("the amount is that of an affected reservation")
    if missing or any(call.state.status(flight) is None for entry in good for flight in entry.get("flights") or ()):
        sizes = {50 * len(entry.get("passengers") or ()) * n for entry in good for n in (1, 2)}
        if missing or amount in sizes:
            return Unknown("whether a flight was cancelled or delayed is not known")
        allowed = sizes
    options = ", ".join(f"${dollars}" for dollars in sorted(allowed)) or "none: no flight was cancelled or delayed"
    return Violation(
        why=f"a certificate of ${amount} is not what the policy gives for any affected reservation of this user",
        witness=f"$100 a passenger where a flight was cancelled and $50 where one is delayed; possible here: {options}",
    )
