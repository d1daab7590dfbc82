"""The page about the known fields of each API: ``python tests/clients/field_page.py > docs/fields.md`` writes it."""

import sys

from interwhen.clients._known_fields import FIELDS, FORMS, READ_EVENTS

KINDS = {
    "text": "text of the model, read by the monitors",
    "copy": "must repeat a text that monitors read in another field; any other text in it is unmonitored",
    "word": "a role, a reason, a type",
    "id": "an id, a fingerprint, padding",
    "name": "a name of up to five words, or the model of the request",
    "code": "a signature, encrypted content",
    "echo": "words, or strings of the request; in lists and objects too",
    "labels": "words, in lists and objects too",
    "number": "numbers, in lists and objects too",
    "scores": "log-probabilities, with tokens of at most 128 characters",
}

HEAD = """# Known fields

The fields of each API and their kinds, from the one table in `interwhen/clients/_known_fields.py`. This page is written from it by
`python tests/clients/field_page.py > docs/fields.md`, and a test compares the two.

Any other string, at any depth, is text that no monitor reads: `delta.refusal`, `delta.audio.transcript`, `message` in a
stream, unknown names, a sentence where a word should be. Then the result is `unverified`, with a reason that names the field. A reader
without a gate gets the field unchanged. Under `gate`, `gate_tools` or `final` its text is held back: the field is there, and empty.
A field whose name is no word is dropped there. A server's own field `interwhen` is always dropped. The different keys and words in a field
may have 1,024 characters together.

Log-probabilities spell the tokens of a text. These must be the text that they come with, from the first one on, in any API; only white
space may differ. Marks that are in no text (`</s>`, `<|im_end|>`, `[INST]`), parts of a character, and the token or stop sequence at
which the generation stopped may be there, too. Other tokens count as text that no monitor reads. Of the alternatives to a token
(`top_logprobs`), only the size is checked, and that `bytes` and `token` agree. Under a gate, those of a token wait for its text, because
some servers send them earlier (vLLM, while a stop sequence may begin), and those of tokens that are in no text are left out.
"""


def rows(table, place=""):
    for name, kind in table.items():
        at = f"{place}.{name}" if place else name
        if name == "logprobs":
            yield at, "scores"
        elif isinstance(kind, str):
            yield at, kind
        elif isinstance(kind, tuple):
            yield from rows(kind[0], f"{at}[]")
        else:
            yield from rows(kind, at)


def page():
    lines = [HEAD, "| kind | | form |", "|---|---|---|"]
    lines += [f"| `{kind}` | {what} | {f'`{FORMS[kind]}`' if kind in FORMS else ''} |" for kind, what in KINDS.items()]
    lines.append("")
    for api, table in FIELDS.items():
        lines += [f"## `/v1/{'chat/completions' if api == 'chat' else api}`\n", "| kind | fields |", "|---|---|"]
        fields = list(rows(table))
        for kind in KINDS:
            if names := [f"`{name}`" for name, each in fields if each == kind]:
                lines.append(f"| `{kind}` | {', '.join(names)} |")
        lines.append("")
    events = ", ".join(f"`{name}`" for name in READ_EVENTS)
    lines.append(f"These are fields of an event; `delta` is text in {events}, and unmonitored in any other.\n")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
