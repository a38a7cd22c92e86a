"""Tables in text: what stands in them, and what is told, with its line, where they are malformed."""

import pytest

from jaxembed.data.columns import read_ids, read_numbers, read_table
from jaxembed.data.triples import read_triples


def write(folder, text, name="t.tsv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def test_columns_are_named_by_the_first_line_or_by_their_places(tmp_path):
    named = read_table(write(tmp_path, "b\ta \r\n1\t x\r\n\r\n2\ty\r\n"), ["a", "b"])
    assert named.columns.to_pydict() == {"a": ["x", "y"], "b": ["1", "2"]}
    assert named.lines.tolist() == [2, 4]
    bare = read_table(write(tmp_path, "1\tx\n2\t\n"), ["1", "0"])
    assert bare.columns.to_pydict() == {"1": ["x", None], "0": ["1", "2"]}
    assert read_table(write(tmp_path, "1\tx\n"), ["a", "b"], usual=("b", "a")).columns.to_pydict() == {
        "a": ["x"],
        "b": ["1"],
    }


def test_ids_stay_as_they_are_written(tmp_path):
    ids = ["007", "1e3", "1.0", "NA", "null", "-", '"', "1" * 30]
    table = read_table(write(tmp_path, "id\tn\n" + "".join(f"{one}\t1\n" for one in ids)), ["id", "n"])
    assert read_ids(table, "id").tolist() == ids


def test_fields_of_csv_are_quoted(tmp_path):
    text = '\ufeffid,about\n1,"a, ""b"""\n2,"two\nlines"\n3,x\n'
    table = read_table(write(tmp_path, text, "t.CSV"), ["id", "about"])
    assert table.columns.to_pydict() == {"id": ["1", "2", "3"], "about": ['a, "b"', "two\nlines", "x"]}
    assert table.where(2) == f"line 5 of {table.title}"
    with pytest.raises(ValueError, match=r"line 4 of .* has several lines"):
        read_ids(table, "about")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("head\trelation\ttail\na\tr\n", "line 2 has 2 fields, and the first line 3"),
        ("a\tr\tb\n\na\tr\tb\td\n", "line 3 has 4 fields, and the first line 3"),
        ("a\tr\tb\n\nb\t \tc\n", "line 3 of .* has no relation"),
        ("a\tr\tb\n\t\t\n", "line 2 of .* has no head"),
        ("a r b\n", r"no column 'head': its first line is a r b \(its fields are parted by '\\t'\)"),
        ("", "has no rows"),
        ("head\trelation\ttail\n", "has no rows"),
        (b"a\tr\tb\nM\xe9xico\tr\tb\n", "line 2 is not UTF-8"),
    ],
)
def test_malformed_lines_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_triples(write(tmp_path, text))


def test_what_csv_cannot_be_is_named(tmp_path):
    with pytest.raises(ValueError, match="line 3 is not CSV"):
        read_table(write(tmp_path, 'a,b\n1,2\n1,"2\n', "t.csv"), ["a"])
    with pytest.raises(ValueError, match=r"has no column '2': its first line is 1 \| 2"):
        read_table(write(tmp_path, "1,2\n", "t.csv"), ["0", "2"])
    table = read_table(write(tmp_path, "a,b\n1,2\nfive,2\n", "t.csv"), ["a"])
    with pytest.raises(ValueError, match=r"line 3 of .* has no number in the column 'a'"):
        read_numbers(table, "a")
