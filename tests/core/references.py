"""What each trigger means, written for the whole text at once: slow, plain, and independent of the scanners."""

from __future__ import annotations

import re

from interwhen import Answer, CodeBlocks, Lines, Paragraphs, Sentences, ToolCalls
from interwhen._core.messages import NO_OFFER
from interwhen._core.written_calls import read_written
from interwhen.triggers import EveryChars, Markers, ThinkEnd

TRIGGERS = (
    Lines(),
    Lines(every=3),
    Lines(joins=("wait", "b", "!", "e")),
    Paragraphs(),
    Sentences(),
    Markers(),
    Markers(words=("a b c", "b", "Wait", "Wait a")),
    ToolCalls(),
    ToolCalls(opening="<<", closing="<>"),
    CodeBlocks(),
    EveryChars(count=1),
    EveryChars(count=7),
    Answer(),
)

CLOSERS = "\"')]}\u201d\u2019*_"
ABBREVIATIONS = {
    *("e.g", "i.e", "etc", "vs", "cf", "approx", "mr", "mrs", "ms", "dr", "prof", "st", "fig", "eq", "no", "resp"),
}


def trimmed(text, start, end):
    part = text[start:end]
    if not part.strip():
        return []
    low = start + len(part) - len(part.lstrip())
    return [(low, low + len(part.strip()))]


def between(text, borders):
    return [span for a, b in zip([0, *borders], [*borders, len(text)], strict=True) for span in trimmed(text, a, b)]


def lines(text, every):
    borders, line, count = [], 0, 0
    for at, char in enumerate(text):
        if char == "\n":
            count += bool(text[line:at].strip())
            line = at + 1
            if count == every:
                borders.append(at + 1)
                count = 0
    return between(text, borders)


def joins(line, words):
    line = line.strip()
    count = 0
    while count < min(8, len(line)) and not (line[count].isalnum() or line[count] == "_"):
        if line[count] in words:
            return True
        count += 1
    word = ""
    for char in line[count:]:
        if not (char.isalnum() or char in "'\u2019"):
            break
        word += char
    return word.lower() in words


def joined_lines(text, words):
    spans = lines(text, 1)
    ranges = []
    while spans:
        start, end = spans.pop(0)
        if spans and joins(text[slice(*spans[0])], words):
            end = spans.pop(0)[1]
        ranges.append((start, end))
    return ranges


def paragraphs(text):
    borders, line = [], 0
    for at, char in enumerate(text):
        if char == "\n":
            if not text[line:at].strip():
                borders.append(at + 1)
            line = at + 1
    return between(text, borders)


def ends_sentence(text, start, at):
    end = at + 1
    while end < len(text) and end <= at + 3 and text[end] in CLOSERS:
        end += 1
    if end == len(text) or not text[end].isspace():
        return None
    if text[at] == ".":
        before = text[max(start, at - 8) : at]
        word = before.split()[-1] if before and not before[-1].isspace() else ""
        if word.lower().strip("([") in ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word.isupper()):
            return None
        if word.isdigit() and at - start <= 16 and text[start:at].strip() == word:
            return None
    return end


def sentences(text):
    borders = [0]
    for at, char in enumerate(text):
        if char == "\n":
            borders.append(at + 1)
        elif char in ".!?" and (end := ends_sentence(text, borders[-1], at)) is not None:
            borders.append(end)
    return between(text, borders[1:])


def is_letter(text, at):
    return 0 <= at < len(text) and text[at].isalnum()


def markers(text, words):
    borders = [
        at
        for at in range(1, len(text))
        if not is_letter(text, at - 1)
        and any(text.startswith(word, at) and not is_letter(text, at + len(word)) for word in words)
    ]
    return between(text, borders)


def tool_calls(text, opening, closing):
    spans, at = [], 0
    while (low := text.find(opening, at)) >= 0 and (high := text.find(closing, low + len(opening))) >= 0:
        at = high + len(closing)
        spans.append((low, at))
    return spans


HEAD = re.compile(r"\s*[{\[]|\s*<function=|[ \t]*\n\s*[^\s<`.…]|[^\s<`.…]")
UNCLOSED = re.compile(r"\s*[{\[]|\s*<function=|[A-Za-z_][\w.-]{0,99}(\s*<|[ \t]*\n|\()")


def is_quoted(before):
    *lines, last = before.split("\n")
    fences = sum(line.lstrip().startswith(("```", "~~~")) for line in lines)
    return fences % 2 == 1 or last.count("`") % 2 == 1


def written_calls(text, phase="answer"):
    # Models write about calls in the reasoning, so what cannot be read is not a call there.
    spans, at = [], 0
    while (low := text.find("<tool_call>", at)) >= 0:
        body = low + len("<tool_call>")
        if HEAD.match(text[body : body + 400]) is None or is_quoted(text[:low]):
            at = low + 1
            continue
        high = text.find("</tool_call>", body)
        if high < 0 and UNCLOSED.match(text[body:]) is None:
            at = low + 1
            continue
        at = len(text) if high < 0 else high + len("</tool_call>")
        read = read_written("tagged", text[low:at], NO_OFFER, ("<tool_call>", "</tool_call>"))
        if phase == "reasoning" and (read is None or read.problem):
            at = low + 1 if high < 0 else at
            continue
        spans.append((low, at))
    return spans


def code_blocks(text):
    blocks, opened, at = [], None, 0
    for line in text.split("\n"):
        if len(line) > 200:
            at += len(line) + 1
            continue
        bare = line.strip()
        indent = len(line) - len(line.lstrip(" \t"))
        mark = line[indent:][:1]
        if opened is None:
            run = len(line[indent:]) - len(line[indent:].lstrip(mark)) if mark in ("`", "~") and mark else 0
            if run >= 3 and not (mark == "`" and "`" in line[indent + run :]):
                opened = (at + indent, mark, run)
        elif bare and set(bare) == {opened[1]} and len(bare) >= opened[2]:
            blocks.append((opened[0], at + len(line.rstrip())))
            opened = None
        at += len(line) + 1
    return blocks


def every_chars(text, count):
    full = [(at, at + count) for at in range(0, len(text) - count + 1, count)]
    rest = len(text) // count * count
    return full + [(rest, len(text))] * bool(text[rest:].strip())


def reference(trigger, text, phase="answer"):
    match trigger:
        case Lines(joins=words) if words:
            return joined_lines(text, words)
        case Lines(every=every):
            return lines(text, every)
        case Paragraphs():
            return paragraphs(text)
        case Sentences():
            return sentences(text)
        case Markers(words=words):
            return markers(text, words)
        case ToolCalls(opening=opening, closing=closing):
            return written_calls(text, phase) if opening == "<tool_call>" else tool_calls(text, opening, closing)
        case CodeBlocks():
            return code_blocks(text)
        case EveryChars(count=count):
            return every_chars(text, count)
        case ThinkEnd() | Answer():
            return trimmed(text, 0, len(text))
