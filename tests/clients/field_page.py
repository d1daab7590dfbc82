"""The page about the known fields of each API: ``python tests/clients/field_page.py > docs/fields.md`` writes it."""

import sys

from interwhen.clients._known_fields import FIELDS, READ_EVENTS

KINDS = {
    "text": "text of the model, read by the monitors",
    "copy": "must repeat a text that monitors read in another field; any other text in it is unmonitored",
    "id": "a name, a role, a reason: at most 512 characters",
    "number": "numbers, in lists and objects too",
    "opaque": "no text for people (signatures, log-probabilities), or what was in the request",
}

HEAD = """# Known fields

The fields of each API and their kinds, from the one table in `interwhen/clients/_known_fields.py`. This page is written from it by
`python tests/clients/field_page.py > docs/fields.md`, and a test compares the two.

Any other string, at any depth, is text that no monitor reads: `delta.refusal`, `delta.audio.transcript`, `message` in a
stream, unknown names. Then the result is `unverified`, with a reason that names the field. A reader without a gate gets the
field unchanged. Under `gate`, `gate_tools` or `final` its text is held back: the field is there, and empty.
A server's own field `interwhen` is always dropped.

Log-probabilities spell the tokens of a text. There, too, those of a token wait for its text, because some servers send them earlier
(vLLM, while a stop sequence may begin), and those of tokens that are in no text, such as an end mark, are left out.
"""


def rows(table, place=""):
    """The fields of *table* by place, with their kinds."""
    for name, kind in table.items():
        at = f"{place}.{name}" if place else name
        if isinstance(kind, str):
            yield at, kind
        elif isinstance(kind, tuple):
            yield from rows(kind[0], f"{at}[]")
        else:
            yield from rows(kind, at)


def page():
    lines = [HEAD, "| kind | |", "|---|---|", *(f"| `{kind}` | {what} |" for kind, what in KINDS.items()), ""]
    for api, table in FIELDS.items():
        lines += [f"## `/v1/{'chat/completions' if api == 'chat' else api}`\n", "| kind | fields |", "|---|---|"]
        found = list(rows(table))
        for kind in KINDS:
            if names := [f"`{name}`" for name, each in found if each == kind]:
                lines.append(f"| `{kind}` | {', '.join(names)} |")
        lines.append("")
    events = ", ".join(f"`{name}`" for name in READ_EVENTS)
    lines.append(f"These are fields of an event; `delta` is text in {events}, and unmonitored in any other.\n")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
