import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data import read_corpus
from jaxembed.methods.skipgram import SkipGram
from jaxembed.training.loop import fit
from jaxembed.training.method import Params
from jaxembed.training.replicas import copies_of, merge
from jaxembed.training.settings import Training
from jaxembed.training.step import State


def state(table, accumulator):
    return State(Params({"in": jnp.asarray(table)}), {"in": accumulator}, None, jnp.int32(0), jax.random.key(0))


def moved(base, tables, accumulators):
    copies = copies_of(base, len(tables))
    return [
        copy._replace(params=Params({"in": jnp.asarray(table)}), rows={"in": accumulator})
        for copy, table, accumulator in zip(copies, tables, accumulators, strict=True)
    ]


def test_plain_moves_add_up():
    base = state(np.zeros((3, 2), np.float32), ())
    one, two = np.float32([[1, 2], [0, 0], [3, 3]]), np.float32([[0, 0], [5, 6], [1, 1]])
    merged, copies = merge(base, moved(base, [one, two], [(), ()]))
    np.testing.assert_array_equal(merged.params.tables["in"], one + two)
    for copy in copies:
        np.testing.assert_array_equal(copy.params.tables["in"], one + two)
    assert not np.array_equal(*(jax.random.key_data(copy.key) for copy in copies))


def test_adagrad_moves_shrink_to_what_the_joint_accumulator_allows():
    base = state(np.ones((2, 2), np.float32), jnp.float32([1, 1]))
    move = np.float32([[0.5, -0.5], [0.25, 0]])
    # Row 0: both copies saw it; row 1: only the first did.
    tables = [1 + move, 1 + move * np.float32([[1], [0]])]
    accumulators = [jnp.float32([3, 2]), jnp.float32([3, 1])]
    merged, _ = merge(base, moved(base, tables, accumulators))
    np.testing.assert_allclose(merged.rows["in"], [5, 2])
    shrink = np.sqrt([3 / 5, 1.5 / 2])[:, None]
    np.testing.assert_allclose(merged.params.tables["in"], 1 + shrink * (move + move * [[1], [0]]), rtol=1e-6)


def test_copies_that_have_not_moved_change_nothing():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(5, 4)).astype(np.float32)
    base = state(table, jnp.ones(5))
    merged, _ = merge(base, copies_of(base, 3))
    np.testing.assert_array_equal(merged.params.tables["in"], table)


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    topics = [[f"{topic}{i}" for i in range(20)] for topic in "abc"]
    return read_corpus([rng.choice(topics[i % 3], 40).tolist() for i in range(300)], min_count=1)


def test_replicas_learn_and_do_not_depend_on_timing(corpus):
    method = SkipGram(vector_size=16, window=2, block=32, tile=16, shared_negatives=16, step_tokens=64, sample=0)
    training = Training(epochs=6, replicas=2, merge_steps=8)
    first, second = (fit(method, corpus, training, seeds=(1, 2)) for _ in range(2))
    np.testing.assert_array_equal(first.vectors, second.vectors)
    single = fit(method, corpus, Training(epochs=6), seeds=(1,))
    assert abs(first.losses[-1, 0] - single.losses[-1, 0]) < 0.15 * single.losses[0, 0]
    assert first.losses[-1, 0] < 0.9 * first.losses[0, 0]


def test_without_tracking_the_vectors_are_the_same_and_the_loss_is_told_to_be_unknown(corpus):
    method = SkipGram(vector_size=16, window=2, block=32, tile=16, shared_negatives=16, step_tokens=256)
    tracked, untracked = (fit(method, corpus, Training(epochs=1, loss_every=every)) for every in (1, 0))
    np.testing.assert_allclose(tracked.vectors, untracked.vectors, rtol=1e-4, atol=1e-6)
    assert np.isnan(untracked.losses).all()
    assert np.isfinite(tracked.losses).all()


def test_bad_settings_are_refused(corpus):
    with pytest.raises(ValueError, match="replicas"):
        Training(replicas=0)
    with pytest.raises(ValueError, match="lazy_adam"):
        Training(replicas=2, optimizer="lazy_adam")
    with pytest.raises(ValueError, match="threads"):
        fit(SkipGram(), corpus, Training(replicas=2), seeds=(1, 2), seeds_by="vmap")
