"""Long documents: pieces keep what belongs together, are never too long, and change little when the text does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import UsageError
from interwhen.precompute import pieces_of

MANUAL = """\
The Manual
==========

Before you begin.

Tariffs
-------

All prices are in euros.

| weight | price |
|--------|-------|
| 1 kg   | 5     |
| 2 kg   | 9     |

How to pay
----------

```python
pay(5)

pay(9)
```

Pay at the desk. Or pay later.
"""
TABLE = "| weight | price |\n|---|---|\n" + "\n".join(f"| {at} kg | {5 * at} |" for at in range(200))
BLOCKS = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=300),
        st.integers(1, 4).map(lambda level: "#" * level + " A heading"),
        st.integers(1, 60).map(lambda rows: "\n".join(f"| {row} | x |" for row in range(rows))),
        st.integers(1, 60).map(lambda rows: "```\n" + "\n\n".join(f"x = {row}" for row in range(rows)) + "\n```"),
    ),
    max_size=30,
).map("\n\n".join)


def squeezed(text):
    return re.sub(r"\s+", "", text)


def page(number):
    lines = (f"Part {number}.{at} weighs {number * 7 + at} kg and costs {at + 3} euros. " * 3 for at in range(8))
    return f"# Section {number}\n\n" + "\n\n".join(lines)


def test_a_short_text_is_one_piece():
    (piece,) = pieces_of(MANUAL)
    assert squeezed(piece.text) == squeezed(MANUAL)
    assert piece.lead == ""


def test_sections_tables_and_code_are_kept_whole():
    pieces = pieces_of(MANUAL, size=100, overlap=30)
    (table,) = [piece for piece in pieces if "|" in piece.text]
    assert table.text.count("\n") >= 3
    assert "2 kg" in table.text
    assert table.lead.startswith("The Manual\n==========\nTariffs\n-------")
    (code,) = [piece for piece in pieces if "```" in piece.text]
    assert "pay(5)\n\npay(9)\n```" in code.text
    for piece in pieces:  # a heading stands with the text below it
        assert not re.search(r"\n[=-]+\Z", piece.text)


def test_long_table_is_split_between_rows_with_header():
    pieces = pieces_of(f"# Tariffs\n\n{TABLE}", size=400)
    assert len(pieces) > 5
    for piece in pieces[2:]:
        assert piece.lead == "# Tariffs\n| weight | price |\n|---|---|"
        assert all(re.fullmatch(r"\| \d+ kg \| \d+ \|", row) for row in piece.text.splitlines())


def test_lead_holds_headings_and_preceding_sentences():
    pieces = pieces_of(
        "# One\n\n" + "First it rains. Then it pours. " * 22 + "\n\n## Two\n\nEnd.", size=200, overlap=40
    )
    inner = pieces[1]
    assert inner.lead == "# One\nFirst it rains. Then it pours."
    assert pieces[-1].text.startswith("## Two")
    assert pieces[-1].lead == "# One"


@given(BLOCKS, st.integers(16, 400))
def test_splitting_loses_nothing_and_respects_size(text, size):
    pieces = pieces_of(text, size=size, overlap=size // 4)
    assert squeezed("".join(piece.text for piece in pieces)) == squeezed(text)
    assert all(len(piece.text) <= size for piece in pieces)
    assert len({piece.name for piece in pieces}) == len(pieces)
    assert all(piece.text.strip() for piece in pieces)


@pytest.mark.parametrize("structured", [True, False])
def test_an_edit_changes_few_pieces(structured):
    text = "\n\n".join(map(page, range(60)))
    if not structured:
        text = text.replace("#", "")
    before = {piece.sha256 for piece in pieces_of(text)}
    after = {piece.sha256 for piece in pieces_of(f"A new page.\n\n{text.replace('Part 30.0', 'Now part 30.0')}")}
    assert len(before) > 20
    assert len(after - before) <= (4 if structured else 8)


def test_five_hundred_pages_split_within_three_seconds():
    from time import thread_time

    text = "\n\n".join(map(page, range(1000)))
    assert len(text) > 1_100_000
    begun = thread_time()
    pieces = pieces_of(text)
    assert thread_time() - begun < 3  # half a second alone
    assert 500 < len(pieces) < 2000


@pytest.mark.parametrize(("size", "overlap"), [(15, 0), (100, 101), (100, -1)])
def test_sizes_that_cannot_work_are_refused(size, overlap):
    with pytest.raises(UsageError, match="size of a piece"):
        pieces_of("text", size=size, overlap=overlap)
