"""Quotes in delimited text: the rows equal those of the csv module, or the file is an error."""

from __future__ import annotations

import csv
import gzip
import io
import random
from pathlib import Path

import pandas as pd
import pytest

from recsys.data.load import load
from recsys.data.reading import Source, read
from recsys.errors import InputError


def pairs(path: Path, **settings: object) -> list[tuple[str, str]]:
    found = read(Source(path=str(path), **settings)).all  # type: ignore[arg-type]
    assert found is not None
    return [(str(user), str(item)) for user, item in found.select("user", "item").rows()]


def exact(text: str, separator: str, quoting: int) -> list[tuple[str, str]]:
    """User and item of every row below the header, by the standard library."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting)
    return [(row[0], row[1]) for row in list(rows)[1:]]


STRAY = (
    'user\titem\ttitle\n1\t10\tA\n1\t11\tPlain\n2\t10\t"Live\n'
    '2\t12\tOther\n3\t11\tLow"\n3\t12\tEnd\n4\t12\tEnd\n'
)


def test_stray_quotes_between_tabs_swallow_no_row(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text(STRAY)
    assert pairs(path) == exact(STRAY, "\t", csv.QUOTE_NONE)
    assert len(pairs(path)) == 7
    assert load(path).dataset.n_users == 4
    read_by_pandas = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, dtype=str)
    assert pairs(path) == list(zip(read_by_pandas["user"], read_by_pandas["item"], strict=True))
    packed = tmp_path / "q.tsv.gz"
    packed.write_bytes(gzip.compress(STRAY.encode()))
    assert pairs(packed) == pairs(path)


@pytest.mark.parametrize("wanted", ['"Alex', 'Cy"', '"Dan"', 'E"e'])
def test_a_token_of_inter_may_hold_quotes(wanted: str, tmp_path: Path) -> None:
    rows = [(wanted, "A1"), ("Bob", "A2"), ('Eve"', "A3"), ("Fay", "A1")]
    path = tmp_path / "q.inter"
    body = "".join(f"{user}\t{item}\t5\t{1577836800 + n}\n" for n, (user, item) in enumerate(rows))
    path.write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + body)
    assert pairs(path) == rows


def test_text_with_two_colons_does_not_quote(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text('1::10::"4\n2::11::5"\n3::10::3\n')
    with pytest.raises(InputError, match=r"'\"4' is not a finite number"):
        load(path)
    path.write_text('"a::10::4\n"b::11::5\nc"::10::3\n')
    assert pairs(path) == [('"a', "10"), ('"b', "11"), ('c"', "10")]


def test_presplit_pairs_between_tabs_do_not_quote(tmp_path: Path) -> None:
    path = tmp_path / "x.inter"
    path.write_text('userID\titemID\tx_label\n"a\t1\t0\nb"\t2\t0\nc\t1\t2\n')
    parts = read(Source(path=str(path)))
    assert parts.train is not None
    assert parts.train["user"].to_list() == ['"a', 'b"']


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_rows_are_those_of_the_csv_module_or_none(
    separator: str, seed: int, tmp_path: Path
) -> None:
    """Pieces of quotes in any place: what is read has the rows of the exact reader."""
    draw = random.Random(f"{separator}{seed}")
    pieces = ['"', "a", " ", '""', '"b"', '"c', 'd"', f'"e{separator}f"', '"g\nh"', "1"]
    quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    accepted = 0
    for _ in range(120):
        lines = [separator.join(("user", "item", "title"))]
        for row in range(draw.randint(3, 7)):
            title = "".join(draw.choices(pieces, k=draw.choice([0, 0, 0, 1, 1, 1, 2])))
            title = title.replace("\n", "").replace("\t", "") if separator == "\t" else title
            lines.append(separator.join((f"u{row % 3}", f"i{row}", title)))
        text = "\n".join(lines) + "\n"
        path = tmp_path / "a.txt"
        path.write_text(text)
        try:
            found = pairs(path, format="csv", separator=separator)
        except InputError:
            assert separator != "\t", f"between tabs a quote is a letter: {text!r}"
            continue
        accepted += 1
        assert found == exact(text, separator, quoting), text
    assert accepted >= 20


def test_a_quote_setting_says_what_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,item,title\n1,10,'a, b'\n2,11,'c'\n")
    assert pairs(path, quote="'") == [("1", "10"), ("2", "11")]
    with pytest.raises(InputError, match="4 fields"):
        read(Source(path=str(path)))
    path.write_text('user,item,size\n1,10,5" disk\n2,11,3" disk\n3,10,\n')
    with pytest.raises(InputError, match=r'line 2: a quote inside of a field.*quote = ""'):
        read(Source(path=str(path)))
    assert pairs(path, quote="") == [("1", "10"), ("2", "11"), ("3", "10")]
    for wrong in ('""', ",", "é"):
        with pytest.raises(InputError, match="give one character that is not the separator"):
            read(Source(path=str(path), quote=wrong))


def test_a_line_feed_in_tab_separated_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text(STRAY)
    with pytest.raises(InputError, match=r"line 4: a field in quotes goes on over the end"):
        read(Source(path=str(path), quote='"'))
    path.write_text('user\titem\ttitle\n1\t10\t"a\tb"\n2\t11\t"c"\n')
    assert pairs(path, quote='"') == [("1", "10"), ("2", "11")]
    with pytest.raises(InputError, match=r"line 2: 4 fields.*set quote = '\"'"):
        read(Source(path=str(path)))


def test_a_table_of_texts_in_quotes_is_read_as_its_writer_meant(tmp_path: Path) -> None:
    """R quotes every name and every text, also between tabs."""
    frame = pd.DataFrame({"user": ["a", "b", "a"], "item": ["x", 'y"z', "y"], "n": [1, 2, 3]})
    path = tmp_path / "r.tsv"
    frame.to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_NONNUMERIC)
    assert pairs(path) == list(zip(frame["user"], frame["item"], strict=True))


def test_line_feeds_between_commas_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    frame = pd.DataFrame({"user": [1, 2, 3], "item": [7, 8, 9], "text": ["a", "b\nc", "d\n\ne"]})
    frame.to_csv(path, index=False)
    parts = read(Source(path=str(path)))
    assert parts.all is not None
    assert parts.all["user"].to_list() == [1, 2, 3]
    assert "2 rows hold a line feed in quotes, the first at line 3" in parts.history[0]
