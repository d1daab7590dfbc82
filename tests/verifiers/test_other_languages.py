"""Traces in German, Spanish, French, Chinese, Japanese, Arabic and Hindi: no verifier of puzzles interrupts what is right.

What is not read is no claim, or ``Unknown``. Decimal commas, other digits and full-width signs are among them.
"""

from __future__ import annotations

import pytest
from interwhen.testing import LabelledTrace, Turn, try_monitor_sync

from interwhen_verifiers.critic import critic
from interwhen_verifiers.puzzles.countdown import countdown, game24
from interwhen_verifiers.puzzles.logic import logic
from interwhen_verifiers.puzzles.maze import maze
from interwhen_verifiers.puzzles.plan import plan
from interwhen_verifiers.puzzles.spatialmap import spatialmap
from interwhen_verifiers.terms import terms

BLOCKS = """[STATEMENT]
As initial conditions I have that, the red block is clear, the yellow block is clear, the hand is empty, \
the red block is on top of the blue block, the yellow block is on the table and the blue block is on the table.
My goal is to have that the blue block is on top of the yellow block.
"""
SWAPS = (
    "Ann, Bob, and Cy play. At the start of the game, they each hold a ball: Ann has a red ball, Bob has a blue ball, and "
    "Cy has a pink ball.\nPlayers trade balls. First, Ann and Bob swap balls. Finally, Bob and Cy swap balls. At the end of "
    "the game, Ann has the\nOptions:\n(A) red ball.\n(B) blue ball.\n(C) pink ball."
)
ORDER = (
    "The following statements describe three objects in a fixed order. There are three books: a red book, a blue book, and "
    "a gray book. The red book is the leftmost. The blue book is to the left of the gray book.\nOptions:\n"
    "(A) The red book is the rightmost.\n(B) The gray book is the rightmost."
)
WORDS = "Sort the following words alphabetically: List: fig plum apple date"
PREMISES = "Premises:\n1. All cats are animals.\n2. Tom is a cat.\nDoes it follow that Tom is an animal?"
BRACKETS = "Complete the rest of the sequence. Input: [ { ("
MAP = (
    "Consider a map with multiple objects: Ann's Bar is in the map. Bob's Cafe is to the northeast of Ann's Bar. Cy's Den is "
    "to the northeast of Bob's Cafe. Please answer the following multiple-choice question based on the provided information. "
    "In which direction is Cy's Den relative to Ann's Bar? Available options: A. Northeast B. Southwest C. Northwest D. "
    "Southeast"
)
MAZE = """Find the way from S to E in this maze. # is a wall, S the start, E the exit.
#####
#S#E#
# # #
#   #
#####
How many right turns are there in the path from S to E?"""
TOT = "Use the numbers 4 9 10 13 and basic arithmetic operations (+ - * /) to obtain 24. Use each number once."

MONITORS = {
    "blocks": (BLOCKS, plan, lambda: plan(judge="steps", phase="both")),
    "swaps": (SWAPS, logic),
    "order": (ORDER, logic),
    "words": (WORDS, logic),
    "premises": (PREMISES, logic),
    "brackets": (BRACKETS, logic),
    "map": (MAP, spatialmap),
    "maze": (MAZE, maze),
    "numbers": (TOT, game24, lambda: countdown(target=24)),
}

TRACES = {
    "blocks": [
        (
            "1. Hebe den roten Block vom blauen Block.\n2. Lege den roten Block auf den Tisch.\n3. Nimm den blauen Block.\n"
            "4. Stapele den blauen Block auf den gelben Block.\n"
        ),
        "1. Desapila el bloque red del bloque blue.\n2. Pon red en la mesa.\n3. Toma blue.\n4. Apila blue sobre yellow.\n",
        "1. \u4ece blue \u4e0a\u62ff\u8d77 red\u3002\n2. \u628a red \u653e\u5728\u684c\u5b50\u4e0a\u3002\n3. \u62ff\u8d77 blue\u3002\n4. \u628a blue \u653e\u5728 yellow \u4e0a\u3002\n",
        "Zuerst unstack(red, blue), dann put-down(red).\npick-up blue\nstack blue yellow\n",
        (
            "D'abord, unstack red from blue.\nEnsuite put down red.\nPick up the blue block\nStack the blue block on top of the "
            "yellow block\n"
        ),
    ],
    "swaps": [
        (
            "Am Anfang: Ann: rot, Bob: blau, Cy: pink.\nAnn und Bob tauschen: Ann: blau, Bob: rot, Cy: pink.\n"
            "Bob und Cy tauschen: Ann: blau, Bob: pink, Cy: rot.\nAlso ist die Antwort (B)\n"
        ),
        (
            "Al principio: Ann: red, Bob: blue, Cy: pink.\nAnn y Bob intercambian: Ann: blue, Bob: red.\nBob y Cy "
            "intercambian: Bob: pink, Cy: red.\nLa respuesta es (B)\n"
        ),
        "\u5f00\u59cb: Ann: red, Bob: blue, Cy: pink.\nAnn \u548c Bob \u4ea4\u6362: Ann: blue, Bob: red, Cy: pink.\nBob \u548c Cy \u4ea4\u6362: Ann: blue, Bob: pink, Cy: red.\n\u7b54\u6848\u662f (B)\n",
        "Ann hat jetzt den blauen Ball, Bob den roten Ball.\nDanach hat Bob den pinken und Cy den roten Ball.\n",
    ],
    "order": [
        "Von links nach rechts: das rote Buch, das blaue Buch, das graue Buch. Antwort: (B)\n",
        "De izquierda a derecha: red book, blue book, gray book. La respuesta es (B).\n",
        "\u4ece\u5de6\u5230\u53f3: red book, blue book, gray book\u3002\u7b54\u6848: (B)\n",
        "From right to left, also von rechts: gray book, blue book, red book.\n",
    ],
    "words": [
        "Die Antwort ist apple, date, fig, plum.\n",
        "La respuesta es apple date fig y plum\n",
        "The answer is apple, date, fig und plum\n",
        "The answer is apple, date, fig y plum\n",
        "\u7b54\u6848: apple\u3001date\u3001fig\u3001plum\n",
        "Answer: apple\u3001date\u3001fig\u3001plum\n",
        "So the answer is \u201eapple\u201c, \u201edate\u201c, \u201efig\u201c, \u201eplum\u201c.\n",
        "So the answer is \u00abapple\u00bb, \u00abdate\u00bb, \u00abfig\u00bb et \u00abplum\u00bb.\n",
    ],
    "premises": [
        "Alle Katzen sind Tiere, Tom ist eine Katze. Also: ja.\n",
        "S\u00ed, Tom es un animal.\nAnswer: s\u00ed\n",
        "\u662f\u7684\nAnswer: \u662f\n",
        "Antwort: Ja\n",
        "Answer: Ja\n",
        "Answer: Oui, Tom est un animal\n",
    ],
    "brackets": [
        "Die Antwort ist ) } ]\n",
        "La respuesta es ) } ]\n",
        "\u7b54\u6848: ) } ]\n",
        "Answer: \uff09 \uff5d \uff3d\n",
        "1: [ ; Stapel: [\n2: { ; Stapel: [ {\n3: ( ; Stapel: [ { (\n",
    ],
    "map": [
        "Cy's Den liegt nord\u00f6stlich von Ann's Bar. Antwort: A\n",
        "Cy's Den est\u00e1 al noreste de Ann's Bar. Respuesta: A. Noreste\n",
        "Answer: Nordosten\n",
        "Answer: noreste\n",
        "Answer: \u4e1c\u5317\n",
        "Cy's Den \u5728 Ann's Bar \u7684\u4e1c\u5317\u3002\u7b54\u6848: A\n",
        "Ann's Bar liegt im S\u00fcdwesten (southwest) von Cy's Den.\n",
    ],
    "maze": [
        (
            "Start bei (1, 1). Gehe nach unten zu (2, 1), dann (3, 1), nach rechts (3, 2), (3, 3), nach oben (2, 3), (1, 3).\n"
            "Antwort: 0\n"
        ),
        "Empieza en (1,1), abajo, abajo, derecha, derecha, arriba, arriba. Respuesta: 0 giros a la derecha\n",
        "\u5411\u4e0b\u3001\u5411\u4e0b\u3001\u5411\u53f3\u3001\u5411\u53f3\u3001\u5411\u4e0a\u3001\u5411\u4e0a\u3002\u7b54\u6848: 0\n",
        "Answer: null\n",
        "Answer: cero\n",
        "Answer: \uff10\n",
        "Answer: \u0660\n",
    ],
    "numbers": [
        (
            "Schritte:\n13 - 9 = 4 (\u00fcbrig: 4 4 10)\n10 - 4 = 6 (\u00fcbrig: 4 6)\n4 * 6 = 24 (\u00fcbrig: 24)\n"
            "Antwort: (13 - 9) * (10 - 4) = 24\n"
        ),
        "Pasos:\n13 - 9 = 4 (quedan: 4 4 10)\n10 - 4 = 6 (quedan: 4 6)\n4 \u00d7 6 = 24\nRespuesta: (13 - 9) * (10 - 4) = 24\n",
        "13 \u2212 9 = 4\uff08\u5269\u4e0b: 4 4 10\uff09\n10 \u2212 4 = 6\n4 \u00d7 6 = 24\n\u7b54\u6848: (13 - 9) * (10 - 4) = 24\n",
        "\uff11\uff13 - \uff19 = \uff14 (left: 4 4 10)\n10 - 4 = 6 (left: 4 6)\n",
        "\u0661\u0663 - \u0669 = \u0664\n\u0661\u0660 - \u0664 = \u0666\n\u0664 * \u0666 = \u0662\u0664\n",
        "\u0967\u0969 - \u096f = \u096a\n",
        "10 / 4 = 2,5 (left: 2,5 9 13)\n",
        "10 / 4 = 2,5 (\u00fcbrig: 2,5 9 13)\n",
        "9 : 4 = 2,25\n",
        "13 \u00b7 4 = 52; 52 - 10 = 42\n",
        "Answer: (13 - 9) \u00d7 (10 - 4) = 24\n",
        "Answer: \uff0813 - 9\uff09*\uff0810 - 4\uff09 = 24\n",
    ],
}


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind, texts in TRACES.items() for number in range(len(texts))]
)
def test_right_text_in_other_language_is_not_refuted(kind, number):
    prompt, *makers = MONITORS[kind]
    for make in makers:
        for text in (TRACES[kind][number], f"<think>\n{TRACES[kind][number]}</think>\n{TRACES[kind][number]}"):
            trace = LabelledTrace(name=kind, turns=(Turn(prompt=prompt, text=text),), label="right")
            [one] = try_monitor_sync(make(), [trace])
            assert one.troubles == ()
            assert one.aside == 0, "the prompt is none that it knows"
            assert one.violations == (), [(violation.quote, violation.why) for violation in one.violations]


def test_terms_in_other_scripts_match_whole_words():
    monitor = terms(terms=("stra\u00dfe", "\u79d8\u5bc6"))
    for text, count in (
        ("Die STRA\u00dfE ist lang.\n", 1),
        ("Die Stra\u00dfen sind lang.\n", 0),
        ("\u8fd9\u662f \u79d8\u5bc6 \u3002\n", 1),
        ("\u8fd9\u662f\u516c\u5f00\u7684\u3002\n", 0),
    ):
        trace = LabelledTrace(name="terms", turns=(Turn(prompt="Q", text=text),), label="unclear")
        [one] = try_monitor_sync(monitor, [trace])
        assert len(one.violations) == count, text


def test_a_critic_only_observes_in_any_language():
    assert critic().delivery == "observe"
    assert not critic().required
