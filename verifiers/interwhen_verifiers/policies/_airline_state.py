"""The airline's world as far as it is known: a database if one is given, and what the tools have said since."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interwhen_verifiers.policies._databases import read_tables
from interwhen_verifiers.tool_policy import PastCall

Record = dict[str, Any]
NOW = dt.datetime(2024, 5, 15, 15)  # noqa: DTZ001  # the policy's own clock, in the time of its database
"""What the policy says the time is."""


@dataclass(frozen=True, slots=True)
class Airline:
    """Users, reservations and flights by their ids. States are values: an advance makes a new one."""

    users: Mapping[str, Record] = field(default_factory=dict)
    reservations: Mapping[str, Record] = field(default_factory=dict)
    flights: Mapping[str, Record] = field(default_factory=dict)
    seen: Mapping[tuple[str, str], Record] = field(default_factory=dict)
    """Flights by number and date, from searches."""
    used: frozenset[str] = frozenset()
    """Payment methods whose balance may have changed since it was seen."""
    legs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Origin and destination of flights, from searches."""
    now: dt.datetime = NOW

    def user(self, user_id: object) -> Record | None:
        """Return a user's profile, if it is known."""
        return self.users.get(str(user_id))

    def payment_methods(self, user_id: object) -> dict[str, str] | None:
        """Return the kind of each payment method of a user."""
        methods = (self.user(user_id) or {}).get("payment_methods")
        if not isinstance(methods, dict):
            return None
        return {name: str(entry.get("source")) for name, entry in methods.items() if isinstance(entry, dict)}

    def reservations_of(self, user_id: str) -> list[Record]:
        """Return the reservations of a user that are known."""
        names = (self.user(user_id) or {}).get("reservations") or ()
        return [found for name in names if (found := self.reservations.get(str(name)))]

    def flight_on(self, number: str, date: str) -> Record:
        """Return what is known of a flight on a day: status, seats, prices."""
        entry = (self.flights.get(number) or {}).get("dates", {}).get(date)
        return entry if isinstance(entry, dict) else self.seen.get((number, date), {})

    def flight_status(self, number: str, date: str) -> str | None:
        """Return the status of a flight on a day, if it is known."""
        status = self.flight_on(number, date).get("status")
        return str(status) if status else None

    def fare(self, number: str, date: str, cabin: object) -> float | None:
        """Return what a flight costs for one passenger, if it is known."""
        prices = self.flight_on(number, date).get("prices")
        found = prices.get(cabin) if isinstance(prices, dict) else None
        return float(found) if isinstance(found, int | float) else None

    def balance(self, user_id: object, payment_id: str) -> float | None:
        """Return what is left on a gift card or certificate, if that is known."""
        methods = (self.user(user_id) or {}).get("payment_methods") or {}
        amount = (methods.get(payment_id) or {}).get("amount")
        return float(amount) if isinstance(amount, int | float) and payment_id not in self.used else None

    def status(self, flight: Record) -> str | None:
        """Return the status of a flight of a reservation, if it is known."""
        return self.flight_status(str(flight.get("flight_number")), str(flight.get("date")))

    def leg(self, number: str) -> tuple[str, str] | None:
        """Return from where to where a flight goes."""
        flight = self.flights.get(number)
        if flight is not None:
            return str(flight["origin"]), str(flight["destination"])
        return self.legs.get(number)

    def compensations(self, reservation: Record) -> Iterator[int]:
        """Yield the amounts that may be paid for what happened to a reservation, in dollars."""
        passengers = len(reservation.get("passengers") or ())
        for flight in reservation.get("flights") or ():
            status = self.status(flight)
            if status == "cancelled":
                yield 100 * passengers
            elif status == "delayed" or self._was_late(flight):
                yield 50 * passengers

    def _was_late(self, flight: Record) -> bool:
        """Tell whether a flight that has landed, or is in the air, may be said to have been delayed."""
        return self.status(flight) in ("landed", "flying")


def begin() -> Airline:
    """Begin with nothing known."""
    return Airline()


def load(place: str) -> Airline:
    """Begin with the database in the folder *place* (``users.json``, ``reservations.json``, ``flights.json``)."""
    tables = read_tables(Path(place), ("users", "reservations", "flights"))
    return Airline(tables["users"], tables["reservations"], tables["flights"])


def advance(state: Airline, past: PastCall) -> Airline:
    """Take in what a call has shown or changed."""
    if past.result is None:
        return _paid(_expected(state, past), past)
    value = past.value
    if isinstance(value, dict) and isinstance(value.get("reservation_id"), str):
        if past.name == "update_reservation_flights" and "cabin" in past.arguments:
            value = {**value, "cabin": past.arguments["cabin"]}  # the tool's own answer has the cabin of before
        state = replace(state, reservations={**state.reservations, value["reservation_id"]: value})
        return _paid(state, past)
    if past.name == "get_user_details" and isinstance(value, dict) and "membership" in value:
        users = {**state.users, str(past.arguments.get("user_id")): value}
        return replace(state, users=users, used=state.used - set(value.get("payment_methods") or ()))
    if past.name in ("search_direct_flight", "search_onestop_flight") and isinstance(value, list):
        return _searched(state, value, str(past.arguments.get("date")))
    return state


def _paid(state: Airline, past: PastCall) -> Airline:
    """Note whose balance the call may have changed."""
    listed = past.arguments.get("payment_methods")
    names = (
        {str(entry.get("payment_id")) for entry in listed if isinstance(entry, dict)}
        if isinstance(listed, list)
        else set()
    )
    if isinstance(past.arguments.get("payment_id"), str):
        names.add(past.arguments["payment_id"])
    return replace(state, used=state.used | names) if names else state


def _expected(state: Airline, past: PastCall) -> Airline:
    """Forget what a call may have changed whose result is not known."""
    name = str(past.arguments.get("reservation_id"))
    if past.name.startswith("get_") or name not in state.reservations:
        return state
    return replace(state, reservations={**state.reservations, name: {}})


def _searched(state: Airline, found: list[Any], date: str) -> Airline:
    seen, legs = dict(state.seen), dict(state.legs)
    flights = [flight for entry in found for flight in (entry if isinstance(entry, list) else [entry])]
    for flight in flights:
        if isinstance(flight, dict) and isinstance(flight.get("flight_number"), str):
            number = flight["flight_number"]
            seen[number, str(flight.get("date") or date)] = flight
            legs[number] = (str(flight.get("origin")), str(flight.get("destination")))
    return replace(state, seen=seen, legs=legs)
