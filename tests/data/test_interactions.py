import gzip
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.data.interactions import Interactions, read_features, read_interactions

ROWS = [("b", "x", 3), ("a", "y", 1), ("a", "x", 2), ("b", "z", 1), ("a", "z", 5), ("b", "y", 2)]


def write(folder, name="train", rows=ROWS, **columns):
    made = dict(zip(("user", "item", "time"), map(list, zip(*rows, strict=True)), strict=False)) | columns
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(made), folder / f"{name}.parquet")
    return str(folder)


def pairs(part):
    return [(part.users[u], part.items[i]) for u, i in zip(part.user, part.item, strict=True)]


def test_leave_one_out_takes_what_came_last(tmp_path):
    data = write(tmp_path / "t")
    found = read_interactions(data, test_split=None, time="time", hold="last")
    assert pairs(found.test) == [("a", "z"), ("b", "x")]
    assert pairs(found.dev) == [("a", "x"), ("b", "y")]
    assert pairs(found.train) == [("a", "y"), ("b", "z")]
    assert pairs(found.known) == [("a", "y"), ("a", "x"), ("b", "z"), ("b", "y")]  # by time
    histories = found.known.histories(3)
    assert [[found.train.items[i] if i >= 0 else None for i in row] for row in histories] == [
        [None, "y", "x"],
        [None, "z", "y"],
    ]


@pytest.mark.parametrize("length", [2, 3, 5, 60])
def test_pieces_hold_each_step_of_a_user_once(length):
    sizes = [3, 1, 0, 2, 11, 40]
    user = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    item = np.random.default_rng(0).permutation(len(user)).astype(np.int32)
    names = tuple(map(str, range(len(user))))
    data = Interactions(names[: len(sizes)], names, user, item)
    pieces = data.pieces(length)
    assert pieces.shape[1] == length
    steps = [(a, b) for row in pieces for a, b in itertools.pairwise(row) if a >= 0]
    expected = [(a, b) for u in range(len(sizes)) for own in [item[user == u]] for a, b in itertools.pairwise(own)]
    assert sorted(steps) == sorted(expected)
    assert (pieces[:, -2:] >= 0).all()  # padding stands in front, and none is padding alone
    assert (np.diff((pieces >= 0).astype(int), axis=1) >= 0).all()


def test_a_share_is_set_apart_of_each_user_the_same_each_time(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {f"u{i}": n for i, n in enumerate([1, 2, 5, 10, 40])}
    rows = [(u, f"i{i}") for u, n in sizes.items() for i in rng.choice(60, n, replace=False)]
    data = write(tmp_path / "t", rows=rows)
    first, again = (read_interactions(data, test_split=None, validation=0.1, test=0.2) for _ in range(2))
    assert first.train.fingerprint == again.train.fingerprint
    parts = [first.train, first.dev, first.test]
    assert sorted(pair for part in parts for pair in pairs(part)) == sorted(rows)
    count = lambda part: np.bincount(part.user, minlength=5).tolist()
    assert count(first.test) == [0, 0, 1, 2, 8]
    assert count(first.dev) == [0, 0, 0, 1, 3]
    shuffled = write(tmp_path / "s", rows=[rows[i] for i in rng.permutation(len(rows))])
    assert sorted(pairs(read_interactions(shuffled, test_split=None).train)) == sorted(pairs(first.train))


def test_rules_for_odd_pairs_are_counted(tmp_path):
    folder = tmp_path / "t"
    write(folder, rows=[("a", "x"), ("a", "y"), ("a", "x"), ("b", "x")])
    data = write(folder, "test", rows=[("a", "x"), ("a", "new"), ("nobody", "y")])
    found = read_interactions(data, validation=0)
    assert pairs(found.train) == [("a", "x"), ("a", "y"), ("b", "x")]  # twice is once
    assert pairs(found.test) == [("a", "new"), ("nobody", "y")]  # a training pair is no test pair
    assert found.dev is None
    origin = found.train.origin
    assert (origin["repeated_pairs"], origin["test_pairs_in_training"]) == (1, 1)
    assert (origin["test_users_without_training"], origin["items_without_training"]) == (1, 1)


def test_ids_are_texts_of_any_size_in_the_order_of_numbers(tmp_path):
    large = 2**40
    rows = [(10, large), (9, 3), (10, 3), (9, large)]
    found = read_interactions(write(tmp_path / "t", rows=rows), test_split=None, validation=0, test=0.5)
    assert found.train.users == ("9", "10")
    assert found.train.items == ("3", str(large))


def test_only_high_ratings_count(tmp_path):
    data = write(tmp_path / "t", rating=[5.0, 1, 4, 4, 5, 2])
    found = read_interactions(data, test_split=None, rating="rating", least_rating=4, validation=0, test=0.5)
    assert sorted(pairs(found.train.joined(found.test))) == [("a", "x"), ("a", "z"), ("b", "x"), ("b", "z")]
    with pytest.raises(ValueError, match="no rating of 6 or more"):
        read_interactions(data, test_split=None, rating="rating", least_rating=6)


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t"), ("tsv.gz", "\t")])
def test_text_files_read_as_tables_do(tmp_path, ending, delimiter):
    expected = read_interactions(write(tmp_path / "t"), test_split=None, time="time", hold="last")
    lines = [delimiter.join(map(str, row)) + "\n" for row in (("user", "item", "time"), *ROWS)]
    opener = gzip.open if ending.endswith("gz") else open
    for name, kept in (("named", lines), ("bare", lines[1:])):
        with opener(tmp_path / f"{name}.{ending}", "wt") as file:
            file.writelines(kept)
    how = {"test_split": None, "hold": "last"}
    named = read_interactions(str(tmp_path / f"named.{ending}"), time="time", **how)
    bare = read_interactions(str(tmp_path / f"bare.{ending}"), user="0", item="1", time="2", **how)
    assert named.train.fingerprint == bare.train.fingerprint == expected.train.fingerprint


def test_a_folder_of_text_files_has_a_split_in_each(tmp_path):
    (tmp_path / "train.csv").write_text("user,item\n007,x\n007,y\n08,x\n")
    (tmp_path / "test.tsv").write_text("user\titem\n08\ty\n")
    found = read_interactions(tmp_path, validation=0)
    assert (found.train.users, found.train.items) == (("007", "08"), ("x", "y"))  # as they are written
    assert (pairs(found.train), pairs(found.test)) == ([("007", "x"), ("007", "y"), ("08", "x")], [("08", "y")])
    with pytest.raises(ValueError, match=r"train\.csv is a single table, the split train: it has no split 'test'"):
        read_interactions(tmp_path / "train.csv")


def test_times_are_numbers_or_dates(tmp_path):
    days = ["2020-01-03T00:00:00Z", "2020-01-01T12:00:00Z", "2020-01-01T11:59:59Z"]
    for times, kind in (
        (days, "i"),
        ([0.3, 0.2, 0.1], "f"),
        ([2**62 + 2, 2**62 + 1, 2**62], "i"),
        (["9", "8", "-1"], "i"),
    ):
        data = write(tmp_path / "t", rows=[("a", "z"), ("a", "y"), ("a", "x")], time=times)
        found = read_interactions(data, test_split=None, validation=0, time="time", hold="last")
        assert (pairs(found.train), pairs(found.test)) == ([("a", "x"), ("a", "y")], [("a", "z")])
        assert found.train.time.dtype.kind == kind


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", None), ("b", "x")], "row 0 of .* has no item"),
        ([(-1, 3), (2, 3)], "row 0 of .* has the user -1: a negative id"),
        ([("7", "x"), ("-1", "x")], "row 1 of .* has the user -1: a negative id"),
        ([(" ", "x"), ("b", "x")], "row 0 of .* has no user"),
        ([(1.5, 3), (2.0, 3)], "holds fractions"),
        ([("a\nb", "x"), ("b", "x")], "row 0 of .* has several lines in the column .user."),
        ([("a", "x"), ("b", "x")], "the test part of .* is empty: no user has enough pairs"),
    ],
)
def test_bad_tables_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_interactions(write(tmp_path / "t", rows=rows), test_split=None)


def test_other_slips_are_told(tmp_path):
    data = write(tmp_path / "t")
    with pytest.raises(ValueError, match="has no column 'person': its columns are user, item, time"):
        read_interactions(data, user="person", test_split=None)
    with pytest.raises(ValueError, match="name the column of times"):
        read_interactions(data, hold="last", test_split=None)
    with pytest.raises(ValueError, match="hold must be 'share' or 'last'"):
        read_interactions(data, hold="first", test_split=None)
    write(tmp_path / "t", "test", rows=ROWS[:1])
    with pytest.raises(ValueError, match="every test pair is a training pair too"):
        read_interactions(data)
    (tmp_path / "empty.csv").write_text("user,item\n")
    with pytest.raises(ValueError, match="has no rows"):
        read_interactions(str(tmp_path / "empty.csv"), test_split=None)


def test_features_of_items_come_from_lists_texts_and_numbers(tmp_path):
    (tmp_path / "t").mkdir()
    table = {"item": ["z", "x", "other"], "genres": [["new", "old"], ["old"], ["none"]], "year": [1999, None, 3]}
    pq.write_table(pa.table(table), tmp_path / "t" / "items.parquet")
    ids, names = read_features(str(tmp_path / "t"), "item", ("genres", "year"), ("x", "y", "z"), split="items")
    assert [[names[i] for i in row if i >= 0] for row in ids] == [
        ["genres=old"],
        [],
        ["genres=new", "genres=old", "year=1999"],
    ]
    with pytest.raises(ValueError, match="knows nothing of what is trained on"):
        read_features(str(tmp_path / "t"), "item", ("year",), ("q",), split="items")
    pq.write_table(pa.table({"item": ["x", "x"], "year": [1, 2]}), tmp_path / "t" / "items.parquet")
    with pytest.raises(ValueError, match=r"row 1 of .* has the item x again"):
        read_features(str(tmp_path / "t"), "item", ("year",), ("x",), split="items")
