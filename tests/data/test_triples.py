import gzip

import datasets
import numpy as np
import pytest

from jaxembed.data.triples import SPLITS, Triples, queries, read_triples

FACTS = {
    "train": [("a", "likes", "b"), ("b", "likes", "c"), ("a", "likes", "b"), ("c", "likes", "c"), ("a", "knows", "c")],
    "validation": [("a", "likes", "c")],
    "test": [("b", "knows", "d"), ("a", "likes", "b")],
}


def table(rows, names=("head", "relation", "tail")):
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def write_parquet(folder, facts=None, **options):
    folder.mkdir(exist_ok=True)
    for split, rows in (facts or FACTS).items():
        datasets.Dataset.from_dict(table(rows, **options)).to_parquet(str(folder / f"{split}.parquet"))
    return folder


def write_text(folder, ending=".tsv", header=False, facts=None):
    folder.mkdir(exist_ok=True)
    for split, rows in (facts or FACTS).items():
        parted = {".csv": ","}.get(ending.removesuffix(".gz"), "\t")
        lines = [parted.join(row) for row in ([("head", "relation", "tail")] if header else []) + rows]
        data = ("\n".join(lines) + "\n").encode()
        (folder / f"{split}{ending}").write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
    return folder


def named(graph, split):
    names = (graph.entities, graph.relations, graph.entities)
    return [tuple(of[i] for of, i in zip(names, row, strict=True)) for row in graph.split(split)]


def test_a_graph_is_the_same_from_any_form(tmp_path):
    graphs = [read_triples(write_parquet(tmp_path / "parquet"))]
    for ending in (".tsv", ".csv", ".txt", ".tsv.gz"):
        for header in (False, True):
            graphs.append(read_triples(write_text(tmp_path / f"{ending}{header}", ending, header)))
    for graph in graphs:
        assert graph.fingerprint == graphs[0].fingerprint
        assert graph.entities == ("a", "b", "c", "d")
        for split in SPLITS:
            assert named(graph, split) == list(dict.fromkeys(FACTS[split]))


def test_what_is_odd_is_counted(tmp_path):
    about = read_triples(write_parquet(tmp_path / "odd")).summary()
    assert about["twice"] == {"train": 1, "validation": 0, "test": 0}
    assert about["train"] == {"facts": 4, "loops": 1}
    assert about["test"] == {"facts": 2, "loops": 0, "unseen": 1, "in_train": 1}


def test_columns_are_named_and_ids_kept(tmp_path):
    rows = [(2**40, "r", 7), (7, "r", 0)]
    folder = write_parquet(tmp_path / "ids", {"train": rows}, names=("s", "p", "o"))
    graph = read_triples(folder / "train.parquet", columns=("s", "p", "o"), share=0.01)
    assert graph.entities == (str(2**40), "7", "0")
    assert graph.train.dtype == np.int32
    with pytest.raises(ValueError, match="no column 'head': its columns are s, p, o; name the columns of a fact"):
        read_triples(folder / "train.parquet")


def test_a_table_alone_is_split_and_nothing_is_lost(tmp_path):
    rows = [(f"e{i % 30}", f"r{i % 3}", f"e{(7 * i + i // 30) % 30}") for i in range(300)]
    (tmp_path / "all.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    graph, again = (read_triples(tmp_path / "all.tsv", share=0.1) for _ in range(2))
    assert graph.fingerprint == again.fingerprint
    count = len(set(rows))
    assert [len(graph.split(split)) for split in SPLITS[1:]] == [
        int((count - int(count * 0.1)) * 0.1),
        int(count * 0.1),
    ]
    assert {fact for split in SPLITS for fact in named(graph, split)} == set(rows)
    assert not graph.unseen(graph.test).any()
    assert not graph.unseen(graph.validation).any()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((None, "r", "b"), "row 1 of .* has no head"),
        (("a", "r", " "), "row 1 of .* has no tail"),
    ],
)
def test_missing_names_are_told_with_their_row(tmp_path, row, message):
    folder = write_parquet(tmp_path / "bad", {"train": [("a", "r", "b"), row]})
    with pytest.raises(ValueError, match=message):
        read_triples(folder / "train.parquet")


def test_numbers_that_are_no_ids_are_refused(tmp_path):
    folder = write_parquet(tmp_path / "negative", {"train": [(1, "r", 2), (-1, "r", 2)]})
    with pytest.raises(ValueError, match=r"row 1 of .* has the head -1: a negative id"):
        read_triples(folder / "train.parquet")
    folder = write_parquet(tmp_path / "floats", {"train": [(1.5, "r", 2)]})
    with pytest.raises(ValueError, match=r"'head' of .* holds fractions"):
        read_triples(folder / "train.parquet")


def test_classes_come_as_their_names(tmp_path):
    kinds = datasets.ClassLabel(names=["likes", "knows"])
    features = datasets.Features(
        {"head": datasets.Value("string"), "relation": kinds, "tail": datasets.Value("string")}
    )
    rows = datasets.Dataset.from_dict(table([("a", 1, "b"), ("b", 0, "a")]), features=features)
    assert named(read_triples(rows, share=0.01), "train") == [("a", "knows", "b"), ("b", "likes", "a")]
    with pytest.raises(ValueError, match=r"row 1 of .* has no relation"):
        read_triples(datasets.Dataset.from_dict(table([("a", 1, "b"), ("b", -1, "a")]), features=features))


def test_splits_that_are_not_there(tmp_path):
    folder = write_parquet(tmp_path / "one", {"train": FACTS["train"]})
    with pytest.raises(ValueError, match="no split 'validation'"):
        read_triples(folder)
    assert len(read_triples(folder, splits=("train", None, None)).test) == 0  # 5 % of 4 facts are none
    text = write_text(tmp_path / "text", facts={"train": FACTS["train"], "valid": FACTS["validation"]})
    with pytest.raises(FileNotFoundError, match="no file of the split 'test'"):
        read_triples(text)
    assert named(read_triples(text, splits=("train", "validation", None)), "validation") == FACTS["validation"]
    empty = write_text(tmp_path / "empty", header=True, facts={**FACTS, "test": []})
    with pytest.raises(ValueError, match=r"test\.tsv has no rows"):
        read_triples(empty)


def test_it_is_saved_and_loaded(tmp_path):
    graph = read_triples(write_parquet(tmp_path / "graph"))
    graph.save(tmp_path / "graph.safetensors")
    again = Triples.load(tmp_path / "graph.safetensors")
    assert (again.entities, again.relations, again.fingerprint) == (graph.entities, graph.relations, graph.fingerprint)
    np.testing.assert_array_equal(again.all, graph.all)


@pytest.mark.parametrize("back", [False, True])
def test_queries_hold_each_fact_once(back):
    rng = np.random.default_rng(0)
    facts = np.unique(rng.integers(0, 5, (80, 3)).astype(np.int32), axis=0)
    asked, answers, count = queries(facts, back, 3)
    key, answer = (2, 0) if back else (0, 2)
    found = [(*q, a) for q, row, n in zip(asked.tolist(), answers.tolist(), count, strict=True) for a in row[:n]]
    assert sorted(found) == sorted((f[key], f[1], f[answer]) for f in facts.tolist())
    assert len(asked) == sum(
        -(-len(facts[(facts[:, [key, 1]] == q).all(1)]) // 3) for q in np.unique(facts[:, [key, 1]], axis=0)
    )


def test_the_shipped_graph():
    graph = read_triples("countries")
    assert (len(graph.entities), len(graph.relations), len(graph.all)) == (381, 8, 1063)
    assert not graph.unseen(np.concatenate([graph.validation, graph.test])).any()
    borders = {tuple(row) for row in named(graph, "train") if row[1] == "borders"}
    assert borders == {(b, r, a) for a, r, b in borders}
