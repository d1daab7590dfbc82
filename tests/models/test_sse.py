import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.models import StreamProtocolError
from interwhen.models._sse import SseDecoder

SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"

STREAM = (
    b"\xef\xbb\xbfdata: one\n\n"
    b": keepalive\n\n"
    b"event: message\r\nid: 3\r\nretry: 10\r\ndata:two\r\n\r\n"
    b"data: a\rdata: b\r\r"
    b"data\n\n"
    b"data:  two spaces\n\n"
    b"id: 4\n\n" + 'data: "\u2028\u0085é😀"\n\n'.encode() + b"data: x\r\n\ndata: y\n\r\nunknown: 1\n: c\ndata: z\n\n"
    b"data: half an event"
)
EVENTS = [b"one", b"two", b"a\nb", b"", b" two spaces", '"\u2028\u0085é😀"'.encode(), b"x", b"y", b"z"]


def feed_all(parts, **options):
    decoder = SseDecoder(**options)
    return [event for part in parts for event in decoder.feed(part)]


def test_the_whole_grammar_in_one_read():
    assert [data for data, _ in feed_all([STREAM])] == EVENTS


def test_offsets_point_at_each_events_first_data_line():
    for data, offset in feed_all([STREAM]):
        assert STREAM[offset : offset + 4] == b"data"
        first = data.partition(b"\n")[0]
        assert STREAM[offset + 4 :].lstrip(b": ").startswith(first.strip())


@pytest.mark.fault("W3", injected="an event stream cut in two at every byte", happens="the same events")
def test_any_cut_in_two_gives_the_same_events():
    whole = feed_all([STREAM])
    for cut in range(len(STREAM) + 1):
        assert feed_all([STREAM[:cut], STREAM[cut:]]) == whole, cut


def test_cutting_around_any_byte_gives_the_same_events():
    whole = feed_all([STREAM])
    for cut in range(len(STREAM)):
        assert feed_all([STREAM[:cut], STREAM[cut : cut + 1], STREAM[cut + 1 :]]) == whole, cut


def test_feeding_single_bytes_gives_the_same_events():
    assert feed_all([STREAM[i : i + 1] for i in range(len(STREAM))]) == feed_all([STREAM])


lines = st.text(alphabet=st.sampled_from("a:é😀 " + SEPARATORS), max_size=8)
ends = st.sampled_from(["\n", "\r", "\r\n"])
field_lines = st.tuples(
    st.sampled_from(["data: ", "data:", "data", ": ", "id: ", "", "dat", "\ufeff"]), lines, ends
).map("".join)


@given(st.lists(st.one_of(field_lines, ends), max_size=20).map("".join), st.randoms(use_true_random=False))
def test_random_cuts_never_change_a_streams_events(text, rng):
    body = text.encode()
    parts, rest = [], body
    while rest:
        size = rng.randint(1, 6)
        parts.append(rest[:size])
        rest = rest[size:]
    assert feed_all(parts) == feed_all([body])


@pytest.mark.fault("W5", injected="text of any separators, raw in JSON", happens="the same text")
@given(st.lists(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(SEPARATORS)))))
def test_json_text_survives_whatever_separators_it_holds(texts):
    body = b"".join(b"data: " + json.dumps(text, ensure_ascii=False).encode() + b"\n\n" for text in texts)
    assert [json.loads(data) for data, _ in feed_all([body])] == texts


def test_many_events_in_a_read_with_a_rest():
    decoder = SseDecoder()
    body = b"".join(b"data: %d\n\n" % n for n in range(50))
    assert [data for data, _ in decoder.feed(body + b"data: 5")] == [b"%d" % n for n in range(50)]
    assert decoder.feed(b"1\n") == []
    assert decoder.feed(b"\ndata: 52\n\n") == [(b"51", len(body)), (b"52", len(body) + 10)]
    assert decoder.offset == len(body) + 20


def test_only_the_event_without_data_is_dropped():
    assert feed_all([b"event: ping\n\ndata: x\n\n"]) == [(b"x", 13)]


@pytest.mark.fault("W10", injected="one mark, two marks, half a mark", happens="one is dropped, at the start only")
def test_only_one_bom_at_the_start_is_stripped():
    bom = b"\xef\xbb\xbf"
    assert feed_all([bom, b"data: a\n\n", bom + b"data: b\n\n"]) == [(b"a", 3)]
    assert feed_all([bom + bom + b"data: a\n\ndata: b\n\n"]) == [(b"b", 15)]
    assert feed_all([b"\xef", b"\xbbdata: a\n\ndata: b\n\n"]) == [(b"b", 11)]


@pytest.mark.fault("W28", injected="an event over the limit, in reads of any size", happens="refused, with its place")
@pytest.mark.parametrize("end", [b"", b"\n\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_oversized_events_are_refused_however_they_are_cut(end, size):
    body = b"data: ok\n\ndata: " + b"x" * 1000 + end
    decoder = SseDecoder(limit=500)
    seen = []

    def feed():
        for start in range(0, len(body), size):
            seen.extend(decoder.feed(body[start : start + size]))
        decoder.feed(b"")

    with pytest.raises(StreamProtocolError) as caught:
        feed()
    assert seen == [(b"ok", 0)]
    assert caught.value.offset == 10
    assert caught.value.sample.startswith(b"data: xxx")


def test_many_short_lines_of_one_event_count_together():
    with pytest.raises(StreamProtocolError):
        feed_all([b"data: 0123456789\n"] * 100, limit=500)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_cuts_do_not_change_the_event_size_limit(newline, lines, over):
    first = b"data: a" + newline if lines == 2 else b""
    size = 100 + over - (len(b"data: a\n") if lines == 2 else 0)
    event = first + b"data: " + b"x" * (size - 6) + newline
    for cut in range(1, len(event) + 2):
        parts = [event[:cut], event[cut:] + newline, b""]
        if over > 0:
            with pytest.raises(StreamProtocolError):
                feed_all(parts, limit=100)
        else:
            assert len(feed_all(parts, limit=100)) == 1


def test_an_event_of_exactly_the_limit_is_accepted():
    body = b"data: " + b"x" * 94
    assert len(feed_all([body + b"\n\n"], limit=100)) == 1
    assert len(feed_all([body[:50], body[50:] + b"\r\n\r\n"], limit=100)) == 1
    with pytest.raises(StreamProtocolError):
        feed_all([b"data: " + b"x" * 95 + b"\n\n"], limit=100)


def test_a_body_without_newline_is_scanned_only_once():
    decoder = SseDecoder(limit=1 << 22)
    rng = random.Random(7)
    for _ in range(4000):
        assert decoder.feed(bytes([rng.randrange(97, 123)]) * 512) == []
    assert decoder.feed(b"\n\n") == []
