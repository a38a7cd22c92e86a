import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.data.graphs import Graph, feature_rows, read_graph

NAMES = ("a", "b", "c", "d")


def rows(graph):
    return [
        graph.neighbours[start:stop].tolist() for start, stop in zip(graph.offsets, graph.offsets[1:], strict=False)
    ]


def test_links_count_in_both_directions_once_and_loops_are_left_out():
    graph = Graph.build(NAMES, [0, 1, 0, 2, 0], [1, 0, 1, 2, 2])
    assert rows(graph) == [[1, 2], [0], [0], []]
    assert graph.links.tolist() == [[0, 1], [0, 2]]
    assert graph.weights is None
    assert graph.origin == {"loops": 1, "repeated": 2}
    assert graph.summary()["isolated"] == 1


def test_weights_of_repeated_links_add_up_and_links_without_weight_are_left_out():
    graph = Graph.build(NAMES, [0, 1, 2, 1], [1, 0, 3, 2], [1.0, 2.0, 0.0, 4.0])
    assert rows(graph) == [[1], [0, 2], [1], []]
    assert graph.weights.tolist() == [3, 3, 4, 4]
    assert graph.origin == {"weightless": 1, "repeated": 1}


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="the weight -2"):
        Graph.build(NAMES, [0, 1], [1, 2], [1.0, -2.0])


def test_directed_links_stand_in_the_row_of_their_source():
    graph = Graph.build(NAMES, [0, 1, 0], [1, 0, 2], directed=True)
    assert rows(graph) == [[1, 2], [0], [], []]
    assert graph.links.tolist() == [[0, 1], [0, 2], [1, 0]]


@pytest.mark.parametrize("directed", [False, True])
def test_a_graph_without_some_links_keeps_its_nodes_and_the_other_weights(directed):
    whole = Graph.build(NAMES, [0, 1, 2], [1, 2, 3], [1.0, 2.0, 3.0], directed)
    part = whole.without(np.array([1]))
    assert part.links.tolist() == [[0, 1], [2, 3]]
    assert sorted(set(part.weights.tolist())) == [1, 3]
    assert part.nodes == whole.nodes
    assert part.fingerprint != whole.fingerprint


def test_fingerprints_tell_graphs_apart():
    made = [
        Graph.build(NAMES, [0], [1]), Graph.build(NAMES, [0], [2]), Graph.build(NAMES, [0], [1], directed=True),
        Graph.build(NAMES, [0], [1], [1.0]), Graph.build((*NAMES[:3], "e"), [0], [1]),
        Graph.build(NAMES, [0], [1], labels=np.eye(4, 2, dtype=bool), label_names=("x", "y")),
    ]  # fmt: skip
    assert len({one.fingerprint for one in made}) == len(made)
    assert made[0].fingerprint == Graph.build(NAMES, [1, 0], [0, 1]).fingerprint


def test_the_shipped_graph_is_the_karate_club():
    graph = read_graph("karate")
    assert len(graph) == 34
    assert len(graph.links) == 78
    assert graph.degrees.max() == 17  # the president
    assert graph.nodes[graph.degrees.argmax()] == "34"
    assert dict(zip(graph.label_names, graph.labels.sum(0).tolist(), strict=True)) == {
        "instructor": 17,
        "president": 17,
    }
    assert graph.single


def test_text_files_are_read_and_ids_stay_as_they_are_written(tmp_path):
    links, nodes = tmp_path / "links.tsv", tmp_path / "nodes.csv"
    links.write_text("99999999999\tx y\n007\tx y\n")
    nodes.write_text("name,kind\nlonely,one\nx y,two\n")
    graph = read_graph(links, nodes=nodes, node="name", label="kind")
    assert graph.nodes == ("lonely", "x y", "99999999999", "007")
    assert rows(graph) == [[], [2, 3], [1], [1]]
    assert graph.labels.tolist() == [[True, False], [False, True], [False, False], [False, False]]
    assert read_graph(links).labels is None


def test_labels_may_be_lists_and_features_numbers_of_what_there_is(tmp_path):
    folder = tmp_path / "g"
    folder.mkdir()
    pq.write_table(pa.table({"source": [0], "target": [1]}), folder / "edges.parquet")
    known = {
        "node": [0, 1, 2],
        "labels": [[3, 1], [], [1]],
        "features": [[0, 2], [], [1]],
        "split": ["train", None, "test"],
    }
    pq.write_table(pa.table(known), folder / "nodes.parquet")
    graph = read_graph(folder, features="features", part="split")
    assert graph.label_names == ("1", "3")
    assert graph.labels.tolist() == [[True, True], [False, False], [True, False]]
    assert not graph.single
    assert graph.features.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert graph.part.tolist() == ["train", "", "test"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("source,target,w\na,b,-1\n", "line 2 of .* has the weight -1"),
        ("source,target,w\na,b,x\n", "line 2 of .* has no number in the column 'w'"),
        ("source,target,w\na,,1\n", "line 2 of .* has no target"),
        ("source,target\na,b\n", "no column 'w'"),
    ],
)
def test_bad_links_are_named(tmp_path, text, told):
    file = tmp_path / "links.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=told):
        read_graph(file, weight="w")


def test_a_node_has_one_row(tmp_path):
    links, nodes = tmp_path / "links.csv", tmp_path / "nodes.csv"
    links.write_text("source,target\na,b\n")
    nodes.write_text("node\na\nb\na\n")
    with pytest.raises(ValueError, match=r"line 4 of .* names the node a again"):
        read_graph(links, nodes=nodes)


def test_features_of_a_graph_are_found_by_their_usual_name_and_have_the_width_that_is_asked_for(tmp_path):
    pq.write_table(pa.table({"source": [0], "target": [9]}), tmp_path / "edges.parquet")
    pq.write_table(pa.table({"node": [0, 1], "features": [[0, 2], []]}), tmp_path / "nodes.parquet")
    assert read_graph(tmp_path).features.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]  # 9 stands in a link alone
    assert read_graph(tmp_path, width=5).features.shape == (3, 5)
    with pytest.raises(ValueError, match="the feature 2, and there are 2: 0 to 1"):
        read_graph(tmp_path, width=2)


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        ([[0.5, 1.0], [0.5]], r"lists of several lengths, \[1, 2\]"),
        ([[0.5], [0.2]], "a node has 1 features, and 3 are needed"),
        ([[0.5, 0.1, float("nan")]], "not finite"),
        ([[-1, 2]], "neither lists of numbers from 0 nor of fractions"),
        ([["a"]], "neither lists of numbers from 0 nor of fractions"),
    ],
)
def test_features_that_do_not_fit_are_named(lists, told):
    with pytest.raises(ValueError, match=f"words: .*{told}"):
        feature_rows(lists, 3, "words")


def test_features_in_text_are_numbers_with_spaces_between(tmp_path):
    links, nodes = tmp_path / "links.csv", tmp_path / "nodes.tsv"
    links.write_text("source,target\na,b\n")
    nodes.write_text("node\tx\ty\na\t0 2\t.5 1e-1\nb\t\t1 2\n")
    assert read_graph(links, nodes=nodes, features="x").features.tolist() == [[1, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(read_graph(links, nodes=nodes, features="y").features, [[0.5, 0.1], [1, 2]])
    nodes.write_text("node\tx\na\tb c\n")
    with pytest.raises(ValueError, match="neither lists of numbers"):
        read_graph(links, nodes=nodes, features="x")
    assert read_graph(links, nodes=nodes).features is None  # in a text, columns are named


def test_what_is_kept_from_training_has_neither_links_nor_features():
    whole = Graph.build(NAMES, [0, 1, 2], [1, 2, 3], [1.0, 2.0, 3.0], features=np.ones((4, 2), np.float32))
    seen = whole.inductive(np.array([False, False, False, True]))
    assert seen.links.tolist() == [[0, 1], [1, 2]]
    assert seen.weights.tolist() == [1, 1, 2, 2]
    assert seen.features.tolist() == [[1, 1], [1, 1], [1, 1], [0, 0]]
    assert seen.nodes == whole.nodes
    assert seen.fingerprint != whole.fingerprint
    assert seen.summary()["unseen"] == 1
