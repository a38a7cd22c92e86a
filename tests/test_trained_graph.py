"""A trained encoder of nodes in use: graphs that it has not met, under ids of their own."""

import csv

import numpy as np
import pytest

import jaxembed
from jaxembed import NodeModel, load_vectors
from jaxembed.cli import main
from jaxembed.data.graphs import Graph
from jaxembed.recipes import recipe
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.train import train_group

N, WIDTH = 24, 10
LINKS = [("x", 7), (7, "y z"), ("y z", "w")]
FEATURES = {"x": [1, 3], 7: [], "y z": [9]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two groups in a ring; who has an even number has other features, too."""
    home = tmp_path_factory.mktemp("graph")
    rows = [
        f"n{i},{i % 2},{' '.join(map(str, (i % 2, 2 + i % 8)))},{('train', 'validation', 'test')[i % 3]}"
        for i in range(N)
    ]
    (home / "nodes.csv").write_text("node,kind,words,part\n" + "\n".join(rows) + "\n")
    links = [f"n{i},n{(i + 2) % N}" for i in range(N)]
    (home / "links.csv").write_text("source,target\n" + "\n".join(links) + "\n")
    named = {"data": str(home / "links.csv"), "nodes": str(home / "nodes.csv"), "label": "kind", "part": "part"}
    for name, own in {
        "groups": {"features": "words"}, "walks": {"features": "words"}, "ids": {}, "degrees": {"inputs": "degrees"},
    }.items():  # fmt: skip
        one = recipe("graphsage_unsupervised" if name == "walks" else "graphsage")
        one = one.with_(**named, **own, epochs=2, hidden_size=4)
        plan = Planned(home / name / "seed-1", Variant(name, one.method, one.training), 1, one.task.data)
        train_group([plan], one.task, Options(console=False, checkpoint_seconds=None))
    return home


def test_a_graph_is_embedded_and_its_groups_are_told(folder):
    model = jaxembed.load(folder / "groups" / "seed-1")
    assert isinstance(model, NodeModel)
    assert (model.width, model.groups) == (WIDTH, ("0", "1"))
    assert "10 features" in repr(model)
    found, told = model.encode(LINKS, FEATURES), model.predict(LINKS, FEATURES)
    assert found.index_to_key == [*told] == ["x", "7", "y z", "w"]
    assert found.vectors.shape == (4, model.vectors.vector_size)
    assert all(group in model.groups and 0.5 <= chance <= 1 for group, chance in told.values())
    rows = np.zeros((4, WIDTH), np.float32)
    rows[[0, 0, 2], [1, 3, 9]] = 1
    graph = Graph.build(tuple(found.index_to_key), [0, 1, 2], [1, 2, 3], features=rows)
    np.testing.assert_allclose(model.encode(graph).vectors, found.vectors, atol=1e-6)
    dense = dict(zip(FEATURES, rows, strict=False))
    np.testing.assert_allclose(model.encode(LINKS, dense).vectors, found.vectors, atol=1e-6)
    weighted = model.encode(LINKS, FEATURES, weights=[1, 5, 1])
    assert np.abs(weighted["7"] - found["7"]).max() > 1e-4
    assert np.abs(model.encode(LINKS, FEATURES, directed=True)["w"] - found["w"]).max() > 1e-4


def test_what_was_trained_without_groups_tells_none(folder):
    model = jaxembed.load(folder / "walks" / "seed-1")
    assert model.groups == ()
    assert model.encode(LINKS, FEATURES).vectors.shape == (4, 4)
    with pytest.raises(ValueError, match="trained without groups"):
        model.predict(LINKS, FEATURES)


def test_graphs_that_do_not_fit_are_refused(folder):
    model = jaxembed.load(folder / "groups" / "seed-1")
    for features, told in (
        (None, "known by 10 features, and these have none"),
        ({"x": [10]}, "a node has the feature 10, and there are 10: 0 to 9"),
        ({"x": [0.5, 0.5]}, "a node has 2 features, and 10 are needed"),
    ):
        with pytest.raises(ValueError, match=told):
            model.encode(LINKS, features)
    for name in ("ids", "degrees"):
        with pytest.raises(ValueError, match=f"knows nodes by their {name}: leave features out"):
            jaxembed.load(folder / name / "seed-1").encode(LINKS, FEATURES)


def test_ids_and_degrees_stand_for_features(folder):
    known = [(f"n{i}", f"n{(i + 2) % N}") for i in range(N)]
    for name in ("ids", "degrees"):
        model = jaxembed.load(folder / name / "seed-1")
        found = model.encode([("new", "n0"), *known])
        # One that is three links away from what is new has the neighbours that it had.
        np.testing.assert_allclose(found["n12"], model.vectors["n12"], atol=1e-5)
        assert np.isfinite(found["new"]).all()


def test_the_command_embeds_tables(folder, tmp_path, capsys):
    run, groups = str(folder / "groups" / "seed-1"), tmp_path / "groups.csv"
    (tmp_path / "links.tsv").write_text("from\tto\nx\ty\ny\tz\n")
    (tmp_path / "nodes.csv").write_text("id,has\nx,1 3\ny,9\nlonely,\n")
    line = ["embed", run, str(tmp_path / "links.tsv"), "--source", "from", "--target", "to", "--node", "id"]
    line += ["--nodes", str(tmp_path / "nodes.csv"), "--features", "has"]
    assert main([*line, "--groups", str(groups)]) == 0
    assert "4 vectors of 8 dimensions" in capsys.readouterr().out
    found = load_vectors(folder / "groups" / "seed-1" / "embedded.safetensors")
    model = jaxembed.load(run)
    expected = model.encode([("x", "y"), ("y", "z")], {"x": [1, 3], "y": [9], "lonely": []})
    assert found.index_to_key == expected.index_to_key == ["x", "y", "lonely", "z"]
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-6)
    with open(groups) as file:
        told = {row["node"]: row["group"] for row in csv.DictReader(file)}
    assert told == {
        name: group
        for name, (group, _) in model.predict([("x", "y"), ("y", "z")], {"x": [1, 3], "y": [9], "lonely": []}).items()
    }
    assert main([*line[:-2]]) == 1
    assert "known by 10 features, and these have none" in capsys.readouterr().err
    assert main(["neighbors", run, "n3", "--topn", "2"]) == 0
    assert capsys.readouterr().out.count("n") > 2
