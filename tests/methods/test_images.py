"""The image methods: losses against written-out references, what is kept, and the engine's contract on toy images."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.images import Images
from jaxembed.encoders.functional import encoder
from jaxembed.methods import images
from jaxembed.methods.dense import embed
from jaxembed.objectives import InfoNCE
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.training.dense import Dense
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training

N, SIZE = 48, 8
TINY = encoder("vit", hidden_size=16, depth=1, heads=2, patch=4)
HOW = {"encoder": TINY, "batch_size": 16, "watch": 8, "augmentation": Augmentation(jitter=0.0, grayscale=0.0)}
TRAINED = {
    "simclr": images.SimCLR(**HOW, projection=(16, 8)),
    "supcon": images.SupCon(**HOW, projection=(16, 8)),
    "moco": images.MoCo(**HOW, projection=(16, 8), queue=32),
    "vicreg": images.VICReg(**HOW, projection=(16, 16)),
    "barlow_twins": images.BarlowTwins(**HOW, projection=(16, 16)),
    "simsiam": images.SimSiam(**HOW, projection=(16, 16), prediction=(8,)),
    "byol": images.BYOL(**HOW, projection=(16, 16), prediction=(8,)),
}


def toy(labels: bool = True) -> Images:
    """Stripes, upright or lying, by class, with noise."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, N).astype(np.int32)
    stripes = np.where(np.arange(SIZE) % 4 < 2, 200, 30)
    pictures = np.where(kinds[:, None, None] == 0, stripes[None, None, :], stripes[None, :, None])
    pictures = np.clip(pictures + rng.normal(0, 20, (N, SIZE, SIZE)), 0, 255).astype(np.uint8)[..., None]
    return Images(pictures, kinds if labels else None, ("upright", "lying") if labels else (), "0" * 32)


def begun(method):
    """A method that suits the toy, its first parameters and a batch."""
    method = method.suited_to(toy())
    source = method.source(toy())
    params = jax.jit(method.init)(jax.random.key(1), source.constants)
    shard = Shard(source.constants, {name: jnp.asarray(x) for name, x in source.piece(0).items()})
    shard = shard.prepared(jax.jit(method.prepare)(shard, jax.random.key(2)))
    return method, params, shard


def lost(method, params, batch, key):
    """The loss as the engine computes it: one program instead of one for each operation."""
    return jax.jit(method.loss)({}, params.net, params.kept, batch, key)


# One of a kind: the contract of recipes trains them all.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "vicreg", "byol"])
def test_methods_learn_and_their_vectors_are_finite(name):
    training = Training(epochs=6, learning_rate=3e-3, dense=Dense(optimizer="adamw", weight_decay=0.01, warmup=0.1))
    result = fit(TRAINED[name], toy(), training, seeds=(1,))
    assert np.isfinite(result.losses).all()
    assert result.vectors.shape == (1, 8, 16)
    before = embed(result.method, begun(TRAINED[name])[1], result.method.examples(toy()))
    after = embed(result.method, result.params[0], result.method.examples(toy()))
    assert np.abs(after - before).max() > 1e-3
    assert result.losses[-1, 0] < result.losses[0, 0]


@pytest.mark.slow
def test_a_pass_meets_every_example_once():
    method, _, shard = begun(TRAINED["simclr"])
    assert method.steps(shard) == 3
    marked = shard._replace(columns={"marks": jnp.arange(N)})
    batches = [method.batch(marked, jnp.int32(i), jax.random.key(0)) for i in range(3)]
    assert sorted(np.concatenate([batch["marks"] for batch in batches]).tolist()) == list(range(N))


def test_simclr_is_nt_xent_of_the_projections():
    method, params, shard = begun(TRAINED["simclr"])
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    key = jax.random.key(5)
    loss, metrics, _ = lost(method, params, batch, key)
    augment, drop = jax.random.split(key)
    z, _ = jax.jit(method.projected)(params.net, params.kept, jax.jit(method.views)(batch, augment), drop)
    z = np.asarray(z, np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    scores = np.exp(z @ z.T / 0.2)
    np.fill_diagonal(scores, 0)
    expected = -np.log(scores[np.arange(32), (np.arange(32) + 16) % 32] / scores.sum(1)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"] / metrics["weight"], expected, rtol=1e-5)


@pytest.mark.slow
def test_moco_contrasts_with_its_queue_and_renews_it():
    method, params, shard = begun(replace(TRAINED["moco"], objective=InfoNCE(temperature=0.5)))
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    key = jax.random.key(5)
    loss, _, kept = lost(method, params, batch, key)
    augment, drop = jax.random.split(key)
    first, second = jnp.split(jax.jit(method.views)(batch, augment), 2)
    unit = lambda x: np.asarray(x, np.float64) / np.linalg.norm(np.asarray(x, np.float64), axis=1, keepdims=True)
    query = unit(jax.jit(method.projected)(params.net, params.kept, first, drop)[0])
    keys = unit(jax.jit(method.target)(params.kept, second, jax.random.fold_in(drop, 1)))
    queue = np.asarray(params.kept["queue"], np.float64)
    pos, neg = np.exp((query * keys).sum(1) / 0.5), np.exp(query @ queue.T / 0.5)
    np.testing.assert_allclose(loss, -np.log(pos / (pos + neg.sum(1))).mean(), rtol=1e-5)
    renewed = np.asarray(kept["queue"])
    np.testing.assert_allclose(renewed[:16], keys, atol=1e-5)
    np.testing.assert_array_equal(renewed[16:], np.asarray(params.kept["queue"])[:16])


def test_a_change_of_objective_leaves_the_temperature():
    assert images.SimCLR(objective="infonce") == images.SimCLR()
    assert images.SimCLR(objective="dcl").objective.temperature == 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["byol", "moco"])
def test_the_averaged_net_has_dropout_of_its_own(name):
    dropping = replace(TRAINED[name], encoder=TINY.with_(dropout=0.3))
    method, params, shard = begun(dropping)
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    losses = [float(lost(method, params, batch, jax.random.key(seed))[0]) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_byol_follows_by_its_momentum():
    method, params, _ = begun(replace(TRAINED["byol"], momentum=0.75))
    moved = jax.tree.map(lambda leaf: leaf + 1.0, params.net)
    kept = method.keep(params.kept, moved)
    for name in ("encoder", "head"):
        for old, new in zip(jax.tree.leaves(params.net[name]), jax.tree.leaves(kept["target"][name]), strict=True):
            np.testing.assert_allclose(new, old + 0.25, atol=1e-6)
    assert "predictor" not in kept["target"]


@pytest.mark.slow
def test_simsiam_takes_no_gradient_through_what_is_predicted():
    method, params, shard = begun(TRAINED["simsiam"])
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    slope = jax.jit(jax.grad(lambda net: method.loss({}, net, params.kept, batch, jax.random.key(5))[0]))
    gradient = slope(params.net)
    # A predictor that is held at zero cuts the only way by which a gradient could come to the encoder.
    cut = {**params.net, "predictor": jax.tree.map(jnp.zeros_like, params.net["predictor"])}
    none = slope(cut)
    largest = lambda tree: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
    assert largest(gradient["encoder"]) > 0
    assert largest(none["encoder"]) == 0


@pytest.mark.slow
def test_the_untrained_stay_as_they_are_and_pixels_are_pixels():
    data, training = toy(), Training(epochs=1, dense=Dense(optimizer="adamw", weight_decay=0.1, warmup=0.5))
    result = fit(images.Untrained(**HOW), data, training, seeds=(3,))
    pixels = fit(images.Pixels(batch_size=16, watch=8), data, training, seeds=(3,))
    np.testing.assert_allclose(pixels.vectors[0], data.images[:8].reshape(8, -1) / 255, rtol=1e-6)
    fresh = result.method.init(jax.random.split(jax.random.key(3))[0], result.method.source(data).constants)
    for old, new in zip(jax.tree.leaves(fresh.net), jax.tree.leaves(result.params[0].net), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)


@pytest.mark.slow
def test_pieces_cover_all_examples_and_train():
    method = replace(TRAINED["simclr"], device_bytes=20 * (SIZE * SIZE + 4)).suited_to(toy())
    source = method.source(toy())
    found = np.concatenate([source.piece(i)["images"] for i in range(source.pieces)])
    assert source.pieces == 3
    np.testing.assert_array_equal(found[:N], toy().images)
    result = fit(method, toy(), Training(epochs=2, learning_rate=1e-3), seeds=(1,))
    assert np.isfinite(result.losses).all()


def test_encoding_in_parts_is_encoding_at_once():
    method, params, _ = begun(TRAINED["simclr"])
    examples = method.examples(toy())
    whole = embed(method, params, examples, batch=N)
    np.testing.assert_allclose(embed(method, params, examples, batch=20), whole, atol=1e-6)


@pytest.mark.slow
def test_gradient_caching_gives_the_same_gradients():
    method, params, shard = begun(TRAINED["simclr"])
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    gradient = lambda method: jax.jit(
        jax.grad(lambda net: method.loss({}, net, params.kept, batch, jax.random.key(5))[0])
    )(params.net)
    whole, parts = gradient(method), gradient(replace(method, encode_chunk=5))  # 32 views, the last part is smaller
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    bn = replace(method, encoder=encoder("resnet", stem="patch", patch=4, width=4, channels=1), encode_chunk=5)
    begun_params = jax.eval_shape(lambda: bn.init(jax.random.key(0), {}))
    with pytest.raises(ValueError, match="encode_chunk cuts the batch, but encoder needs statistics"):
        jax.eval_shape(lambda to: bn.loss({}, to.net, to.kept, batch, jax.random.key(5)), begun_params)


def test_bad_input(monkeypatch):
    with pytest.raises(ValueError, match="is compared with the others of its batch"):
        images.SimCLR(batch_size=1)
    with pytest.raises(ValueError, match="SupCon needs labels"):
        images.SupCon(**HOW).suited_to(toy(labels=False))
    with pytest.raises(ValueError, match="there is 1 example to train on"):
        images.SimCLR(**HOW).suited_to(toy().head(1))
    for settings, message in (
        ({"labels": "positive"}, "leave labels and chunk out"), ({"chunk": 4}, "leave labels and chunk out"),
        ({"objective": "softmax"}, "does not hold: choose infonce"), ({"objective": "hierarchical_softmax"}, "Huffman path"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            images.MoCo(**settings)
    monkeypatch.setattr("jaxembed.training.program.ENOUGH", 1)
    with pytest.raises(ValueError, match="leave replicas at 1"):
        fit(TRAINED["moco"], toy(), Training(epochs=1, replicas=2))
    with pytest.raises(ValueError, match="labels must be"):
        images.SimCLR(labels="class")
    with pytest.raises(ValueError, match="nothing to encode"):
        embed(*begun(TRAINED["simclr"])[:2], {"images": np.zeros((0, SIZE, SIZE, 1), np.uint8)})
