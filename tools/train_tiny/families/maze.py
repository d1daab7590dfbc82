"""A maze of rooms and doors, walked depth first: into a new room, or back from a dead end."""

from __future__ import annotations

import random
import string
from itertools import pairwise

from tools.train_tiny.tasks import Blunder, Lookup, Mistake, Problem, Step, Worked

_KNOWS = 0.75
"""How often the walk takes the right door at once."""


def maze(rng: random.Random, *, hard: bool = False) -> Worked:
    count = rng.randint(11, 14) if hard else rng.randint(6, 10)
    rooms = rng.sample(string.ascii_uppercase, count)
    doors = [(rng.choice(rooms[max(0, at - 3) : at]), rooms[at]) for at in range(1, count)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        one, other = rng.sample(rooms, 2)
        if (one, other) not in doors and (other, one) not in doors:
            doors.append((one, other))
    rng.shuffle(doors)
    doors = [door if rng.random() < 0.5 else door[::-1] for door in doors]
    beside = {room: [b if a == room else a for a, b in doors if room in {a, b}] for room in rooms}
    start, goal = rng.sample(rooms, 2)
    while goal in beside[start] or not (count > 8 or rng.random() < 0.6 or not _adjacent(beside, start, goal)):
        start, goal = rng.sample(rooms, 2)
    steps, path = _walk(rng, beside, start, goal)
    answer = "Answer: " + " ".join(path)

    def blunder(rng: random.Random) -> Mistake:
        while True:
            wrong = path[:]
            at = rng.randrange(1, len(path) - 1)
            if len(path) > 3 and rng.random() < 0.5:
                del wrong[at]
            else:
                wrong[at] = rng.choice(rooms)
            for one, other in pairwise(wrong):
                if other not in beside[one]:
                    why = f"there is no door from {one} to {other}"
                    witness = f"{one} has doors to {', '.join(beside[one])}"
                    return Mistake("Answer: " + " ".join(wrong), " ".join(wrong), why, witness)

    facts = {"doors": [list(door) for door in doors], "start": start, "goal": goal}
    lookups = tuple(Lookup(f"Doors of {room}?", " ".join(beside[room])) for room in rooms)
    return Worked(Problem("maze", _ask(rng, doors, start, goal), facts), tuple(steps), answer, blunder, lookups)


def _adjacent(beside: dict[str, list[str]], start: str, goal: str) -> bool:
    return any(goal in beside[room] for room in beside[start])


def _ask(rng: random.Random, doors: list[tuple[str, str]], start: str, goal: str) -> str:
    listed = ", ".join(f"{a}-{b}" for a, b in doors)
    return rng.choice(
        (
            f"Doors: {listed}. Start: {start}. Exit: {goal}.",
            f"A maze has doors {listed}. Go from {start} to {goal}.",
            f"The rooms of a maze are joined: {listed}. Find a way from {start} to {goal}.",
        )
    )


def _walk(rng: random.Random, beside: dict[str, list[str]], start: str, goal: str) -> tuple[list[Step], list[str]]:
    steps, path, visited = list[Step](), [start], {start}
    while path[-1] != goal:
        here = path[-1]
        onward = [room for room in beside[here] if room not in visited]
        if not onward:
            path.pop()
            blunder = _lost(beside, visited, here, path[-1], dead_end=True)
            steps.append(Step(f"{here} is a dead end, back to {path[-1]}", {"at": path[-1]}, blunder))
            continue
        leading = [room for room in onward if _reaches(beside, visited, room, goal)]
        chosen = rng.choice(leading) if leading and rng.random() < _KNOWS else rng.choice(onward)
        given = 0 if chosen in leading or not leading else len(f"{here} to {chosen}")
        blunder = _lost(beside, visited.copy(), here, chosen, dead_end=False)
        steps.append(Step(f"{here} to {chosen}", {"at": chosen}, blunder, given))
        visited.add(chosen)
        path.append(chosen)
    return steps, path


def _reaches(beside: dict[str, list[str]], visited: set[str], room: str, goal: str) -> bool:
    seen, waiting = {*visited, room}, [room]
    while waiting:
        here = waiting.pop()
        if here == goal:
            return True
        new = [other for other in beside[here] if other not in seen]
        seen.update(new)
        waiting += new
    return False


def _lost(beside: dict[str, list[str]], visited: set[str], here: str, there: str, *, dead_end: bool) -> Blunder:
    doors = f"{here} has doors to {', '.join(beside[here])}"

    def blunder(rng: random.Random) -> Mistake:
        walls = [room for room in beside if room != here and room not in beside[here]]
        if dead_end and rng.random() < 0.5 and (others := [room for room in beside if room not in {here, there}]):
            other = rng.choice(others)
            return Mistake(
                f"{here} is a dead end, back to {other}",
                f"back to {other}",
                f"you did not come to {here} from {other}",
                f"you came to {here} from {there}",
            )
        back = [room for room in beside[here] if room in visited and room != here]
        if not dead_end and back and rng.random() < 0.3:
            room = rng.choice(back)
            why = f"{room} was visited before"
            return Mistake(f"{here} to {room}", f"{here} to {room}", why, why)
        if not dead_end and rng.random() < 0.3:
            back_to = rng.choice(back or sorted(beside))
            return Mistake(
                f"{here} is a dead end, back to {back_to}",
                f"{here} is a dead end",
                f"{here} is not a dead end",
                f"{here} has a door to {there}",
            )
        other = rng.choice(walls or sorted(beside))
        return Mistake(f"{here} to {other}", f"{here} to {other}", f"there is no door from {here} to {other}", doors)

    return blunder
