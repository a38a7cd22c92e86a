"""The benchmark sets: what is shipped, what a file may hold, and the halves for tuning and testing."""

import gzip
import hashlib
import math

import numpy as np
import pytest

from jaxembed.evaluation.benchmarks import (
    PAIRS,
    Pair,
    benchmark_tasks,
    evaluate,
    half_of,
    load_pairs,
    load_questions,
    select,
)
from jaxembed.vectors import KeyedVectors


@pytest.fixture(scope="module")
def words() -> KeyedVectors:
    """Every word of every set, lower-cased, with vectors that mean nothing."""
    used = {word.lower() for name in PAIRS for pair in load_pairs(name) for word in pair[:2]}
    used |= {word.lower() for question in load_questions("google") for word in question[2:]}
    keys = sorted(used)
    return KeyedVectors(keys, np.random.default_rng(0).standard_normal((len(keys), 4)))


def test_the_shipped_sets_are_whole():
    assert [len(load_pairs(name)) for name in PAIRS] == [353, 203, 252, 999, 65]
    assert load_pairs("wordsim353")[1] == Pair("tiger", "cat", pytest.approx(7.35))
    questions = load_questions("google")
    assert len(questions) == 19544
    assert sum(question.kind == "semantic" for question in questions) == 8869
    assert questions[0] == ("capital-common-countries", "semantic", "Athens", "Greece", "Baghdad", "Iraq")


def test_files_are_read_as_the_shipped_sets(tmp_path):
    pairs, questions = load_pairs("simlex999"), load_questions("google")
    with gzip.open(tmp_path / "pairs.gz", "wt") as file:
        file.write("# SimLex\nword1\tword2\tscore\n\n" + "".join(f"{a}\t{b}\t{s}\n" for a, b, s in pairs))
    (tmp_path / "spaced").write_text("".join(f"{a}  {b} {s}\n" for a, b, s in pairs))
    (tmp_path / "commas").write_text("".join(f"{a}, {b}, {s}\n" for a, b, s in pairs))
    assert load_pairs(tmp_path / "pairs.gz") == load_pairs(tmp_path / "spaced") == pairs
    assert load_pairs(tmp_path / "commas", delimiter=",") == pairs
    lines = []
    for name in dict.fromkeys(question.category for question in questions):
        lines += [f": {name}", *(" ".join(q[2:]) for q in questions if q.category == name)]
    (tmp_path / "questions").write_text("\n".join(lines))
    assert load_questions(tmp_path / "questions") == questions


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (load_pairs, b"a\tb\t1\na\tb\n", r"f, line 2: expected two words and a score, found 'a\\tb'"),
        (load_pairs, b"a\tb\t1\na\tb\tc\n", r"f, line 2"),
        (load_pairs, b"a b c\na b nan\n", r"f, line 2"),
        (load_pairs, b"\na\n", r"f, line 2"),
        (load_pairs, b"a b 1\n\xff b 1\n", r"f, line 2: not UTF-8"),
        (load_questions, b"a b c d\n", r"f, line 1: a question before"),
        (load_questions, b": x\na b c d\n\na b c\n", r"f, line 4: expected four words, found 'a b c'"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, read, content, message):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "f")


def test_unknown_names_are_told(words):
    with pytest.raises(FileNotFoundError, match="neither a file nor one of the sets wordsim353"):
        load_pairs("simlex")
    with pytest.raises(FileNotFoundError, match="one of the sets google"):
        load_questions("bats")
    with pytest.raises(ValueError, match="unknown benchmark 'bats': the benchmarks are wordsim353"):
        evaluate(words, names=["bats"])
    with pytest.raises(ValueError, match="the splits are all, dev, test"):
        evaluate(words, names=["rg65"], split="train")  # type: ignore[arg-type]


def test_the_halves_are_disjoint_complete_and_fixed():
    for items in (*map(load_pairs, PAIRS), load_questions("google")):
        dev, test = select(items, "dev"), select(items, "test")
        assert sorted([*dev, *test]) == sorted(items)
        assert not {tuple(item) for item in dev} & {tuple(item) for item in test}
        assert 0.4 < len(dev) / len(items) < 0.6
    # Not Python's hash, which changes from run to run: the digest of this very text.
    assert half_of(("tiger", "cat")) == ("dev" if hashlib.sha256(b"cat tiger").digest()[0] % 2 else "test")


def test_no_item_is_in_both_halves_under_another_form():
    assert half_of(("Money", "cash")) == half_of(("cash", "money"))
    mirror = (("Athens", "Greece"), ("Baghdad", "Iraq"))
    assert half_of(*mirror) == half_of(*mirror[::-1])
    halves = {}
    for name in PAIRS:
        for half in ("dev", "test"):
            for pair in select(load_pairs(name), half):
                assert halves.setdefault(frozenset((pair.word1.lower(), pair.word2.lower())), half) == half


def test_evaluate_gives_a_row_for_each_benchmark_and_half(words):
    rows = {split: evaluate(words, split=split) for split in ("all", "dev", "test")}
    names = [*PAIRS, "google", "google-semantic", "google-syntactic"]
    for split, found in rows.items():
        assert [row["benchmark"] for row in found] == names
        assert {row["split"] for row in found} == {split}
        assert all(row["oov"] == 0 for row in found)
    for everything, dev, test in zip(*rows.values(), strict=True):
        assert everything["items"] == dev["items"] + test["items"]
    google = {row["benchmark"]: row for row in rows["all"]}
    assert google["google"]["items"] == 19544
    assert google["google"]["restrict_vocab"] == len(words)


def test_categories_add_up_to_their_benchmark(words):
    rows = evaluate(words, categories=True, method="3cosmul", restrict_vocab=600)
    assert [row for row in rows if not row["category"]] == evaluate(words, method="3cosmul", restrict_vocab=600)
    whole = next(row for row in rows if (row["benchmark"], row["category"]) == ("google", ""))
    parts = [row for row in rows if row["category"]]
    assert {row["benchmark"] for row in parts} == {"google"}
    assert {row["category"] for row in parts} == {question.category for question in load_questions("google")}
    assert len(parts) == 14
    for count in ("items", "oov"):
        assert sum(row[count] for row in parts) == whole[count] > 0
    right = sum(row["value"] * row["items"] for row in parts if row["items"])
    assert right == pytest.approx(whole["value"] * whole["items"])


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
@pytest.mark.parametrize("keys", [["zzyzx"], ["zzyzx", "qwghlm", "xlnt"]])
def test_a_vocabulary_that_no_benchmark_covers(keys, method):
    strangers = KeyedVectors(keys, np.random.default_rng(0).standard_normal((len(keys), 4)))
    rows = evaluate(strangers, method=method, categories=True)
    assert len(rows) == len(PAIRS) + 3 + 14
    assert all(math.isnan(row["value"]) for row in rows)
    assert all(row["items"] == 0 for row in rows)
    sizes = {row["benchmark"]: row["oov"] for row in rows if not row["category"]}
    assert [sizes[name] for name in PAIRS] == [353, 203, 252, 999, 65]
    assert (sizes["google"], sizes["google-semantic"], sizes["google-syntactic"]) == (19544, 8869, 10675)
    tasks = benchmark_tasks(strangers.index_to_key, method=method)
    assert all(math.isnan(float(task(strangers.vectors))) for task in tasks.values())


def test_tasks_and_evaluate_agree(words):
    names = ["wordsim353", "rg65"]
    tasks = benchmark_tasks(words.index_to_key, names=names, split="dev")
    values = [row["value"] for row in evaluate(words, names=names, split="dev")]
    assert [float(task(words.vectors)) for task in tasks.values()] == values


def test_shipped_sets_need_no_cache_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder can be made in here")
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "file" / "cache"))
    assert len(load_pairs("rg65")) == 65
    assert len(load_questions("google")) == 19544


def test_a_vector_that_is_not_finite_costs_its_own_items_alone(words):
    spoilt = KeyedVectors(words.index_to_key, words.vectors.copy())
    spoilt.vectors[spoilt.get_index("tiger")] = np.nan
    before, after = (evaluate(kv, names=["wordsim353", "google"]) for kv in (words, spoilt))
    tiger = sum("tiger" in pair[:2] for pair in load_pairs("wordsim353"))
    assert tiger > 1
    assert after[0]["items"] == 353 - tiger
    assert after[0]["oov"] == tiger
    assert math.isfinite(after[0]["value"])
    assert after[1]["value"] == pytest.approx(before[1]["value"], abs=0.01)
