from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.tables import ROW_OPTIMIZERS
from jaxembed.training.loop import Diverged, fit
from jaxembed.training.method import Params, Shard
from jaxembed.training.settings import Training
from jaxembed.training.step import init_state, train_step

from .toy import D, Pull, Visits

TOKENS = np.random.default_rng(0).integers(0, 5, 48)
PLAIN = {"learning_rate": 0.05, "optimizer": "sgd"}


@pytest.mark.parametrize(("pieces", "reports"), [(1, 100), (3, 7), (3, 1)])
def test_every_token_is_met_once_a_pass(pieces, reports):
    training = Training(epochs=2, learning_rate=1, final_rate=1, optimizer="sgd", reports=reports)
    result = fit(Visits(pieces=pieces), TOKENS, training)
    np.testing.assert_array_equal(result.vectors[0, :, 0], -2.0 * np.bincount(TOKENS))
    assert result.steps == 2 * 48 // 4
    assert result.examples == 2 * 48


def test_the_loss_is_the_exact_mean_of_single_steps():
    method, training = Pull(noise=1.0, shuffle=False), Training(epochs=3, **PLAIN)
    result = fit(method, TOKENS, training, seeds=[7])
    source = method.source(TOKENS)
    shard = Shard(source.constants, source.piece(0), {"order": jnp.arange(48)})
    optimizers = training.optimizers(method, {"learning_rate": 0.05, "final_rate": 1e-4, "total_steps": 36})
    state = init_state(method, optimizers, source.constants, jax.random.key(7))
    step = jax.jit(lambda state, place: train_step(method, optimizers, state, shard, place))
    losses = np.zeros((3, 12))
    for epoch, place in np.ndindex(3, 12):
        state, metrics = step(state, place)
        losses[epoch, place] = metrics["loss"]
    np.testing.assert_allclose(result.losses[:, 0], losses.sum(1) / 48, rtol=1e-6)
    np.testing.assert_allclose(result.vectors[0], method.vectors(state.params), rtol=1e-5, atol=1e-6)


def test_a_seed_gives_the_same_alone_and_in_company():
    method, training = Pull(noise=1.0, pieces=2), Training(epochs=2, **PLAIN)
    alone = fit(method, TOKENS, training, seeds=[1])
    ways = ("threads", "map", "vmap")
    threads, mapped, vmap = (fit(method, TOKENS, training, seeds=[0, 1, 2], seeds_by=by) for by in ways)
    np.testing.assert_array_equal(threads.vectors[1], alone.vectors[0])  # one program, run three times
    np.testing.assert_array_equal(threads.losses[:, 1], alone.losses[:, 0])
    for one in (mapped, vmap):
        np.testing.assert_allclose(one.vectors, threads.vectors, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.losses, threads.losses, rtol=1e-5)
    for group in (threads, mapped, vmap):
        assert group.vectors.shape == (3, 5, D)
        assert group.losses.shape == (2, 3)
        assert np.abs(np.diff(group.vectors, axis=0)).max((1, 2)).min() > 0.01
        for seed, params in enumerate(group.params):
            np.testing.assert_array_equal(method.vectors(params), group.vectors[seed])


def test_reports_tell_everything_and_change_nothing():
    method, epochs = Pull(noise=1.0, pieces=2), 3
    silent = fit(method, TOKENS, Training(epochs=epochs, reports=1, **PLAIN), seeds=[0, 1])
    seen, passes = [], []

    def report(progress, vectors):
        seen.append((progress, np.asarray(vectors())))

    def on_epoch(epoch, progress, vectors):
        passes.append((epoch, progress, np.asarray(vectors())))

    reported = fit(
        method,
        TOKENS,
        Training(epochs=epochs, reports=5, **PLAIN),
        seeds=[0, 1],
        report=report,
        on_epoch=on_epoch,
        held_out=TOKENS[:8],
    )
    np.testing.assert_array_equal(reported.vectors, silent.vectors)
    np.testing.assert_allclose(reported.losses, silent.losses, rtol=1e-12)

    # Reports cover all steps between them, each with the mean of its own.
    steps = [progress.step for progress, _ in seen]
    assert len(seen) <= 5
    assert steps == sorted(set(steps))
    assert steps[-1] == seen[-1][0].total_steps == reported.steps == 36
    spans = np.diff([0, *steps])
    means = np.stack([progress.loss for progress, _ in seen])
    np.testing.assert_allclose((spans[:, None] * means).sum(0) / 36, reported.losses.mean(0), rtol=1e-6)
    np.testing.assert_array_equal([progress.metrics["batches"] for progress, _ in seen], np.stack([spans, spans], 1))
    np.testing.assert_allclose([progress.epoch for progress, _ in seen], np.array(steps) / 12)
    rates = np.stack([progress.learning_rate for progress, _ in seen])
    np.testing.assert_allclose(rates, np.tile(0.05 * (1 - (1 - 1e-4) * np.array(steps)[:, None] / 36), 2), rtol=1e-5)
    assert seen[-1][0].examples == 3 * 48
    np.testing.assert_array_equal(seen[-1][1], reported.vectors)

    # And a pass is told as it ends, not as it was at the last report.
    assert [epoch for epoch, _, _ in passes] == [0, 1, 2]
    assert [progress.step for _, progress, _ in passes] == [12, 24, 36]
    np.testing.assert_array_equal([progress.loss for _, progress, _ in passes], reported.losses)
    np.testing.assert_array_equal([progress.metrics["held_out"] for _, progress, _ in passes], reported.held_out)
    np.testing.assert_array_equal(passes[-1][2], reported.vectors)


@pytest.mark.parametrize("seeds_by", ["threads", "vmap"])
def test_the_best_pass_of_each_seed_is_kept(seeds_by):
    figures = np.array([[0.3, 0.1], [np.nan, 0.4], [0.2, 0.4]])  # passes x seeds
    passes = []

    def on_epoch(epoch, progress, vectors):
        passes.append(np.asarray(vectors()))
        one, two = vectors.params()
        np.testing.assert_array_equal(np.stack([one.tables["rows"], two.tables["rows"]]), passes[-1])
        return figures[epoch]

    training = Training(epochs=3, best_pass=True, **PLAIN)
    kept = fit(Pull(noise=1.0), TOKENS, training, seeds=[0, 1], seeds_by=seeds_by, on_epoch=on_epoch)
    np.testing.assert_array_equal(kept.best_pass, [1, 2])
    np.testing.assert_array_equal(kept.vectors, np.stack([passes[0][0], passes[1][1]]))
    np.testing.assert_array_equal([one.tables["rows"] for one in kept.params], kept.vectors)
    last = fit(Pull(noise=1.0), TOKENS, replace(training, best_pass=False), seeds=[0, 1], seeds_by=seeds_by)
    np.testing.assert_array_equal(last.vectors, passes[2])
    assert last.best_pass is None


def test_held_out_loss_is_that_of_the_parameters_as_they_stand():
    method, training = Pull(pieces=2), Training(epochs=2, **PLAIN)
    held = np.array([0, 0, 1, 2, 3, 4, 4, 4])
    measured = fit(method, TOKENS, training, held_out=held, seeds=[0, 1])
    vectors, targets = measured.vectors.astype(np.float64), method.source(held).constants["targets"]
    gap = vectors[:, held] + vectors[:, (held + 1) % 5] - targets[held]
    assert measured.held_out.shape == (2, 2)
    np.testing.assert_allclose(measured.held_out[-1], 0.5 * (gap**2).sum(-1).mean(-1), rtol=1e-5)
    assert (measured.held_out[-1] < measured.held_out[0]).all()


def test_the_order_of_pieces_depends_on_the_pass_alone():
    places, orders = [], []

    class Asked(Visits):
        def source(self, tokens):
            source = super().source(tokens)
            return replace(source, piece=lambda i, *share: places.append(i) or source.piece(i, *share))

    for seed in (0, 1):
        fit(Asked(pieces=6), TOKENS, Training(epochs=4, optimizer="sgd"), seeds=[seed])
        orders.append(np.reshape(places[-4 * 6 :], (4, 6)))  # the engine may look at a piece beforehand
        np.testing.assert_array_equal(np.sort(orders[-1], 1), np.tile(np.arange(6), (4, 1)))
    np.testing.assert_array_equal(*orders)
    assert len({tuple(order) for order in orders[0]}) > 1


@pytest.mark.parametrize("seeds_by", ["threads", "map", "vmap"])
def test_training_goes_on_from_given_parameters_and_leaves_them_alone(seeds_by):
    start = [Params({"rows": jnp.full((5, D), value)}) for value in (1.0, 2.0)]
    still = Training(epochs=1, learning_rate=1e-30, optimizer="sgd")
    result = fit(Pull(), TOKENS, still, seeds=[5, 6], seeds_by=seeds_by, init=start)
    for i, params in enumerate(start):
        np.testing.assert_array_equal(result.vectors[i], params.tables["rows"])


@pytest.mark.parametrize("optimizer", sorted(set(ROW_OPTIMIZERS) - {"sgd"}))
def test_every_optimizer_lowers_the_loss(optimizer):
    losses = fit(Pull(), TOKENS, Training(epochs=10, learning_rate=0.1, optimizer=optimizer)).losses
    assert losses[-1, 0] < 0.3 * losses[0, 0]


def test_divergence_is_told_with_the_seed_and_what_to_do():
    with pytest.raises(Diverged, match=r"seed 3, 4 are not finite after step \d+ of 240.*Lower the learning rate"):
        fit(Pull(), TOKENS, Training(epochs=20, learning_rate=1e4, optimizer="sgd"), seeds=[3, 4])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"optimizer": "adamw"}, "unknown optimizer 'adamw'.*lazy_adam"),
        ({"optimizer": "adagrad", "initial_accumulator": 0.0}, "initial_accumulator and eps cannot both be 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Training(**settings)


def test_bad_seeds():
    with pytest.raises(ValueError, match="at least one seed"):
        fit(Pull(), TOKENS, seeds=[])
    with pytest.raises(ValueError, match="'vmap', 'map' or 'threads', not 'pmap'"):
        fit(Pull(), TOKENS, seeds_by="pmap")


@dataclass(frozen=True)
class Seeing(Pull):
    """Its loss takes the targets from the shard, and not from the batch."""

    def batch(self, shard, step, key):
        return {"tokens": super().batch(shard, step, key)["tokens"]}

    def loss_in(self, shard, rows, net, kept, batch, key):
        target = jnp.asarray(shard.constants["targets"])[batch["tokens"]]
        return self.loss(rows, net, kept, {**batch, "target": target}, key)


@dataclass(frozen=True)
class Levelled(Pull):
    """Targets at a level, by default that of the tokens."""

    level: float | None = None

    def source(self, tokens):
        source = super().source(tokens)
        level = np.float32(np.mean(tokens) if self.level is None else self.level)
        return replace(source, constants={"targets": source.constants["targets"] * level})


def test_a_loss_sees_what_is_in_the_shard():
    inside, outside = (fit(make(), TOKENS, Training(epochs=2, **PLAIN), held_out=TOKENS[:8]) for make in (Seeing, Pull))
    np.testing.assert_allclose(inside.vectors, outside.vectors, rtol=1e-6)
    np.testing.assert_allclose(inside.losses, outside.losses, rtol=1e-6)
    np.testing.assert_allclose(inside.held_out, outside.held_out, rtol=1e-6)


def test_the_held_out_loss_has_the_constants_of_training():
    methods = (Levelled(), Levelled(level=float(np.mean(TOKENS))))
    own, same = (fit(one, TOKENS, Training(epochs=1, **PLAIN), held_out=np.zeros(8, int)) for one in methods)
    np.testing.assert_allclose(own.held_out, same.held_out, rtol=1e-6)
