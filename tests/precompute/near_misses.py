"""Generates questions that differ from a stored one in one thing that matters, and has paraphrases written by hand.

The generator shares no code with what compares questions: it writes each question from its parts.
"""

import random

NAMES = ("Anna", "Ben", "Cid", "Dora", "Emil", "Fay", "Gus", "Hana")
THINGS = ("apples", "pears", "books", "pens", "lamps", "boxes", "crates", "coins")
PLACES = ("shop", "barn", "school", "garden", "box", "truck")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
UNITS = (
    ("hours", "minutes"),
    ("kg", "grams"),
    ("miles", "kilometers"),
    ("dollars", "cents"),
    ("days", "weeks"),
    ("liters", "gallons"),
)
AROUND = ("{}", "Please tell me: {}", "{}", "Can you tell me {}", "So {}")


def draw(rng):
    """Return the parts of one question, and the changes of them by which a near miss differs."""
    name, other = rng.sample(NAMES, 2)
    thing, another = rng.sample(THINGS, 2)
    unit, wrong = rng.choice(UNITS)
    day, later = rng.sample(DAYS, 2)
    number = rng.randint(2, 90)
    parts = {
        "name": name, "other": other, "thing": thing, "another": another, "unit": unit, "day": day, "number": number,
        "place": rng.choice(PLACES), "few": rng.randint(2, 12),
    }  # fmt: skip
    changes = {
        "number": {"number": number + rng.choice((-1, 1, 10))},
        "entity": {"name": other, "other": name},
        "another entity": {"name": rng.choice([each for each in NAMES if each not in (name, other)])},
        "thing": {"thing": another, "another": thing},
        "units": {"unit": wrong},
        "time": {"day": later},
        "place": {"place": rng.choice([each for each in PLACES if each != parts["place"]])},
    }
    return parts, changes


FORMS = {
    "How many {thing} does {name} have after {number} days?": {
        "negation": "How many {thing} does {name} not have after {number} days?",
        "time": "How many {thing} did {name} have after {number} days?",
        "direction": "How many {thing} does {name} have before {number} days?",
        "quantity": "How much do the {thing} of {name} cost after {number} days?",
        "total": "How many {thing} does {name} have in total after {number} days?",
    },
    "How many more {thing} does {name} have than {other}?": {
        "direction": "How many fewer {thing} does {name} have than {other}?",
        "quantity": "How many {thing} does {name} have?",
        "times": "How many times more {thing} does {name} have than {other}?",
        "negation": "How many more {thing} does {name} not have than {other}?",
    },
    "How much does {name} pay for {number} {thing} on {day}?": {
        "quantity": "How much does {name} save for {number} {thing} on {day}?",
        "time": "How much did {name} pay for {number} {thing} on {day}?",
        "each": "How much does {name} pay for each of {number} {thing} on {day}?",
        "negation": "How much does {name} not pay for {number} {thing} on {day}?",
        "order": "How much do {number} {thing} pay for {name} on {day}?",
    },
    "What is the number of {thing} in the {place} on {day}?": {
        "quantity": "What is the weight of {thing} in the {place} on {day}?",
        "negation": "What is the number of {thing} not in the {place} on {day}?",
        "time": "What was the number of {thing} in the {place} on {day}?",
        "part": "What is the share of {thing} in the {place} on {day}?",
    },
    "After {few} weeks, how many {unit} does {name} save for {other}?": {
        "direction": "After {few} weeks, how many {unit} does {other} save for {name}?",
        "before": "Before {few} weeks, how many {unit} does {name} save for {other}?",
        "quantity": "After {few} weeks, how many {unit} does {name} spend for {other}?",
        "every": "Every {few} weeks, how many {unit} does {name} save for {other}?",
        "scope": "After {few} weeks, how many {unit} does only {name} save for {other}?",
    },
    "What is {number}% of the {thing} that {name} sells on {day}?": {
        "amount": "What is {number} of the {thing} that {name} sells on {day}?",
        "quantity": "What is {number}% of the {thing} that {name} buys on {day}?",
        "negation": "What is {number}% of the {thing} that {name} never sells on {day}?",
        "remainder": "What is {number}% less than the {thing} that {name} sells on {day}?",
    },
    "How many {thing} are left in the {place} if {name} takes at least {number}?": {
        "direction": "How many {thing} are left in the {place} if {name} takes at most {number}?",
        "condition": "How many {thing} are left in the {place} unless {name} takes at least {number}?",
        "quantity": "How many {thing} are taken from the {place} if {name} takes at least {number}?",
        "more": "How many {thing} are left in the {place} if {name} adds at least {number}?",
    },
}  # fmt: skip


def near_misses(count, seed=0):
    """Return *count* triples: a stored question, a near miss of it, and the kind of the difference. None is twice."""
    rng = random.Random(seed)
    found, seen = [], set()
    while len(found) < count:
        form = rng.choice(list(FORMS))
        parts, changes = draw(rng)
        stored = form.format(**parts)
        kind = rng.choice([*FORMS[form], *changes])
        asked = FORMS[form][kind].format(**parts) if kind in FORMS[form] else form.format(**{**parts, **changes[kind]})
        if asked == stored or (stored, asked) in seen:
            continue
        seen.add((stored, asked))
        around = rng.choice(AROUND)
        if around != "{}":
            asked = asked[0].lower() + asked[1:]
        found.append((stored, around.format(asked), kind))
    return found


PARAPHRASES = {
    "How many apples does Anna have after 4 days?": [
        "how many apples does anna have after four days",
        "After 4 days, how many apples does Anna have?",
        "Please tell me how many apples Anna has after 4 days.",
        "What is the number of apples that Anna has after 4 days?",
        "What number of apples does Anna have after 4 days?",
        "How many apples has Anna got after 4 days?",
        "When 4 days have passed, how many apples does Anna own?",
        "Anna's apple count after 4 days?",
    ],
    "How much do the 5 pens cost?": [
        "What do the 5 pens cost?",
        "What is the cost of the 5 pens?",
        "What is the price of the five pens?",
        "How much do five pens cost?",
        "Could you tell me how much the 5 pens cost?",
        "How expensive are the 5 pens?",
        "How much money is needed for the 5 pens?",
    ],
    "How many lamps are there in the shop in total?": [
        "In total, how many lamps are there in the shop?",
        "What is the total number of lamps in the shop?",
        "How many lamps are there altogether in the shop?",
        "How many lamps are in the shop in total?",
        "How many lamps does the shop have in total?",
        "Overall, what is the number of lamps in the shop?",
    ],
    "How many boxes are left in the truck?": [
        "How many boxes remain in the truck?",
        "What is the number of boxes that remain in the truck?",
        "how many boxes are left in the truck please",
        "How many boxes are still in the truck?",
        "The truck has how many boxes left?",
    ],
    "How much does Jo earn in 3 weeks?": [
        "What does Jo earn in 3 weeks?",
        "In three weeks, how much does Jo earn?",
        "I'd like to know how much Jo earns in 3 weeks.",
        "What are Jo's earnings in 3 weeks?",
        "how much does jo earn in 3 weeks ?",
    ],
    "How tall is the tower?": [
        "What is the height of the tower?",
        "what's the height of the tower?",
        "Do you know how tall the tower is?",
        "How high is the tower?",
    ],
}
