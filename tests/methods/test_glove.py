from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.methods.glove import GloVe
from jaxembed.tables import adagrad, row_adagrad
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training
from jaxembed.training.step import Optimizers, train_step

from .word_reference import (
    RATE,
    Fixed,
    InSlices,
    corpus_of,
    prepared,
    random_tables,
    state_of,
    step_on,
    zipf_documents,
)

SETTINGS = {"vector_size": 5, "x_max": 4.0, "step_entries": 64, "run": 4}


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    documents = [document.tolist() for document in zipf_documents(rng, 30, 8, 40)]
    return count_cooccurrences(corpus_of(documents, 31), 4, cache=False)  # the last word meets nobody


def start():
    return {name: random_tables(np.random.default_rng(i), 31, 6)["in"] for i, name in enumerate(("word", "context"))}


def entries_of(batch, tables):
    """Each entry of the full matrix in a batch: its loss, the rows of word and context, and their gradients."""
    for i, j, count in zip(*(np.asarray(batch[name]) for name in ("rows", "columns", "counts")), strict=True):
        for a, b in {(int(i), int(j)), (int(j), int(i))} if count > 0 else ():
            word, context = tables["word"][a], tables["context"][b]
            error = word[:5] @ context[:5] + word[5] + context[5] - np.log(float(count))
            weight = min(1, float(count) / 4) ** 0.75
            yield (
                weight * error**2 / 2,
                {
                    "word": (a, weight * error * np.append(context[:5], 1)),
                    "context": (b, weight * error * np.append(word[:5], 1)),
                },
            )


def test_a_step_equals_loops_in_float64(counts):
    method = GloVe(**SETTINGS)
    shard = prepared(method, counts)
    batch = method.batch(shard, jnp.int32(1), jax.random.key(0))
    tables = start()
    after, metrics = step_on(method, batch, tables)

    moved, entries = {name: table.copy() for name, table in tables.items()}, list(entries_of(batch, tables))
    for name, (row, gradient) in ((name, of[name]) for _, of in entries for name in tables):
        moved[name][row] -= RATE * gradient
    assert len(entries) > 20
    assert metrics["weight"] == len(entries)
    np.testing.assert_allclose(metrics["loss"], sum(loss for loss, _ in entries), rtol=1e-5)
    for name in tables:
        np.testing.assert_allclose(after[name][:, :6], moved[name], rtol=1e-4, atol=1e-5)
        assert not np.asarray(after[name][:, 6:]).any()


@pytest.mark.parametrize(
    ("rows", "shared"), [(adagrad(), lambda square: square), (row_adagrad(dimension=6), np.mean)], ids=["each", "row"]
)
def test_steps_with_adagrad_equal_loops_in_float64(counts, rows, shared):
    """Pennington et al.'s update: the squares of an element's gradients add up from 1, and divide its steps by their root.

    What meets in a batch has the squares of the whole batch. A row's bias, in its last column, has squares of its own;
    row by row, their mean serves all columns.
    """
    method = GloVe(**SETTINGS)
    shard = prepared(method, counts)
    optimizers = Optimizers(rows, optax.identity(), lambda step: jnp.float32(RATE))
    step = jax.jit(
        lambda state, batch: train_step(Fixed(method, batch), optimizers, state, Shard({}, {}), jnp.int32(0))
    )
    tables = start()
    squares = {name: np.ones_like(table) for name, table in tables.items()}
    state = state_of(tables)
    state = state._replace(rows={name: rows.init(table) for name, table in state.params.tables.items()})
    for place in range(3):
        batch = method.batch(shard, jnp.int32(place), jax.random.key(0))
        state, metrics = step(state, batch)
        loss, gradients = 0.0, {name: np.zeros_like(table) for name, table in tables.items()}
        for of_entry, of_rows in entries_of(batch, tables):
            loss += of_entry
            for name, (row, gradient) in of_rows.items():
                gradients[name][row] += gradient
                squares[name][row] += shared(gradient**2)
        tables = {name: tables[name] - RATE * gradients[name] / np.sqrt(squares[name]) for name in tables}
        np.testing.assert_allclose(metrics["loss"], loss, rtol=2e-5)
        for name, table in state.params.tables.items():
            np.testing.assert_allclose(table[:, :6], tables[name], rtol=1e-4, atol=1e-5)
            assert not np.asarray(table[:, 6:]).any()
    assert max(square.max() for square in squares.values()) > 3  # so that damping is seen


def test_a_pass_meets_every_entry_once(counts):
    method = GloVe(**SETTINGS)
    shard = prepared(method, counts)
    met = []
    for step in range(method.steps(shard)):
        batch = method.batch(shard, jnp.int32(step), jax.random.key(0))
        met += zip(*(np.asarray(batch[name]).tolist() for name in ("rows", "columns", "counts")), strict=True)
    expected = zip(counts.rows.tolist(), counts.columns.tolist(), counts.counts.tolist(), strict=True)
    assert sorted(entry for entry in met if entry[2]) == sorted(expected)


def test_entries_on_disk_are_read_a_part_at_a_time(counts, monkeypatch):
    for name in ("jaxembed.methods.glove._CHUNK", "jaxembed.data.cooccurrence.READ"):
        monkeypatch.setattr(name, 100)
    sliced = {name: InSlices(getattr(counts, name)) for name in ("rows", "columns", "counts")}
    method, training = GloVe(**SETTINGS, shard_entries=100), Training(epochs=2)
    result = fit(method, replace(counts, **sliced), training)
    assert len(counts.counts) > 200
    assert all(0 < values.longest <= 100 for values in sliced.values())
    np.testing.assert_array_equal(result.vectors, fit(method, counts, training).vectors)


def test_biases_start_where_words_meet_by_chance(counts):
    matrix = counts.to_scipy().toarray().astype(np.float64)
    source = GloVe(**SETTINGS).source(counts)
    tables = GloVe(**SETTINGS).init(jax.random.key(0), source.constants).tables
    chance = np.outer(matrix.sum(1), matrix.sum(0)) / matrix.sum()
    met = chance > 0
    found = np.add.outer(np.asarray(tables["word"][:, 5]), np.asarray(tables["context"][:, 5]))
    np.testing.assert_allclose(found[met], np.log(chance[met]), atol=1e-5)
    assert (~met).sum() == 2 * 31 - 1
    assert tables["word"][30, 5] == 0
    reference = GloVe(**SETTINGS, bias_start="random").init(jax.random.key(0), source.constants).tables
    assert np.abs(np.asarray(reference["word"])).max() <= 0.5 / 5
    assert np.asarray(reference["word"][:, 5]).any()


@pytest.mark.slow
def test_counts_are_factorised(counts):
    # With as many dimensions as words, the logarithms of all counts can be met.
    result = fit(GloVe(vector_size=31, step_entries=64), counts, Training(epochs=150, learning_rate=0.3))
    assert result.losses[-1, 0] < 0.02 * result.losses[0, 0]
    assert (np.diff(result.losses[::10, 0]) < 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vector_size": 0}, "vector_size must be at least 1, not 0"),
        ({"x_max": 0}, "x_max must be above 0"),
        ({"alpha": -1}, "alpha must be at least 0"),
        ({"bias_start": "zero"}, "bias_start must be 'independence' or 'random', not 'zero'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GloVe(**settings)
