"""What is said to a model holds nothing of a model's that could act, and never much of it."""

import pytest
from corpus import ALL, FAMILIES, LOOKALIKES, SHORT, TOKENS, acting, holds_token, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Claim, Feedback, Monitor, Repair, Span, Violation, verifier
from interwhen._types.segments import QUOTE_LIMIT, is_writable, quote
from interwhen.remedies import FeedbackTemplate
from tests.core.driving import run

LEVELS = ("flag", "locate", "explain", "witness")
TEMPLATES = (
    FeedbackTemplate(),
    FeedbackTemplate(locate="[{quote}]", explain="<{why}|{quote}>", witness="{quote}{why}{witness}"),
)


def check_said(said, fields=1):
    assert len(said) <= 100 + fields * QUOTE_LIMIT
    assert not acting(said)
    assert "\n" not in said
    assert not holds_token(said)


@pytest.mark.fault(
    "P9", injected="tokens of the chat templates of sixteen model families", happens="none is in a quote"
)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_of_any_family_is_quoted(family):
    for token in FAMILIES[family]:
        inside = (token, f"a{token}b", f"{token[:2]}{token}{token[2:]}", token * 50, f"{token[:2]}\x00{token[2:]}")
        for text in (
            *inside,
            token.upper(),
            token.replace("<", "＜").replace(">", "＞"),
            token[:-1] + " " * 90 + token[-1],
        ):
            assert not holds_token(quote(text)), (text, quote(text))
        assert quote(f"a {token} b") == "a b"
        assert not is_writable(f"4{token}")


@pytest.mark.parametrize("text", LOOKALIKES, ids=lambda text: ascii(text[:20]))
def test_nor_what_would_become_one(text):
    check_said(quote(text))


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "x <b>bold</b> y",
        "if a < 3: print(a[0])",
        "[see 1]",
        "5 | 3",
        "<- 2 ->",
        "List[int]",
        "[TODO]",
    ],
)
def test_text_without_special_tokens_is_quoted_unchanged(text):
    assert quote(text) == text


@pytest.mark.fault(
    "P9", injected="hostile text as quote, why and witness, for every level", happens="one clean bounded line"
)
@settings(max_examples=30)
@given(texts(20), texts(20), texts(20), st.sampled_from(LEVELS), st.sampled_from(TEMPLATES))
def test_feedback_is_one_clean_bounded_line(wrong, why, witness, level, template):
    check_said(template.render(level, Violation(why=why, witness=witness), wrong), fields=3)


@pytest.mark.fault(
    "P9", injected="each hostile text as quote, why and witness", happens="one clean bounded line, at every level"
)
def test_every_text_of_the_corpus(record_property):
    record_property("tries", len(ALL) * len(LEVELS))
    for text in ALL:
        for level in LEVELS:
            check_said(TEMPLATES[0].render(level, Violation(why=text, witness=text), text))


def test_what_does_not_show_is_not_written():
    for text in SHORT:
        if acting(text) or holds_token(text):
            assert not is_writable(text), ascii(text)
    assert is_writable("1,234.50 é € 漢")


@verifier(name="echo", worker="inline")
def echo(claim):
    """Say back whatever the model wrote, in each place where a verifier can."""
    return Violation(why=claim.key, witness=claim.key, where=Span(0, 1), repair=claim.key)


def parrot(**options):
    def lines(segment):
        yield Claim(key=segment.text, span=segment.span)

    return Monitor(name="parrot", verifier=echo, extractor=lines, **options)


@pytest.mark.fault(
    "P9",
    injected="a verifier that repeats the model's text in every field",
    happens="what is written is clean and bounded",
)
@pytest.mark.parametrize("remedy", [Repair(), Feedback("append"), Feedback("rewind")], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("level", LEVELS)
def test_a_careless_verifier_writes_nothing_that_acts(level, remedy, record_property):
    tries = 0
    for text in (*TOKENS, *SHORT, "x" * 5000):
        if text.strip() and "\n" not in text:
            tries += 1
            driver = run(parrot(level=level, remedy=remedy))
            driver.say(f"{text}\n")
            assert driver.core.violations.remedies
            for order in driver.orders:
                for piece in getattr(order, "pieces", None) or ():
                    if piece.origin != "model":
                        check_said(piece.text.strip("\n"))
    record_property("tries", tries)
