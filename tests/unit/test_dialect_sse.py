"""Server-sent events, however their bytes are cut."""

from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.dialect import sse
from heedful.errors import Unavailable

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
DATA = st.binary(max_size=12).filter(lambda data: not {*data} & {*b"\r\n"})


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream whose lines end in one way, and the data that it says."""
    end = draw(ENDS)
    said, events = b"", []
    for lines in draw(st.lists(st.lists(DATA, max_size=3), max_size=5)):
        said += draw(st.sampled_from([b"", b": nobody listens" + end, b"event: x" + end + b"id: 7" + end]))
        for line in lines:
            said += b"data: " + line + end
        said += end
        if lines:
            events.append(b"\n".join(lines))
    return said, events


@given(streams(), st.data())
def test_events_are_the_same_however_their_bytes_are_cut(
    stream: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    said, events = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=10)))
    reader, found = sse.Reader(), []
    for begin, stop in zip([0, *cuts], [*cuts, len(said)], strict=True):
        found += reader.take(said[begin:stop])
    assert found == events


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_rubbish_is_no_event_and_no_error(pieces: list[bytes]) -> None:
    reader = sse.Reader()
    one_by_one = [data for piece in pieces for data in reader.take(piece)]
    assert one_by_one == sse.Reader().take(b"".join(pieces))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_given_as_soon_as_its_empty_line_is_there(end: bytes) -> None:
    reader = sse.Reader()
    assert reader.take(b"data:one" + end) == []
    assert reader.take(end) == [b"one"]
    assert reader.take(b"data: two" + end + end + b"data: th") == [b"two"]
    assert reader.take(b"ree" + end + end) == [b"three"]


def test_what_is_no_data_says_nothing() -> None:
    assert sse.Reader().take(b": hello\n\nevent: ping\nid: 1\nretry: 5\n\ndata\n\n\n\n") == []


def test_an_event_without_end_is_refused() -> None:
    reader = sse.Reader(longest=100)
    assert reader.take(b"data: " + b"x" * 90) == []
    with pytest.raises(Unavailable, match="more than 100 bytes"):
        reader.take(b"and more")


def test_a_large_event_in_small_pieces_costs_no_more_than_its_bytes() -> None:
    reader, piece = sse.Reader(), b"x" * 512
    begun = time.process_time()
    reader.take(b"data: ")
    for _ in range(15 << 11):  # 15 MiB
        assert reader.take(piece) == []
    (data,) = reader.take(b"\n\n")
    assert len(data) == 15 << 20
    assert time.process_time() - begun < 3.0  # looked at again for every piece it took minutes


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists))
def test_an_event_reads_as_what_was_written(value: object) -> None:
    for written in (sse.event(value), sse.named({"type": "x", "value": value})):
        (data,) = sse.Reader().take(written)
        assert orjson.loads(data) in (value, {"type": "x", "value": value})
    assert sse.Reader().take(sse.DONE) == [b"[DONE]"]
