"""The contract that every recipe keeps, from its help to the use of what it trained.

The files beside this one run it, a part of the registry each, so that they can run side by side.
"""

import json
import re
import warnings
from dataclasses import fields, replace

import jax
import numpy as np
import pytest
import tyro

import jaxembed
from jaxembed.cli import main
from jaxembed.cli.train import Where, asked_for, command
from jaxembed.fields import changed, helps, settings
from jaxembed.recipes import RECIPES
from jaxembed.study import recorder
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant, abstract_step, ready
from jaxembed.study.recorded import rebuilt
from jaxembed.study.reproduce import reproduce
from jaxembed.study.train import train_group
from jaxembed.study.values import as_json
from jaxembed.training.loop import fit
from jaxembed.training.numbers import numbers_of, with_numbers

from .tiny import tiny, write

GROUPS = {
    "words": [],
    "views": [],
    "images": [],
    "sentences": [],
    "pairs": [],
    "facts": [],
    "interactions": [],
    "clicks": [],
    "nodes": [],
    "documents": [],
    "texts": [],
    "classes": [],
}
for _name, _one in RECIPES.items():
    _kind = {"Words": "words", "Images": "images", "Sentences": "sentences", "ImageTexts": "pairs", "Triples": "facts",
             "Interactions": "interactions", "Clicks": "clicks", "Nodes": "nodes",
             "Documents": "documents", "Texts": "texts", "Labelled": "classes"}[type(_one.task).__name__]  # fmt: skip
    # Images have the most recipes: those without negatives, and what is not trained, make a part of their own.
    _negatives = "temperature" in settings(_one) if _kind == "images" else True
    GROUPS[_kind if _negatives else "views"].append(_name)


# Whose training is always tested, one for each way of training and of use; that of the others is slow (`make test-all`).
ALWAYS = frozenset(
    (
        "skipgram",
        "simclr",
        "tf_idf",
        "complex",
        "mf",
        "deepwalk",
        "graphsage",
        "ials",
        "popularity",
        "logistic_regression",
        "doc2vec",
        "gpt",
    )
)


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        trains = "runs" in metafunc.fixturenames or metafunc.function in FITTING
        slow = lambda name: [pytest.mark.slow] if trains and name not in ALWAYS else []
        metafunc.parametrize("name", [pytest.param(name, marks=slow(name)) for name in GROUPS[metafunc.module.GROUP]])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Tiny data, and every recipe on them."""
    folder = tmp_path_factory.mktemp("tiny")
    text = write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXEMBED_DATA", str(folder))
        yield {name: tiny(one, text) for name, one in RECIPES.items()}


class Killed(Exception):
    """Stands for SIGKILL."""


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """A run of each recipe, made when it is first asked for: killed on its way, and started again."""
    finished, report, seen = {}, recorder.Recorder.report, []

    def until_killed(self, progress, vectors):
        report(self, progress, vectors)
        seen.append(progress.step)
        if len(seen) == 2:
            raise Killed

    def run(name):
        if name not in finished:
            folder = tmp_path_factory.mktemp(name) / "seed-1"
            if world[name].method.trained:  # of a baseline there is no moment to be killed at
                seen.clear()
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(recorder.Recorder, "report", until_killed)
                    with pytest.raises(Killed):
                        trained(world[name], folder)
            finished[name] = trained(world[name], folder)
        return finished[name]

    return run


def trained(one, folder):
    plan = Planned(folder, Variant("tiny", one.method, one.training), 1, one.task.data)
    return train_group([plan], one.task, Options(console=False, checkpoint_seconds=0))[0]


def test_its_help_tells_every_setting(name, capsys):
    assert main(["train", name.replace("_", "-"), "--help"]) == 0
    shown = capsys.readouterr().out
    for one in settings(RECIPES[name]).values():
        assert re.search(rf"--(no-)?{re.escape(one.name.replace('_', '-'))}\b", shown), one.name
        assert one.help, f"{one.name} has no comment at its field"
    assert all(field.name in helps(Where) for field in fields(Where))


def test_its_command_builds_its_method(name):
    kind = command(name)
    known = settings(kind.recipe)
    untouched = tyro.cli(kind, args=[], config=(tyro.conf.FlagCreatePairsOff,))
    assert asked_for(untouched, known) == {}
    sizes = [one for one in ("batch_size", "vector_size") if one in known][:1]  # popularity has none
    line = [word for one in sizes for word in (f"--{one.replace('_', '-')}", "48")]
    line += ["--data", "elsewhere", "--epochs", "2", "--seeds", "3", "4"]
    arguments = tyro.cli(kind, args=line, config=(tyro.conf.FlagCreatePairsOff,))
    one = changed(kind.recipe, asked_for(arguments, known))
    assert arguments.seeds == (3, 4)
    assert (one.task.data, one.training.epochs) == ("elsewhere", 2)
    assert one.method == RECIPES[name].method.with_(**dict.fromkeys(sizes, 48))


def test_its_settings_survive_json(name):
    for part in (RECIPES[name].method, RECIPES[name].task, RECIPES[name].training):
        assert rebuilt(json.loads(json.dumps(as_json(part, "x")))) == part


def test_it_trains_and_is_judged(name, runs, world):
    run = runs(name)
    assert run.finished
    assert np.isfinite(run.vectors().vectors).all()
    one = world[name]
    assert len(run.settings["judged_fingerprint"]) == 32
    judged = set(one.task.columns.values()) & set(run.summary)
    assert judged, "nothing of the table's columns is measured"
    if one.method.trained:
        losses = [line["epoch/loss"] for line in run.metrics() if "epoch/loss" in line]
        assert len(losses) == one.training.epochs
        assert np.isfinite(losses).all()


def test_killed_and_started_again_it_is_what_it_is_undisturbed(name, runs, world):
    assert runs(name).environment["resumed"] == int(world[name].method.trained)
    found = reproduce(runs(name).folder)  # trains it again from its record, in one go
    assert found.exact
    assert found.vectors
    assert found.reproduced


def test_what_it_trained_is_opened_and_used(name, runs, world, monkeypatch):
    run, task = runs(name), world[name].task
    monkeypatch.setenv("JAXEMBED_DATA", "/nowhere")  # no data are needed to use a run
    model = jaxembed.load(run.folder)
    vectors = run.vectors()
    if "graph" in task.found.inputs:
        graph = task.found.train
        assert model.entities.index_to_key == list(graph.entities)
        np.testing.assert_array_equal(model.entities.vectors, vectors.vectors)
        names = graph.entities, graph.relations, graph.entities
        head, relation, tail = (of[i] for of, i in zip(names, graph.test[0], strict=True))
        for answers, right in (
            (model.predict_tail(head, relation, len(graph.entities)), tail),
            (model.predict_head(relation, tail, len(graph.entities)), head),
        ):
            assert {one.name: one.known for one in answers}[right] == "test"
            assert sorted(answers, key=lambda one: -one.score) == answers
        return
    if isinstance(model, jaxembed.Recommender):
        return recommends(model, task)
    if isinstance(model, jaxembed.ClickModel):
        return predicts(model, task, run)
    if isinstance(model, jaxembed.DocumentModel):
        return infers(model, task, vectors)
    if isinstance(model, jaxembed.NodeModel):
        return embeds(model, task, run)
    if not task.found.judged:
        word = vectors.index_to_key[0]
        np.testing.assert_array_equal(model[word], vectors[word])
        assert len(model.most_similar(word, topn=3)) == 3
        return
    for part, examples in task.found.judged.items():
        raw = next(iter(examples.values()))[:3] if "images" in examples else texts_of(task, part)[:3]
        expected = np.stack([vectors[f"{part}/{i}"] for i in range(len(raw))])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*longer than the .* tokens that this model takes")
            found = model.encode(raw)
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert model.similarity(found, expected).shape == (len(raw), len(raw))


def infers(model, task, vectors):
    """A run of documents finds the nearest ones, and infers vectors of texts from what it has kept."""
    corpus = task.found.train.corpus
    text = " ".join(corpus.vocabulary.words[i] for i in corpus.tokens[: corpus.offsets[1]])
    assert model.documents.index_to_key == vectors.index_to_key
    found = model.encode([text, "", text])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[0], model.encode(text))
    assert not found[1].any()
    assert len(model.search(text, topn=2)) == 2


def recommends(model, task):
    known = task.found.rest.known
    user = known.users[0]
    had = {known.items[row] for row in known.item[known.user == 0]}
    items = [item for item, _ in model.recommend(user, 3)]
    assert len({*items}) == 3
    assert not had & {*items}
    if model.method.from_history:
        ordered = [known.items[row] for row in known.item[known.user == 0]]
        assert [item for item, _ in model.recommend(history=ordered, k=3)] == items
    else:
        with pytest.raises(ValueError, match="knows the users of its training data alone"):
            model.recommend(history=[known.items[0]])


def predicts(model, task, run):
    test = task.found.rest
    keys, offsets = test.keys, test.offsets
    rows = [{name: keys[i].partition("/")[2] for name, i in zip(test.fields, ids, strict=True)} for ids in test.ids]
    found = model.predict(rows)
    expected = run.summary["clicks/log_loss"]
    assert -np.mean(np.log(np.where(test.label > 0, found, 1 - found))) == pytest.approx(expected, abs=1e-4)
    assert model.vectors[keys[offsets[1] + 1]].shape == (model.method.vector_size,)


def embeds(model, task, run):
    graph, kept = task.found.rest[0], run.vectors()
    names = [(graph.nodes[a], graph.nodes[b]) for a, b in graph.links]
    found = model.encode(names)
    assert {*found.index_to_key} == {*kept.index_to_key} == {*model.vectors.index_to_key}
    np.testing.assert_allclose(found.vectors, [kept[name] for name in found.index_to_key], atol=1e-5)
    if model.groups:
        told = model.predict(names)
        assert [told[name][0] for name in graph.nodes] == [model.groups[i] for i in kept.expandos["group"]]
    else:
        with pytest.raises(ValueError, match="trained without groups"):
            model.predict(names)


def texts_of(task, part):
    rest = task.found.rest
    return rest[1][part] if isinstance(rest, tuple) else (task.found.dev if part.startswith("dev") else rest).texts


def test_tables_train_in_replicas(name, world, monkeypatch):
    monkeypatch.setattr("jaxembed.training.program.ENOUGH", 1)  # few as the steps are
    one = world[name]
    if one.training.dense:  # encoders train step by step, for one fills the cores, and nothing offers them replicas
        assert one.training.replicas == 1
        assert "replicas" not in settings(one)
        return
    method, data = ready(one.method, one.task)
    two = one.with_(replicas=2).training
    first, second = (fit(method, data, two, seeds=(3,)).vectors for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()


def test_seeds_of_one_program_are_what_they_are_alone(name, world):
    one = world[name]
    method, data = ready(one.method, one.task)
    # Adam's first steps are signs, which rounding turns where a gradient is next to nothing.
    dense = replace(one.training.dense, optimizer="sgd") if one.training.dense else None
    training = replace(one.training, replicas=1, dense=dense)
    group, alone = (fit(method, data, training, seeds=seeds, seeds_by="vmap") for seeds in ((1, 2), (2,)))
    # Products are added up in another order where there are two of them; a few steps carry that on.
    np.testing.assert_allclose(group.vectors[1], alone.vectors[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(group.losses[:, 1], alone.losses[:, 0], rtol=1e-3, atol=1e-5)
    assert not method.trained or np.abs(group.vectors[0] - group.vectors[1]).max() > 1e-3


FITTING = (test_tables_train_in_replicas, test_seeds_of_one_program_are_what_they_are_alone)


def test_numbers_that_vary_in_one_program_do_not_shape_what_the_runs_share(name, world):
    method, data = ready(world[name].method, world[name].task)
    shared = jax.tree.leaves(method.source(data).constants)
    for path in numbers_of(method, world[name].training).keys() - {"learning_rate", "final_rate"}:
        other = with_numbers(method, {path: 0.37})
        for own, its in zip(shared, jax.tree.leaves(other.source(data).constants), strict=True):
            np.testing.assert_array_equal(own, its)


def test_its_step_compiles_for_accelerators(name, world):
    method, data = ready(world[name].method, world[name].task)
    step, shapes = abstract_step(method, world[name].training, method.source(data))
    exported = jax.export.export(jax.jit(step), platforms=("cuda", "tpu"))(*shapes)
    assert exported.platforms == ("cuda", "tpu")
