import json

import numpy as np
import pytest

from jaxembed.cli import main
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.glove import GloVe
from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import PAIRWISE, pairwise
from jaxembed.study.reproduce import rebuilt, reproduce
from jaxembed.study.values import as_json
from jaxembed.training.settings import Training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds of Skip-gram, trained together, and the text that they were trained on."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in np.minimum(rng.zipf(1.3, 6000), 40)]
    text = folder / "corpus.txt"
    text.write_text("\n".join(" ".join(words[i : i + 40]) for i in range(0, 6000, 40)))
    line = ["train", "skipgram", "--data", str(text), "--min-count", "1", "--vector-size", "8", "--epochs", "1"]
    assert main([*line, "--held-out", "0.1", "--seeds", "1", "2", "--output", str(folder / "runs")]) == 0
    return folder


def edited(path, change):
    before = path.read_text()
    content = json.loads(before)
    change(content)
    path.write_text(json.dumps(content))
    return before


@pytest.mark.parametrize(
    "value",
    [
        *(SkipGram(vector_size=7, objective=pairwise(name)) for name in PAIRWISE),
        CBOW(cbow_mean=False),
        GloVe(x_max=3.5, bias_start="random"),
        Training(epochs=2, replicas=2),
    ],
    ids=lambda value: f"{type(value).__name__} {type(getattr(value, 'objective', None)).__name__}",
)
def test_settings_become_what_they_were(value):
    assert rebuilt(json.loads(json.dumps(as_json({"it": value})))["it"]) == value


def test_what_is_not_known_is_not_made_up():
    with pytest.raises(ValueError, match=r"unknown class 'Word3Vec': .*SkipGram"):
        rebuilt({"class": "Word3Vec"})
    with pytest.raises(ValueError, match="this version's GloVe has no colour: check out the run's commit"):
        rebuilt({"class": "GloVe", "colour": 1})


@pytest.mark.slow
def test_a_run_is_reproduced_bit_for_bit(trained, capsys):
    found = reproduce(trained / "runs/seed-2")
    assert found.exact
    assert found.vectors
    assert found.reproduced
    assert {figure.name for figure in found.figures} >= {"final/loss", "final/held_out_loss"}
    assert all(figure.recorded == figure.now and figure.allowed == 0 for figure in found.figures)
    assert main(["reproduce", str(trained / "runs/seed-2")]) == 0
    assert "The vectors are the same bit for bit" in capsys.readouterr().out


@pytest.mark.slow
def test_a_figure_that_is_not_what_was_recorded_is_found_out(trained, capsys):
    path = trained / "runs/seed-2/summary.json"
    before = edited(path, lambda content: content.update({"final/loss": content["final/loss"] * 1.01}))
    try:
        assert not reproduce(trained / "runs/seed-2").reproduced
        assert main(["reproduce", str(trained / "runs/seed-2")]) == 1
        assert "NOT reproduced" in capsys.readouterr().out
    finally:
        path.write_text(before)


@pytest.mark.slow
def test_elsewhere_a_figure_may_differ_by_its_interval(trained):
    path = trained / "runs/seed-2/environment.json"
    before = edited(path, lambda content: content["versions"].update({"jax": "0.1"}))
    try:
        found = reproduce(trained / "runs/seed-2")
    finally:
        path.write_text(before)
    assert not found.exact
    assert found.reproduced
    assert any("versions: jax was '0.1'" in line for line in found.environment)
    values = [json.loads((trained / f"runs/seed-{s}/summary.json").read_text())["final/loss"] for s in (1, 2)]
    loss = next(figure for figure in found.figures if figure.name == "final/loss")
    assert loss.allowed == pytest.approx(3 * np.std(values, ddof=1), rel=1e-6)
    assert not found.tried


def test_where_only_the_commit_differs_bit_for_bit_is_tried_first(trained, capsys):
    path, figures = trained / "runs/seed-2/environment.json", trained / "runs/seed-2/summary.json"
    before = edited(path, lambda content: content.update(commit="0" * 40, dirty=True))
    try:
        assert main(["reproduce", str(trained / "runs/seed-2")]) == 0
        assert "a comparison bit for bit was tried first: the run is the same bit for bit" in capsys.readouterr().out
        as_it_was = edited(figures, lambda content: content.update({"final/loss": content["final/loss"] * (1 + 1e-9)}))
        found = reproduce(trained / "runs/seed-2")
        figures.write_text(as_it_was)
    finally:
        path.write_text(before)
    assert (found.tried, found.exact, found.reproduced) == (True, False, True)


def test_a_run_that_was_judged_by_something_else_is_told(trained):
    path = trained / "runs/seed-1/settings.json"
    before = edited(path, lambda content: content.update(judged_fingerprint="f00d"))
    try:
        with pytest.raises(
            ValueError, match=r"the data by which vectors are judged are not those of the run: .* recorded f00d"
        ):
            reproduce(trained / "runs/seed-1")
    finally:
        path.write_text(before)


def test_other_data_are_told(trained):
    path = trained / "corpus.txt"
    before = path.read_text()
    path.write_text(before + "\nw1 w2")
    try:
        with pytest.raises(ValueError, match="the data are not those of the run"):
            reproduce(trained / "runs/seed-1")
    finally:
        path.write_text(before)


def test_what_cannot_be_reproduced(trained, tmp_path, capsys):
    assert main(["reproduce", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(ValueError, match="is not finished"):
        reproduce(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(ValueError, match="recorded by an older version"):
        reproduce(tmp_path)
