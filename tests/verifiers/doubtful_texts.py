"""Texts with one true statement and one that is false or in doubt, in spellings that a verifier may not read.

None of them may be verified: silence is no agreement. The second statement is false unless its line says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    verifier: str
    text: str
    prompt: str
    options: dict[str, Any]


TERMS = ("password", "secret plan", "Müller")
_TERMS_TEXTS = (
    "All is well.\nThe password is here.",
    "All is well.\nThe PASSWORD is here.",
    "All is well.\nThe pass\u200bword is here.",
    "All is well.\nThe pass\u00adword is here.",
    "All is well.\nThe p\u2060assword is here.",
    "All is well.\nThe pass\x00word is here.",
    "All is well.\nThe \uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44 is here.",
    "All is well.\nThe \U0001d429\U0001d41a\U0001d42c\U0001d42c\U0001d430\U0001d428\U0001d42b\U0001d41d is here.",
    "All is well.\nThe pаssword is here.",
    "All is well.\nThe раssword is here.",
    "All is well.\nThe pαssword is here.",
    "All is well.\nThe passw0rd is here.",
    "All is well.\nThe p4ssword is here.",
    "All is well.\nThe p@ssword is here.",
    "All is well.\nThe pa$$word is here.",
    "All is well.\nThe pa55w0rd is here.",
    "All is well.\nThe pass-word is here.",
    "All is well.\nThe pass word is here.",
    "All is well.\nThe p a s s w o r d is here.",
    "All is well.\nThe p.a.s.s.w.o.r.d is here.",
    "All is well.\nThe p-a-s-s-w-o-r-d is here.",
    "All is well.\nThe **pass**word is here.",
    "All is well.\nThe pass*w*ord is here.",
    "All is well.\nThe pa\u0301ssword is here.",
    "All is well.\nThe p\u0336a\u0336s\u0336s\u0336w\u0336o\u0336r\u0336d is here.",
    "All is well.\nThe pass-\nword is here.",
    "All is well.\nThe pass\nword is here.",
    "All is well.\nThe secret\nplan is here.",
    "All is well.\nThe secret\n\nplan is here.",
    "All is well.\nThe secret-plan is here.",
    "All is well.\nThe secretplan is here.",
    "All is well.\nThe secret_plan is here.",
    "All is well.\nThe secret\u00a0plan is here.",
    "All is well.\nThe secret\u3000plan is here.",
    "All is well.\nThe secret\u200b plan is here.",
    "All is well.\nThe secret (plan) is here.",
    "All is well.\nThe sеcrеt plаn is here.",
    "All is well.\nMr Mu\u0308ller is here.",
    "All is well.\nMr MÜLLER is here.",
    "All is well.\nMr Muller is here.",
    "All is well.\nMr Mü\u200dller is here.",
    "All is well.\nMr Mü1ler is here.",
)

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
_GOOD = '```json\n{"name": "Ann", "age": 3}\n```\n'
_JSON_TEXTS = (
    _GOOD + '```json\n{"name": 5}\n```\n',
    _GOOD + '```JSON\n{"name": 5}\n```\n',
    _GOOD + '```json5\n{"name": 5}\n```\n',
    _GOOD + '```jsonc\n{"name": 5}\n```\n',
    _GOOD + '```javascript\n{"name": 5}\n```\n',
    _GOOD + '```\n{"name": 5}\n```\n',
    _GOOD + '~~~json\n{"name": 5}\n~~~\n',
    _GOOD + '``` json\n{"name": 5}\n```\n',
    _GOOD + '````json\n{"name": 5}\n````\n',
    _GOOD + '> ```json\n> {"name": 5}\n> ```\n',
    _GOOD + '- ```json\n  {"name": 5}\n  ```\n',
    _GOOD + '    {"name": 5}\n',
    _GOOD + 'And {"name": 5}.\n',
    _GOOD + '{"name": 5}\n',
    _GOOD + '`{"name": 5}`\n',
    _GOOD + '<pre>{"name": 5}</pre>\n',
    _GOOD + "{'name': 5}\n",
    _GOOD + "{ \n'name': 5}\n",
    _GOOD + '[{"name": 5}]\n',
    _GOOD + '["Ann", 3]\n',
    _GOOD + '[["name", 5]]\n',
    _GOOD + "{}\n",
    _GOOD + '{ "name":\n5 }\n',
    _GOOD + "{\u201cname\u201d: 5}\n",
    _GOOD + '```json\n{"name": 5}',
    '```json\n{"name": "Ann", "name": 5}\n```\n' + _GOOD,
    '```json\n{"name": "Ann"} {"name": 5}\n```\n' + _GOOD,
    '```json\n{"name": "Ann"}\n{"name": 5}\n```\n' + _GOOD,
    "```json\n[1, 2\n```\n" + _GOOD,
    '```json\n{"name": "Ann", "age": 3.5}\n```\n' + _GOOD,
    '```json\n{"name": "Ann", "age": NaN}\n```\n' + _GOOD,
    '```json\n{"name": "Ann", "age": 3,}\n```\n' + _GOOD,
    '```json\n// a note\n{"name": 5}\n```\n' + _GOOD,
    '```json\n{"age": 3}\n```\n' + _GOOD,
    '```json\n{"name": "Ann", "Age": 3}\n```\n' + _GOOD,
    '{"name": "Ann"}\n{"name": 5}\n',
    '{"name": "Ann"} or {"name": 5}\n',
    '{"name": "Ann"}\n\nAlso:\n```json\n{"name": 5}\n```\n',
    '{"name": "Ann"} and [{"name": 5}]\n',
    'Here: {"name": 5}\n' + _GOOD,
)

_NUMBERS = "Numbers: 4 6 8 4\nTarget: 24\nUse each number exactly once."
_STEP = "8 - 6 = 2 (left: 4 4 2)\n"
_COUNTDOWN_TEXTS = (
    _STEP + "4 + 4 = 9 (left: 9 2)",
    _STEP + "4 ＋ 4 ＝ 9 (left: 9 2)",
    _STEP + "４ + ４ = ９ (left: 9 2)",
    _STEP + "4\u200b + 4 =\u200b 9 (left: 9 2)",
    _STEP + "4 + 4 is 9",
    _STEP + "4 plus 4 makes 9",
    _STEP + "4 + 4 equals 9",
    _STEP + "4 + 4 gives 9, so that works",
    _STEP + "So 4 + 4 = 9, which is fine.",
    _STEP + "Now we take 4 + 4 = 9 and go on.",
    _STEP + "Then (4 + 4) = (9).",
    _STEP + "4 + 4 ≠ 8",
    _STEP + "4 + 4 > 9",
    _STEP + "4 + 4 ≥ 9",
    _STEP + "9 = 4 + 4",
    _STEP + "| 4 + 4 | = | 9 |",
    _STEP + "$4 + 4 = 9$",
    _STEP + "\\(4 + 4 = 9\\)",
    _STEP + "**4 + 4 = 9**, then the rest",
    _STEP + "4 + 4 = 9 = 8 + 1 maybe",
    _STEP + "24 cannot be made from these numbers.",
    _STEP + "So it is impossible.",
    _STEP + "There is no way to do it.",
    _STEP + "There is no solution here.",
    _STEP + "Answer: 4 + 6 * 8 = 24",
    _STEP + "Answer: (4 + 6 + 8) * 4 = 24",
    _STEP + "Answer: 24",
    _STEP + "Answer: eight times three",
    _STEP + "The answer is (4 + 6) * 8 - 4.",
    _STEP + "The answer is 8 * 3 = 24.",
    _STEP + "The solution is 8 × 3.",
    _STEP + "The result is 25.",
    _STEP + "\\boxed{8 * 3}",
    _STEP + "<answer>8 * 3</answer>",
    _STEP + "Ａｎｓｗｅｒ： 8 * 3 = 24",
    _STEP + "**Answer**: 8 * 3",
    _STEP + "answer = 8 * 3",
    "Answer: (8 - 4) * (4 + 6) - 4 * 4 = 24",
    "Answer: (8 - 4) * 6 * 4 / 4 = 24\nNo wait, the answer is 8 * 3.",
    "Answer: 4 * (8 - 6 + 4) = 24\nOr 4 * 5 = 24.",
    "Answer: 4 * (8 - 6 + 4) = 24\nAnother solution: 5 * 5 - 1",
    "Answer: 4 * (8 - 6 + 4) = 24\nAnswer: 30 - 6",
)

_GRID = "#######\n#SXX###\n###X###\n###XXE#\n#######"
_MAZE = (
    "Here is a maze, written in ASCII code: '#' is a wall, 'S' the starting point, 'E' the exit, and 'X' marks the "
    f"path.\n\n{_GRID}\n\nThe objective is to navigate from S to E by following the path marked by X. A right turn is a "
    "change of direction by 90 degrees clockwise. Please answer the following question: How many right turns are there "
    "in the provided path (marked by X) from S to E?\nAvailable options:\nA. 2\nB. 1\nC. 3\nD. 4."
)
_TRUE = "The exit is at (3, 5).\n"
_MAZE_TEXTS = (
    _TRUE + "The start is at (2, 2).",
    _TRUE + "The start is at （２, ２）.",
    _TRUE + "The start is at (2\u200b, 2).",
    _TRUE + "I think the start sits at (2, 2).",
    _TRUE + "We begin in row 2, column 2.",
    _TRUE + "We begin in row 2 and look.",
    _TRUE + "From S we move left.",
    _TRUE + "From S we go straight down.",
    _TRUE + "First I walk to the north.",
    _TRUE + "Then one heads west.",
    _TRUE + "We are moving up now.",
    _TRUE + "The path goes down, down, down.",
    _TRUE + "Path: ↓↓↓",
    _TRUE + "The path is DDRR, as one sees.",
    _TRUE + "The moves are right, then up, and so on.",
    _TRUE + "It leads (1, 1) to (2, 1), clearly.",
    _TRUE + "(1, 1) and then (2, 1) come next.",
    _TRUE + "Step one: S to (2, 1).",
    _TRUE + "There are 5 turns in total, I believe.",
    _TRUE + "We count 4 right turns.",
    _TRUE + "That makes three turns: turn count is 3.",
    _TRUE + "Right turns = 4",
    _TRUE + "It is a left turn at the corner.",
    _TRUE + "Turn: left",
    _TRUE + "At (1, 3) one turns left.",
    _TRUE + "From right to down is a left turn.",
    _TRUE + "The exit lies above and left of the start.",
    _TRUE + "E is to the left of S.",
    _TRUE + "Answer: C. 3",
    _TRUE + "Answer: C",
    _TRUE + "Answer: three",
    _TRUE + "The answer is D.",
    _TRUE + "The answer would be D.",
    _TRUE + "The answer -> D",
    _TRUE + "My result: 4",
    _TRUE + "\\boxed{D}",
    _TRUE + "\\boxed{\\text{D}}",
    _TRUE + "<answer>D</answer>",
    _TRUE + "Ａｎｓｗｅｒ: Ｄ",
    "Answer: B. 1\nNo wait, the answer is D.",
    "Answer: B. 1\nSo the solution is four.",
    "Answer: B. 1\nAnswer: E. 9",
)

CASES: tuple[Case, ...] = (
    *(Case("terms", text, "Say something.", {"terms": TERMS}) for text in _TERMS_TEXTS),
    *(Case("json_schema", text, "Give JSON.", {"schema": SCHEMA}) for text in _JSON_TEXTS),
    *(Case("countdown", text, _NUMBERS, {}) for text in _COUNTDOWN_TEXTS),
    *(Case("maze", text, _MAZE, {}) for text in _MAZE_TEXTS),
)

RIGHT: tuple[Case, ...] = (
    Case(
        "terms", "All is well.\nThe compass words are passable: 15 words, 70 tears.", "Say something.", {"terms": TERMS}
    ),
    Case(
        "terms",
        "Plans are no secret.\nA passing sword, a password-free life? No.",
        "Say something.",
        {"terms": ("sword fish",)},
    ),
    Case("json_schema", _GOOD, "Give JSON.", {"schema": SCHEMA}),
    Case("json_schema", "See [the page](x), {it} and [1].\n" + _GOOD, "Give JSON.", {"schema": SCHEMA}),
    Case("json_schema", '{"name": "Ann"}\nThat is all [1].\n', "Give JSON.", {"schema": SCHEMA}),
    Case("countdown", _STEP + "2 + 4 = 6 (left: 4 6)\n4 * 6 = 24 (left: 24)\n", _NUMBERS, {}),
    Case("countdown", _STEP + "Let us go on from there.\n2 + 4 = 6 (left: 4 6)\n", _NUMBERS, {}),
    Case("countdown", "Answer: 4 * (8 - 6 + 4) = 24", _NUMBERS, {}),
    Case("maze", _TRUE + "Answer: A. 2", _MAZE.replace("How many right", "How many total"), {}),
    Case("maze", "S is at (1, 1).\nPath: right, right, down, down, right, right\nAnswer: B. 1", _MAZE, {}),
)
"""Texts without anything wrong, which stay verified."""
