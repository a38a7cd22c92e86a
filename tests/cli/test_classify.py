"""A classifier of texts from the command line and from Python: trained, then used on texts that it has not met."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax

import jaxembed
from jaxembed.cli import main
from jaxembed.study.run import Run

GOOD, BAD = ["fine", "warm", "clever", "moving"], ["dull", "cold", "stupid", "tired"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose texts tell their class by their adjectives."""
    folder, random = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    texts, labels = [], []
    for i in range(200):
        words = (GOOD, BAD)[i % 2]
        texts.append(f"a {random.choice(words)} and {random.choice(words)} film number {i}")
        labels.append(("praise", "blame")[i % 2])
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / "films.parquet")
    line = ["train", "classifier", "--data", str(folder / "films.parquet"), "--hidden-size", "16", "--depth", "1"]
    line += [
        "--heads",
        "2",
        "--max-length",
        "12",
        "--epochs",
        "4",
        "--learning-rate",
        "0.01",
        "--output",
        str(folder / "runs"),
    ]
    assert main([*line, "--tokenizer", "word"]) == 0
    return folder / "runs" / "seed-1"


TEXTS = ["a moving film", "two hours of dull and stupid jokes", "a warm and clever film", "cold and tired"]
CLASSES = ["praise", "blame", "praise", "blame"]


def test_classes_are_those_of_the_largest_score_of_head_and_vector(run):
    model = jaxembed.load(run)
    assert repr(model) == "ClassifierModel<Classifier, 2 classes, vector_size=16>"
    assert set(model.classes) == {"praise", "blame"}
    assert model.predict(TEXTS) == CLASSES
    chances = model.predict_proba(TEXTS, batch_size=3)
    method = model.module.method
    params = Run.open(run).encoder()
    head = method.nets()["head"]
    scores, _ = head.apply(params.net["head"], params.kept.get("head", {}), model.encode(TEXTS))
    np.testing.assert_allclose(chances, softmax(np.asarray(scores), 1), atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(TEXTS[0]), chances[0], atol=1e-6)
    assert model.predict(TEXTS[1]) == "blame"


def test_the_command_prints_classes_and_writes_them(run, tmp_path, capsys):
    assert main(["classify", str(run), *TEXTS]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if "praise" in line or "blame" in line]
    assert [next(name for name in ("praise", "blame") if name in line) for line in shown] == CLASSES
    (tmp_path / "new.txt").write_text("\n".join([*TEXTS, "", ""]))
    assert (
        main(["classify", str(run), "--input", str(tmp_path / "new.txt"), "--output", str(tmp_path / "out.csv")]) == 0
    )
    with open(tmp_path / "out.csv", newline="") as file:
        first, *rows = csv.reader(file)
    assert first == ["text", "class", *jaxembed.load(run).classes]
    assert [row[:2] for row in rows] == [list(pair) for pair in zip(TEXTS, CLASSES, strict=True)]
    np.testing.assert_allclose([float(a) + float(b) for *_, a, b in rows], 1, atol=2e-6)


def test_what_cannot_be_classified_is_refused(run, tmp_path, capsys):
    for line, why in (([], "give texts"), (["x", "--input", "y.txt"], "give texts"), ([" "], "text 0 is blank")):
        assert main(["classify", str(run), *line]) == 1
        assert why in capsys.readouterr().err
    words = jaxembed.KeyedVectors(["a"], np.ones((1, 2), np.float32))
    words.save(tmp_path / "words.safetensors")
    assert main(["classify", str(tmp_path / "words.safetensors"), "a text"]) == 1
    assert "was not trained on texts with classes" in capsys.readouterr().err
