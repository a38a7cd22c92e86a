"""A knowledge graph from the command line and from Python: trained, asked, searched and judged again."""

import re

import numpy as np
import pytest

import jaxembed
from jaxembed.cli import main
from jaxembed.naming import UnknownKeyError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    facts = [(f"city {i}", "capital_of", f"land {i}") for i in range(12)] + [
        ("city 0", "in", "land 0"),
        ("city 0", "in", "land 1"),
    ]
    (folder / "facts.tsv").write_text("subject\tverb\tobject\n" + "".join("\t".join(fact) + "\n" for fact in facts))
    line = ["train", "distmult", "--data", str(folder / "facts.tsv"), "--head", "subject", "--relation", "verb"]
    line += [
        "--tail",
        "object",
        "--share",
        "0.1",
        "--vector-size",
        "8",
        "--epochs",
        "3",
        "--output",
        str(folder / "runs"),
    ]
    assert main(line) == 0
    return folder / "runs" / "seed-1"


def told(capsys, *line):
    assert main([*map(str, line)]) == 0
    return capsys.readouterr().out


def error_of(capsys, *line):
    assert main([*map(str, line)]) == 1
    return " ".join(capsys.readouterr().err.split())


def test_both_sides_are_answered_and_known_facts_marked(run, capsys):
    model = jaxembed.load(run)
    graph = model.graph
    for line, answers in (
        (["city 0", "in", "?"], model.predict_tail("city 0", "in", 24)),
        (["?", "capital_of", "land 3"], model.predict_head("capital_of", "land 3", 24)),
    ):
        shown = told(capsys, "predict", run, *line, "-k", 24)
        assert [row[0] for row in re.findall(r"^ +((city|land) \d+) ", shown, re.MULTILINE)] == [
            one.name for one in answers
        ]
        assert len(answers) == len(graph.entities) == 24
        known = {one.name: one.known for one in answers if one.known}
        for name, split in known.items():
            assert re.search(rf"{name} +-?[\d.]+ +{split}", shown)
        facts = {
            split: {tuple(row) for row in graph.split(split).tolist()} for split in ("train", "validation", "test")
        }
        number, kind = graph.entities.index, graph.relations.index
        for one in answers:
            head, relation, tail = (one.name if part == "?" else part for part in line)
            fact = (number(head), kind(relation), number(tail))
            assert one.known == next((split for split, rows in facts.items() if fact in rows), None)
            if line[2] == "?":
                assert model.score(head, relation, tail) == pytest.approx(one.score, rel=1e-5, abs=1e-6)
    assert {"land 0", "land 1"} >= {one.name for one in model.predict_tail("city 0", "in", 24) if one.known}


def test_slips_are_told(run, capsys):
    assert "'city 00' is not among the 24 keys: did you mean 'city 0'" in error_of(
        capsys, "predict", run, "city 00", "in", "?"
    )
    assert "'capital' is not among the 2 keys" in error_of(capsys, "predict", run, "city 0", "capital", "?")
    assert "put ? for the head or for the tail" in error_of(capsys, "predict", run, "city 0", "in", "land 0")
    assert "put ? for the head or for the tail" in error_of(capsys, "predict", run, "?", "in", "?")
    assert "k must be at least 1" in error_of(capsys, "predict", run, "city 0", "in", "?", "-k", 0)
    assert "takes ids instead of texts or pictures" in error_of(capsys, "embed", run, __file__)
    model = jaxembed.load(run)
    with pytest.raises(UnknownKeyError, match="did you mean"):
        model.predict_head("in", "lnd 0")


def test_what_no_fact_to_train_on_has_is_told(tmp_path):
    for split, facts in {
        "train": "a\tlikes\tb\nb\tlikes\tc\n",
        "validation": "a\tlikes\tc\n",
        "test": "a\thates\td\n",
    }.items():
        (tmp_path / f"{split}.tsv").write_text("head\trelation\ttail\n" + facts)
    line = [
        "train",
        "distmult",
        "--data",
        str(tmp_path),
        "--vector-size",
        "4",
        "--epochs",
        "1",
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(line) == 0
    model = jaxembed.load(tmp_path / "o" / "seed-1")
    for (head, relation), name in ((("a", "hates"), "hates"), (("d", "likes"), "d")):
        with pytest.warns(UserWarning, match=f"no fact to train on has '{name}': its vector is random"):
            model.predict_tail(head, relation)
    model.predict_tail("a", "likes")  # without a warning


def test_names_come_back_in_the_vectors(run, capsys):
    model = jaxembed.load(run)
    assert sorted(model.entities.index_to_key) == sorted(f"{kind} {i}" for kind in ("city", "land") for i in range(12))
    assert "city" in told(capsys, "neighbors", run, "land 0", "--topn", 20)
    assert "did you mean 'land 0'" in error_of(capsys, "neighbors", run, "lnd 0")
    labels = next(run.glob("projector*labels.tsv")).read_text()
    assert "land 11" in labels


def test_it_is_judged_again_as_it_was(run, capsys):
    from jaxembed.study.judged import judged
    from jaxembed.study.run import Run

    recorded = Run.open(run).summary
    dev = judged(run, "dev")
    assert dev
    for name, value in dev.items():
        assert name.endswith("-dev")
        np.testing.assert_allclose(value, recorded[name])
    assert "ranking/mrr-dev" in told(capsys, "evaluate", run, "--split", "dev")
