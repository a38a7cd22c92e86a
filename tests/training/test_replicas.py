from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data import read_corpus
from jaxembed.methods.skipgram import SkipGram
from jaxembed.training.loop import fit
from jaxembed.training.mesh import Layout, make_mesh
from jaxembed.training.method import Params
from jaxembed.training.numbers import table_of
from jaxembed.training.program import Program
from jaxembed.training.replicas import copies_of, merge
from jaxembed.training.settings import Training
from jaxembed.training.step import State

from .toy import Pull


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


@pytest.fixture(autouse=True)
def replicas_of_few_steps(request, monkeypatch):
    """Runs of these tests are short, and take replicas all the same."""
    if "few" not in request.node.name:
        monkeypatch.setattr("jaxembed.training.program.ENOUGH", 1)


@pytest.mark.slow
def test_few_steps_are_trained_without_replicas(corpus):
    method = SkipGram(vector_size=8, window=2, block=32, step_tokens=64, sample=0)
    found = [fit(method, corpus, Training(epochs=1, replicas=replicas), seeds=(1,)).vectors for replicas in (1, 2)]
    np.testing.assert_array_equal(*found)


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    topics = [[f"{topic}{i}" for i in range(20)] for topic in "abc"]
    return read_corpus([rng.choice(topics[i % 3], 40).tolist() for i in range(300)], min_count=1)


@pytest.mark.slow
def test_replicas_learn_and_do_not_depend_on_timing(corpus):
    method = SkipGram(vector_size=16, window=2, block=32, tile=16, shared_negatives=16, step_tokens=64, sample=0)
    training = Training(epochs=6, replicas=2, merge_steps=8)
    first, second = (fit(method, corpus, training, seeds=(1, 2)) for _ in range(2))
    np.testing.assert_array_equal(first.vectors, second.vectors)
    single = fit(method, corpus, Training(epochs=6), seeds=(1,))
    assert abs(first.losses[-1, 0] - single.losses[-1, 0]) < 0.15 * single.losses[0, 0]
    assert first.losses[-1, 0] < 0.9 * first.losses[0, 0]


SMALL = SkipGram(vector_size=16, window=2, block=32, tile=16, shared_negatives=16, step_tokens=256)


@pytest.mark.slow
def test_how_often_the_loss_is_counted_does_not_change_what_is_trained(corpus):
    every, some, none = (fit(SMALL, corpus, Training(epochs=1, loss_every=every)) for every in (1, 5, 0))
    for other in (some, none):
        np.testing.assert_allclose(every.vectors, other.vectors, rtol=1e-4, atol=1e-6)
    assert np.isnan(none.losses).all()
    np.testing.assert_allclose(some.losses, every.losses, rtol=0.2)  # it falls fast, and a fifth is counted
    assert (some.losses != every.losses).all()


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_losses_are_counted_at_the_same_steps_whatever_is_reported(corpus, replicas):
    results = {}
    for reports in (3, 1000):  # 1,000 are more than there are steps: some have nothing new to tell
        training, seen = Training(epochs=2, loss_every=5, replicas=replicas, reports=reports), []
        result = fit(SMALL, corpus, training, report=lambda progress, vectors, seen=seen: seen.append(progress.loss[0]))
        results[reports] = result
        assert len(seen) >= 3
        assert np.isfinite(seen).all()
    np.testing.assert_array_equal(results[3].vectors, results[1000].vectors)
    np.testing.assert_allclose(results[3].losses, results[1000].losses, rtol=1e-12)


def test_a_counted_loss_is_that_of_its_steps():
    tokens, losses = np.arange(48) % 5, []
    settings = {"epochs": 1, "optimizer": "sgd", "learning_rate": 0.1}
    fit(Pull(), tokens, Training(reports=100, **settings), report=lambda progress, _: losses.append(progress.loss[0]))
    assert len(losses) == 12
    counted = fit(Pull(), tokens, Training(loss_every=5, **settings)).losses[0, 0]
    np.testing.assert_allclose(counted, np.mean([losses[0], losses[5], losses[10]]), rtol=1e-5)


def test_on_a_mesh_nothing_is_replicated():
    training = Training(epochs=1, optimizer="sgd", learning_rate=0.1)
    layout = Layout(make_mesh(1, 1))
    alone, replicated = (fit(Pull(), np.arange(48) % 5, replace(training, replicas=n), layout=layout) for n in (1, 2))
    np.testing.assert_array_equal(alone.vectors, replicated.vectors)
    assert alone.steps == replicated.steps == 12


@pytest.mark.slow
def test_a_short_pass_merges_often(corpus):
    program = lambda method: Program(
        method, Training(replicas=2), method.source(corpus), (0,), table_of(method, Training(), {}, 1), None, Layout()
    )
    short = program(SMALL)
    assert short.replicas == 2
    assert short.merge_steps == -(-short.steps // SMALL.merges)


def test_replicas_may_merge_by_how_often_they_meet_a_row(corpus, monkeypatch):
    monkeypatch.setattr("jaxembed.training.program.ENOUGH", 1)
    method = SMALL.suited_to(corpus)
    training = Training(replicas=2, merge_steps=0)
    found = Program(method, training, method.source(corpus), (0,), table_of(method, training, {}, 1), None, Layout())
    blocks = max(1, method.step_tokens // method.block)
    of_out = blocks * (
        method.block + 2 * method.halo + method.shared_negatives
    )  # more rows of `out` are met than of `in`
    expected = int(14 * len(corpus.vocabulary) / of_out / 2)
    assert found.merge_steps == min(max(1, expected), -(-found.steps // method.merges))
    assert expected < 512


@pytest.mark.slow
def test_a_second_training_of_the_same_shapes_is_not_compiled_again(corpus):
    training = Training(epochs=1, loss_every=0, replicas=2)
    first = fit(replace(SMALL, negative=3), corpus, training)
    again = fit(replace(SMALL, negative=4), corpus, replace(training, epochs=2, learning_rate=0.1), seeds=(5,))
    assert again.compile_seconds == 0
    assert np.isfinite(again.vectors).all()
    assert not np.array_equal(first.vectors, again.vectors)
    other = fit(replace(SMALL, window=3), corpus, training)
    assert other.compile_seconds > 0


def test_bad_settings_are_refused(corpus):
    with pytest.raises(ValueError, match="replicas"):
        Training(replicas=0)
    with pytest.raises(ValueError, match="lazy_adam"):
        Training(replicas=2, optimizer="lazy_adam")
    with pytest.raises(ValueError, match="threads"):
        fit(SkipGram(), corpus, Training(replicas=2), seeds=(1, 2), seeds_by="vmap")
