"""Rows of an import are found in a stream, however it is cut into pieces."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from service.audience.records import Record, Records

lines = st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")))
cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)


@st.composite
def pieces(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def _read(records: Records, chunks: list[bytes]) -> list[Record]:
    found = [record for chunk in chunks for record in records.feed(chunk)]
    return [*found, *records.end()]


@given(lines, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.data())
def test_lines_are_records(rows: list[bytes], end: bytes, closed: bool, data: st.DataObject) -> None:
    raw = end.join(rows) + (end if closed and rows else b"")
    expected = [Record(number, row) for number, row in enumerate(rows, 1)]
    if expected and not rows[-1] and not closed:
        expected.pop()
    bom = b"\xef\xbb\xbf"
    if expected and expected[0].raw is not None:
        expected[0] = Record(1, expected[0].raw.removeprefix(bom))
    found = _read(Records(quoted=False, most=100), data.draw(pieces(raw)))
    assert found == expected


@given(st.lists(st.lists(cells, min_size=2, max_size=4), max_size=6), st.data())
def test_rows_of_csv_are_records_with_the_line_they_begin_on(
    rows: list[list[str]], data: st.DataObject
) -> None:
    text = io.StringIO(newline="")
    starts = []
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for row in rows:
        starts.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    found = _read(Records(quoted=True, most=1_000), data.draw(pieces(text.getvalue().encode())))
    assert [record.line for record in found] == starts
    read = [next(csv.reader([(record.raw or b"").decode()], strict=True)) for record in found]
    assert read == rows


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_record_that_is_too_long_is_named_and_the_next_one_is_read(
    length: int, most: int, data: st.DataObject
) -> None:
    raw = b"x" * length + b"\nok\n"
    first, second = _read(Records(quoted=False, most=max(most, 2)), data.draw(pieces(raw)))
    assert first == Record(1, b"x" * length if length <= max(most, 2) else None)
    assert second == Record(2, b"ok")


def test_a_quotation_mark_that_is_never_closed_takes_a_bounded_number_of_rows() -> None:
    raw = b'1,"open\n' + b"2,x\n" * 50
    found = _read(Records(quoted=True, most=40), [raw])
    assert found[0] == Record(1, None)
    assert found[-1] == Record(51, b"2,x")
    assert len(found) > 30
