"""What can be read from reservations and arguments."""

from __future__ import annotations

import datetime as dt
from typing import Any

from interwhen_verifiers.policies._airline_state import Airline
from interwhen_verifiers.tool_policy import Call

Reservation = dict[str, Any]


def difference(call: Call[Airline], reservation: Reservation) -> float | None:
    """Return what the changed flights cost more than those of *reservation*; kept ones keep their price."""
    old = {
        (str(flight.get("flight_number")), str(flight.get("date"))): flight.get("price")
        for flight in reservation.get("flights") or ()
    }
    same_cabin = call["cabin"] == reservation.get("cabin")
    new = [
        old[pair] if same_cabin and pair in old else call.state.fare(*pair, call["cabin"])
        for pair in pairs(call["flights"])
    ]
    prices = [*new, *old.values()]
    if not all(is_amount(price) for price in prices):
        return None
    return float(len(reservation.get("passengers") or ()) * (sum(new) - sum(old.values())))  # type: ignore[arg-type]


def is_eligible(user: dict[str, Any], reservation: Reservation) -> bool:
    return (
        user.get("membership") in ("silver", "gold")
        or reservation.get("insurance") == "yes"
        or reservation.get("cabin") == "business"
    )


def pairs(flights: object) -> list[tuple[str, str]]:
    listed = flights if isinstance(flights, list) else []
    return [
        (str(flight.get("flight_number")), str(flight.get("date"))) for flight in listed if isinstance(flight, dict)
    ]


def leg_of(reservation: Reservation, number: str) -> tuple[str, str] | None:
    for flight in reservation.get("flights") or ():
        if flight.get("flight_number") == number and "origin" in flight and "destination" in flight:
            return str(flight["origin"]), str(flight["destination"])
    return None


def is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value == int(value) else None


def time(text: object) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(str(text)).replace(tzinfo=None)
    except ValueError:
        return None
