import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.methods.glove import GloVe
from jaxembed.training.loop import Training, fit

from .word_reference import RATE, corpus_of, prepared, random_tables, step_on, zipf_documents

SETTINGS = {"vector_size": 5, "x_max": 4.0, "step_entries": 64, "run": 4}


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    documents = [document.tolist() for document in zipf_documents(rng, 30, 8, 40)]
    return count_cooccurrences(corpus_of(documents, 31), 4, cache=False)  # the last word meets nobody


def test_a_step_equals_loops_in_float64(counts):
    method = GloVe(**SETTINGS)
    shard = prepared(method, counts)
    batch = method.batch(shard, jnp.int32(1), jax.random.key(0))
    tables = {name: random_tables(np.random.default_rng(i), 31, 6)["in"] for i, name in enumerate(("word", "context"))}
    after, metrics = step_on(method, batch, tables)

    gradients = {name: np.zeros_like(table) for name, table in tables.items()}
    loss = entries = 0
    for i, j, count in zip(*(np.asarray(batch[name]) for name in ("rows", "columns", "counts")), strict=True):
        for a, b in {(int(i), int(j)), (int(j), int(i))} if count > 0 else ():
            word, context = tables["word"][a], tables["context"][b]
            error = word[:5] @ context[:5] + word[5] + context[5] - np.log(float(count))
            weight = min(1, float(count) / 4) ** 0.75
            loss, entries = loss + weight * error**2 / 2, entries + 1
            gradients["word"][a] += weight * error * np.append(context[:5], 1)
            gradients["context"][b] += weight * error * np.append(word[:5], 1)
    assert entries > 20
    assert metrics["weight"] == entries
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    for name in tables:
        np.testing.assert_allclose(after[name][:, :6], tables[name] - RATE * gradients[name], rtol=1e-4, atol=1e-5)
        assert not np.asarray(after[name][:, 6:]).any()


def test_a_pass_meets_every_entry_once(counts):
    method = GloVe(**SETTINGS)
    shard = prepared(method, counts)
    met = []
    for step in range(method.steps(shard)):
        batch = method.batch(shard, jnp.int32(step), jax.random.key(0))
        met += zip(*(np.asarray(batch[name]).tolist() for name in ("rows", "columns", "counts")), strict=True)
    expected = zip(counts.rows.tolist(), counts.columns.tolist(), counts.counts.tolist(), strict=True)
    assert sorted(entry for entry in met if entry[2]) == sorted(expected)


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
        ({"alpha": -1}, "alpha at least 0"),
        ({"bias_start": "zero"}, "bias_start must be 'independence' or 'random', not 'zero'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        GloVe(**settings)
