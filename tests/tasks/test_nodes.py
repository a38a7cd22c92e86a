"""Nodes in parts: how these come about, what is judged by which, and what is kept from training."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.data.parts import by_hash, named_part
from jaxembed.recipes import recipe
from jaxembed.tasks.base import Trained, Unmeasured
from jaxembed.tasks.nodes import Nodes
from jaxembed.vectors import KeyedVectors


@pytest.fixture
def table(tmp_path):
    """A ring of twenty nodes in two groups, and nodes with no group, no part, and no link."""
    n, folder = 22, tmp_path / "ring"
    folder.mkdir()
    part = (["train"] * 8 + ["val"] * 6 + ["test"] * 6 + ["none", None])[:n]
    known = {
        "node": [f"n{i}" for i in range(n)], "features": [[i % 2, 2] for i in range(n)],
        "label": [i % 2 for i in range(20)] + [-1, -1], "split": part,
    }  # fmt: skip
    pq.write_table(pa.table(known), folder / "nodes.parquet")
    ends = {"source": [f"n{i}" for i in range(21)], "target": [f"n{(i + 1) % 20}" for i in range(21)]}
    pq.write_table(pa.table(ends), folder / "edges.parquet")
    return str(folder)


def test_parts_and_features_are_found_by_their_usual_names(table):
    task = Nodes(table, judged="parts")
    whole = task.found.train
    assert whole.part.tolist() == ["train"] * 8 + ["validation"] * 6 + ["test"] * 6 + ["none", ""]
    assert whole.features.shape == (22, 3)
    assert task.columns == {"accuracy": "nodes/accuracy", "dev accuracy": "nodes/accuracy-dev"}
    assert (task.select, task.half(task.select)) == ("nodes/accuracy-dev", "dev")
    assert Nodes(table).select == ""
    assert named_part("dev") == named_part("valid") == "validation"


def test_parts_are_drawn_by_group_where_there_are_none():
    whole = Nodes("karate", judged="parts", divided=(0.3, 0.2)).found.train
    for group in whole.labels.T:
        names, counts = np.unique(whole.part[group].astype(str), return_counts=True)
        assert dict(zip(names, counts.tolist(), strict=True)) == {"test": 9, "train": 5, "validation": 3}
    assert Nodes("karate").found.train.part is None
    order = np.random.default_rng(0).permutation(34)
    groups, ids = whole.labels.argmax(1), np.array(whole.nodes)
    assert by_hash(ids[order].tolist(), groups[order], 0.3, 0.2).tolist() == whole.part[order].tolist()
    assert by_hash(["a", "b", "c"], np.array([0, -1, 1]), 0.01, 0.0).tolist() == ["train", "", "train"]


def test_unseen_nodes_are_in_the_whole_graph_alone(table):
    task = Nodes(table, judged="parts", inductive=True)
    whole, seen = task.found.rest[0], task.found.train
    hidden = np.isin(whole.part, ["validation", "test"])
    assert seen.unseen.tolist() == hidden.tolist()
    assert not seen.degrees[hidden].any()
    assert not seen.features[hidden].any()
    assert seen.features[~hidden].any(1).all()
    assert seen.links.tolist() == [link for link in whole.links.tolist() if not hidden[link].any()]
    assert seen.fingerprint != whole.fingerprint
    assert task.found.about["unseen"] == 12


def test_methods_that_tell_groups_are_taken_at_their_word_and_others_are_probed(table):
    task = Nodes(table, judged="parts")
    random = np.random.default_rng(0)
    truth = np.arange(22) % 2
    vectors = np.float32(random.normal(size=(22, 4)) * 0.1 + truth[:, None])
    product = KeyedVectors(task.found.train.nodes, vectors, task.found.train.degrees)
    outcome = Trained(product, lambda: pytest.fail("vectors suffice"))
    assert task.figures(outcome) == {"nodes/accuracy": 1.0, "nodes/accuracy-dev": 1.0}
    assert task.judge({"": vectors}) == task.figures(outcome)
    told = truth.copy()
    told[[14, 15, 16, 8]] ^= 1  # half of the test part wrong, and one of six of the validation part
    product.expandos["group"] = told
    assert task.figures(outcome) == pytest.approx({"nodes/accuracy": 1 / 2, "nodes/accuracy-dev": 5 / 6})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"inductive": True}, "judged='parts'"),
        ({"inductive": True, "judged": "parts", "removed": 0.1}, "no links removed"),
        ({"divided": (0.0, 0.2)}, "some nodes"),
        ({"divided": (0.6, 0.4)}, "some for the test"),
        ({"judged": "half"}, "judged must be 'shares' or 'parts'"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        _ = Nodes("karate", **settings).found


def test_what_cannot_be_measured_is_said_before(table, tmp_path):
    assert Nodes(table, judged="parts").unmeasurable() == {}
    links = tmp_path / "links.csv"
    links.write_text("source,target\na,b\nb,c\n")
    bare = Nodes(str(links), judged="parts", nodes=None)
    assert set(bare.unmeasurable().values()) == {"the nodes have no groups"}
    known = pq.read_table(f"{table}/nodes.parquet").set_column(2, "label", pa.array([1] * 22))
    pq.write_table(known, f"{table}/nodes.parquet")
    alike = Nodes(table)
    assert alike.unmeasurable() == dict.fromkeys(
        alike.columns.values(), "all nodes are of the group 0: there is no other"
    )
    with pytest.raises(ValueError, match="there are none: name a column"):
        _ = Nodes(str(links), judged="parts", nodes=None, inductive=True).found
    about = tmp_path / "nodes.csv"
    about.write_text("node,kind,use,words\na,x,train,1 2\nb,y,train,0\nc,x,test,2\nd,y,,\n")
    named = {"nodes": str(about), "label": "kind", "part": "use", "features": "words"}
    few = Nodes(str(links), judged="parts", **named)
    assert few.unmeasurable() == {"nodes/accuracy-dev": "no node with a group is of the part validation"}
    assert few.found.train.features.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    figures = few.judge({"": np.eye(4, dtype=np.float32)})
    assert figures["nodes/accuracy"] in (0.0, 1.0)
    assert isinstance(figures["nodes/accuracy-dev"], Unmeasured)
    told = recipe("graphsage").method.suited_to(few.found.train)
    assert (told.classes, told.encoder["input_size"]) == (2, 3)
