"""Journals for the tests of the page: runs of a scripted model with the real monitors."""

import interwhen
from interwhen.testing import ScriptedModel

REPAIRED = [
    "Shop one sells 39 boxes of 28 screws.\n39 * 28 = 1092\nThen it buys 17 crates of 164.\n17 * 164 = 2818\n1092 + 2818 = 3910\n",
    "\nSo 1092 + 2788 = 3880\nThat is all.\n",
]
PLAIN = ["Shop one sells 39 boxes of 28 screws.\n39 * 28 = 1092\nThat is all.\n"]


def record(path, replies, monitors=("arithmetic",), *, size=4, **options):
    """Write a journal of a run whose model gives *replies*; return its path."""
    model = ScriptedModel(list(replies), size=size)
    with interwhen.run_sync(model, "How many screws?", monitors=list(monitors), journal=path, **options) as run:
        run.drain()
    return path


def long_replies(lines, every=50):
    """Yield the replies of a long run of *lines* sums, of which one in *every* is wrong; a new request after each."""
    reply = []
    for number in range(lines):
        a, b = 100 + number * 7 % 900, 100 + number * 13 % 900
        wrong = number % every == every - 1
        reply.append(
            f"Let me think about part {number} of the problem and keep track of all of it.\n{a} + {b} = {a + b + wrong}\n"
        )
        if wrong:
            yield "".join(reply)
            reply = ["\n"]
    yield "".join(reply) + "That is all.\n"
