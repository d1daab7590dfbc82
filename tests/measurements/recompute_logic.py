"""Recompute single steps of BIG-Bench Mistake by brute force, to count the labelled mistakes that a program can find.

This code shares nothing with the verifier ``logic``: :mod:`tests.measurements.measure_logic` uses it to judge that verifier.
It reads only the few forms of this data set, one step at a time, and returns whether a claim of the step is false.
"""

from __future__ import annotations

import re
from itertools import pairwise, permutations

RANKS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
LETTER = re.compile(r'"([^"]+)": "(\w)" \((\d+)\)')
GROUP = r'(?:\(\d+\) )?(?:"[^"]+"|\[[^\]]+\])'
CHAIN = re.compile(rf"{GROUP}(?: [<=] {GROUP})*")
NUMBERS = {"three": 3, "five": 5, "seven": 7}
CLOSES = {"(": ")", "[": "]", "{": "}", "<": ">"}


def sorting_is_wrong(problem: str, steps: list[str], at: int) -> bool:
    """Return whether a letter, a number, an order or a list of the words in that step is false."""
    given, step = problem.split(), steps[at]
    ranks = [word for each in steps[: at + 1] for word in re.findall(r"(\w+) letters?\b", each.lower())]
    rank = next((RANKS.index(word) for word in reversed(ranks) if word in RANKS), 0)
    for word, letter, number in LETTER.findall(step):
        if word not in given or word[rank : rank + 1] != letter or ord(letter) - 96 != int(number):
            return True
    if LETTER.search(step):
        return _mixed(step, rank)
    answer = re.search(r"The answer is (.+)$", step)
    return _chain_is_wrong(given, step, rank) or bool(answer and answer[1].rstrip(".").split() != sorted(given))


def _chain_is_wrong(given: list[str], step: str, rank: int) -> bool:
    settled: list[str] = []
    for chain in CHAIN.finditer(step):
        groups = [re.findall(r'"([^"]+)"', group) for group in re.split(r" [<=] ", chain[0])]
        numbers = re.findall(r"\((\d+)\)", chain[0])
        if any(one >= other for left, right in pairwise(groups) for one in left for other in right):
            return True
        if len(numbers) == len(groups) and "for the subpart" in step[chain.end() :][:20]:
            pairs = zip(numbers, groups, strict=True)
            if any(ord(word[rank : rank + 1] or "`") - 96 != int(number) for number, group in pairs for word in group):
                return True
            settled = [group[0] for group in groups if len(group) == 1]
        elif step[: chain.start()].endswith(("we have ", "now have: ")) and _list_is_wrong(given, groups, settled):
            return True
    return False


def _list_is_wrong(given: list[str], groups: list[list[str]], settled: list[str]) -> bool:
    if sorted(word for group in groups for word in group) != sorted(given):
        return True
    return any(len({word[0] for word in group}) > 1 or len(set(group) & set(settled)) > 1 for group in groups)


def _mixed(step: str, rank: int) -> bool:
    """Return whether words that differ in earlier letters are sorted by a later one."""
    subpart = re.search(r"subpart \[([^\]]+)\]", step)
    words = re.findall(r'"([^"]+)"', subpart[1]) if subpart else []
    return len({word[:rank] for word in words}) > 1


def swaps_are_wrong(problem: str, steps: list[str], at: int) -> bool:
    """Return whether that step gives a person a thing that another one holds."""
    told, _, asked = problem.split(":", 1)[1].partition("At the end")
    verb = r"(?:has|gets|is playing|is dancing with)"
    holds = dict(re.findall(rf"(\w+) {verb} (?:a |the )?([^,.]+)", told.split("First,")[0]))
    swaps = re.findall(r"(\w+) and (\w+) (?:swap|switch|trade)", told[told.index("First,") :])
    states = [dict(holds)]
    for one, other in swaps:
        holds[one], holds[other] = holds[other], holds[one]
        states.append(dict(holds))
    shift = 0 if re.search(r"swap|switch|trade", steps[0]) is None else 1
    final = re.search(r"the answer is \((\w)\)", steps[at])
    people = "|".join([*states[0], *(name[0] for name in states[0])])
    claim = rf"\b({people})(?:: | has | is playing | is dancing with )([^,.:]+)"
    said = re.findall(claim, steps[at].split("So the answer")[0])
    count = len(swaps) if "At the end" in steps[at] or at + shift > len(swaps) else at + shift
    for name, thing in said:
        owner = next((known for known in states[0] if name in {known, known[0]}), None)
        if owner is not None and not set(thing.split()) - {"the", "The"} <= set(states[count][owner].split()):
            return True
    name = re.match(r"[^,]*, (\w+)", asked)
    option = re.search(rf"\({final[1]}\) (.+?)\.?(?:\n|$)", problem) if final else None
    return bool(option and name and states[-1][name[1]].split()[-2:] != option[1].split()[-2:])


def order_is_wrong(problem: str, steps: list[str], at: int) -> bool:
    """Return whether a place in that step is not the one in the only order that the clues allow, or is not there."""
    names, order = _order(problem)
    step, count = steps[at], len(names)
    for text, place in _places(step, count, "from"):
        listed = step.split(text)[0].rpartition("from ")[2].split(" to ")[0]
        is_low = any(listed.endswith(low) for low in ("left", "oldest", "cheapest", "first", "least expensive"))
        who = next((name for name in names if re.search(rf"\b{name}\b", text)), None)
        right = bool(who) and order[who] == (place if is_low else count - 1 - place)
        if place >= count or (who and right == (" not " in text)):
            return True
    plain = re.sub(r"[Ss]o from .*", "", step)
    return any(
        re.search(rf"\b{name}\b", text)
        and (order[name] == place) == ("cannot" in text)
        and not re.search(r"only|either", text)
        for text, place in _ranked(plain, count)
        for name in names[:]
        if re.search(rf"(?:^|[Tt]he |, ){name}(?: \w+)? (?:is|are|finished|must be|cannot be|so) ", text)
    ) or _picked(problem, step, order)


def _picked(problem: str, step: str, order: dict[str, int]) -> bool:
    answer = re.search(r"the answer is \((\w)\)", step)
    option = re.search(rf"\({answer[1]}\) (.+?)\.?(?:\n|$)", problem) if answer else None
    ranked = _ranked(option[1], len(order)) if option else []
    return any(
        order[name] != place for _, place in ranked for name in order if f" {name}" in f" {option and option[1]}"
    )


def _places(step: str, count: int, mark: str) -> list[tuple[str, int]]:
    if mark not in step:
        return []
    rest = step[step.index(mark) :]
    statements = re.findall(r"\b((\w+) is (?:the )?[^,.]+)", rest)
    beyond = re.findall(r"\b((eighth|ninth|tenth) can be [^,.]+)", rest) if count < 8 else []
    words = [
        (text, count - 1 if word == "last" else RANKS.index(word))
        for text, word in statements
        if word in [*RANKS, "last"]
    ]
    return words + [(text, RANKS.index(word)) for text, word in beyond]


def _ranked(text: str, count: int) -> list[tuple[str, int]]:
    ranked = []
    for sentence in re.split(r"\.\s|, so ", text):
        for pattern, is_low in (
            (r"(?:(\w+)[ -])?(?:from the left|oldest|cheapest|least expensive)|leftmost", True),
            (r"(?:(\w+)[ -])?(?:from the right|newest|most expensive)|rightmost", False),
            (r"finished (first|second|third|fourth|fifth|sixth|seventh)\b(?!-to)", True),
            (r"finished (?:(second|third|fourth)-to-)?last", False),
        ):
            if match := re.search(pattern, sentence):
                rank = RANKS.index(match[1]) if match[1] in RANKS else 0
                ranked.append((sentence, rank if is_low else count - 1 - rank))
                break
    return ranked


def _order(problem: str) -> tuple[list[str], dict[str, int]]:
    """Return the names, and the place of each in the only order: every one is tried."""
    lines = problem.split("\nQ:", maxsplit=1)[0].split("\n- ")[1:]
    listed = re.split(r", and |, ", lines[0].split(": ")[1].rstrip("."))
    names = [re.sub(r"^(?:an?|the) |\sbook$", "", each) for each in listed]
    rules = [_rule(line.rstrip("."), names) for line in lines[1:]]
    for places in permutations(range(len(names))):
        order = dict(zip(names, places, strict=True))
        if all(_keeps(rule, order) for rule in rules):
            return names, order
    raise ValueError(f"the clues must have an order that keeps all, got none for {problem!r:.300}: correct the problem")


Rule = tuple[str, str, int]
"""Two names, the first of which stands lower; or one name, an empty text, and its place."""


def _rule(line: str, names: list[str]) -> Rule:
    inside = sorted((line.index(name), name) for name in names if re.search(rf"\b{name}\b", line))
    if len(inside) == 1 or (" than " not in line and not re.search(r"to the (?:left|right)|above|below", line)):
        return inside[0][1], "", _ranked(line, len(names))[0][1]
    one, other = inside[0][1], inside[1][1]
    is_low = re.search(r"to the left|older|less expensive|cheaper|above", line)
    return (one, other, 0) if is_low else (other, one, 0)


def _keeps(rule: Rule, order: dict[str, int]) -> bool:
    one, other, place = rule
    return order[one] < order[other] if other else order[one] == place


def brackets_are_wrong(problem: str, steps: list[str], at: int) -> bool:
    """Return whether the stack in that step is wrong after the brackets of the steps of that form so far."""
    given = re.findall(r"[()\[\]{}<>]", problem.rpartition("Input:")[2])
    form = re.compile(r"(?:.*: )?([()\[\]{}<>]) ; stack: (.+)$")
    read = [match for match in map(form.match, steps[: at + 1]) if match]
    match = form.match(steps[at])
    count = len(read) if match else len(given)
    stack: list[str] = []
    for sign in given[:count]:
        if sign in CLOSES:
            stack.append(sign)
        else:
            stack.pop()
    if match:
        shown = [] if match[2] == "empty" else match[2].split()
        return count > len(given) or match[1] != given[count - 1] or shown != stack
    last = re.search(r'final stack is "([^"]*)"', steps[at])
    popped = re.search(r"pop out (.+?) one by one", steps[at])
    answer = re.search(r"the answer is (.+?)\.?$", steps[at])
    closing = [CLOSES[sign] for sign in reversed(stack)]
    return bool(
        (last and last[1].replace("empty", "").split() != stack)
        or (popped and re.findall(r'"(.)"', popped[1]) != stack[::-1])
        or (answer and answer[1].split() != closing)
    )
