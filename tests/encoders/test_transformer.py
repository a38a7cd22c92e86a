import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.encoders import Transformer
from jaxembed.encoders.positions import sinusoidal
from jaxembed.encoders.transformer import places

IDS = np.array([[3, 9, 4, 0, 0, 0], [5, 6, 7, 8, 9, 2], [1, 0, 3, 0, 0, 0]])
MASK = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], bool)
SEGMENTS = np.array([[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
CASES = {
    "bert": {"depth": 2},
    "gpt": {"norm": "pre", "causal": True, "pooling": "last", "segments": 0, "activation": "gelu_tanh"},
    "lifted": {"positions": "sinusoidal", "pooling": "cls", "activation": "relu", "token_dim": 3, "norm": "pre"},
    "rotary": {"positions": "rotary", "norm": "pre", "causal": True, "pooling": "last", "segments": 0},
    "bag": {"positions": "none", "segments": 0, "mlp_size": 5},
    "weighted": {"positions": "none", "segments": 0, "pooling": "weighted"},
}


@pytest.fixture
def made(filled):
    def make(**settings):
        settings = {"hidden_size": 8, "depth": 1, "heads": 2, "max_length": 7, "dropout": 0.0} | settings
        return filled(lambda: Transformer(10, **settings, rngs=nnx.Rngs(0)))

    return make


def turned(x):
    """Rows `[L, d]` as complex numbers, turned by their place (Su et al. 2021, eq. 13)."""
    half = x.shape[1] // 2
    angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(half) / half)
    z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag], axis=1)


def formula(reference, p, **settings):
    """The forward pass of `IDS` in float64."""
    mask = MASK
    has = {"norm": "post", "causal": False, "pooling": "mean", "segments": 2, "activation": "gelu"} | settings
    x = p["token_embedding"][IDS]
    x = reference.linear(p["lift"], x) if "lift" in p else x
    x = x + (p["segment_embedding"][SEGMENTS] if has["segments"] else 0)
    if "position_embedding" in p:
        x = x + p["position_embedding"][: IDS.shape[1]]
    elif has.get("positions") == "sinusoidal":
        x = x + sinusoidal(IDS.shape[1], x.shape[-1])
    x = reference.layer_norm(p["embedding_norm"], x, 1e-12)
    turn = {"turn": turned} if has.get("positions") == "rotary" else {}
    for layer in p["blocks"].values():
        x = reference.block(layer, x, 2, has["norm"], has["activation"], 1e-12, mask=mask, causal=has["causal"], **turn)
    if has["norm"] == "pre":
        x = reference.layer_norm(p["final_norm"], x, 1e-12)
    if has["pooling"] == "cls":
        return x[:, 0]
    if has["pooling"] == "last":
        return np.stack([text[np.nonzero(m)[0][-1]] for text, m in zip(x, mask, strict=True)])
    weight = np.exp(p["token_weight"])[IDS] if has["pooling"] == "weighted" else np.ones(IDS.shape)
    return np.stack([np.average(text[m], 0, w[m]) for text, m, w in zip(x, mask, weight, strict=True)])


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_the_reference_in_float64(reference, made, case):
    settings = CASES[case]
    module = made(**settings)
    segments = SEGMENTS if settings.get("segments", 2) else None
    graph, state = nnx.split(module)
    weight = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)

    @jax.jit
    def run(state):
        def total(state):
            out = nnx.merge(graph, state)(IDS, MASK, segments)
            return jnp.sum(out * weight), out

        return jax.value_and_grad(total, has_aux=True)(state)

    (_, out), gradient = run(state)
    p = reference.parameters(module)
    np.testing.assert_allclose(out, formula(reference, p, **settings), atol=2e-5)
    gradient = jax.tree.map(lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(gradient))
    leaves, tree = jax.tree.flatten(p)
    rng = np.random.default_rng(2)
    for _ in range(4):
        step = [rng.normal(size=x.shape) for x in leaves]
        moved = lambda h, step=step: tree.unflatten([x + h * s for x, s in zip(leaves, step, strict=True)])
        sides = [np.sum(weight * formula(reference, moved(h), **settings)) for h in (1e-5, -1e-5)]
        along = sum(np.sum(g * s) for g, s in zip(jax.tree.leaves(gradient), step, strict=True))
        assert along == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_remat_gives_the_same_gradients(made):
    both = [nnx.split(made(causal=True, remat=remat)) for remat in (False, True)]
    gradients = [
        jax.jit(jax.grad(lambda state, graph=graph: jnp.sum(nnx.merge(graph, state)(IDS, MASK)[:, :3] ** 3)))(state)
        for graph, state in both
    ]
    for ours, theirs in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_padding_does_not_change_a_vector(made):
    encode = jax.jit(made().__call__)
    short = encode(IDS[:1, :3], MASK[:1, :3])
    np.testing.assert_allclose(encode(IDS[:1], MASK[:1]), short, atol=1e-6)
    other = np.where(MASK[:1], IDS[:1], 8)  # whatever stands there
    np.testing.assert_allclose(encode(other, MASK[:1]), short, atol=1e-6)
    np.testing.assert_allclose(encode(IDS[:1]), short, atol=1e-6)  # 0 is padding


def test_a_text_without_tokens_gives_zeros(made):
    for pooling in ("mean", "weighted", "last"):
        out = jax.jit(made(pooling=pooling).__call__)(jnp.zeros((3, 6), int).at[1, 0].set(3))
        assert not np.asarray(out[0]).any()
        assert np.isfinite(out).all()
        assert np.asarray(out[1]).any()


def test_causal_later_tokens_do_not_change_earlier_vectors(made):
    sequence = jax.jit(made(causal=True, norm="pre", depth=2).sequence)
    before = sequence(IDS[1:2])
    after = sequence(np.concatenate([IDS[1:2, :4], [[1, 1]]], axis=1))
    np.testing.assert_allclose(after[:, :4], before[:, :4], atol=1e-6)
    assert np.abs(np.asarray(after - before)[:, 4:]).max() > 0.01


def count(make):
    return sum(x.size for x in jax.tree.leaves(nnx.eval_shape(make)))


def test_bert_base_has_its_published_number_of_parameters():
    bert = lambda: Transformer(30522, 768, 12, 12, max_length=512, rngs=nnx.Rngs(0))
    assert count(lambda: nnx.state(bert())) == 108_891_648


def test_variables_are_float32_parameters_and_bfloat16_runs_close(made):
    state = nnx.state(made(dropout=0.1))
    variables = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, nnx.Variable))
    assert {(type(v), v.dtype.name) for v in variables} == {(nnx.Param, "float32")}
    exact, rounded = made(), made(dtype=jnp.bfloat16)
    out = jax.jit(rounded.__call__)(IDS, MASK)
    assert out.dtype == jnp.bfloat16
    error = np.asarray(out, np.float32) - np.asarray(jax.jit(exact.__call__)(IDS, MASK))
    assert 0 < np.abs(error).max() < 0.1


def test_dropout_comes_from_the_key_of_the_call(made):
    module = made(dropout=0.3)
    graph, state = nnx.split(module)
    encode = jax.jit(lambda key: nnx.merge(graph, state)(IDS, MASK, train=True, rngs=nnx.Rngs(dropout=key)))
    one, again, other = (np.asarray(encode(jax.random.key(seed))) for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes()
    assert np.abs(one - other).max() > 0.01
    off = jax.jit(lambda key: nnx.merge(graph, state)(IDS, MASK, rngs=nnx.Rngs(dropout=key)))
    np.testing.assert_array_equal(off(jax.random.key(1)), off(jax.random.key(2)))
    with pytest.raises(ValueError, match=r"pass rngs=nnx.Rngs\(dropout=key\)"):
        module(IDS, MASK, train=True)


@pytest.mark.slow
def test_many_models_at_once_and_steps_in_a_scan(made):
    graph, _ = nnx.split(made(dropout=0.1))
    keys = jax.random.split(jax.random.key(0), 2)
    fresh = lambda key: nnx.state(Transformer(10, 8, 1, 2, max_length=7, rngs=nnx.Rngs(params=key)))
    stacked = jax.jit(jax.vmap(fresh))(keys)
    states = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(2)]

    def train(state, key):
        def loss(state, key):
            out = nnx.merge(graph, state)(IDS, MASK, train=True, rngs=nnx.Rngs(dropout=key))
            return jnp.mean((out - 1) ** 2)

        def step(state, key):
            value, gradient = jax.value_and_grad(loss)(state, key)
            return jax.tree.map(lambda p, g: p - 0.1 * g, state, gradient), value

        return jax.lax.scan(step, state, jax.random.split(key, 20))[1]

    together = jax.jit(jax.vmap(train))(stacked, keys)
    alone = jax.jit(train)
    for losses, state, key in zip(together, states, keys, strict=True):
        np.testing.assert_allclose(losses, alone(state, key), rtol=1e-3)
        assert losses[-1] < losses[0]


def test_bad_input_says_what_to_do(made):
    module = made(segments=0)
    with pytest.raises(ValueError, match="texts of 9 tokens are longer than max_length 7: truncate them"):
        module(np.ones((2, 9), int))
    with pytest.raises(ValueError, match="build it with segments=2"):
        module(IDS, MASK, SEGMENTS)
    with pytest.raises(ValueError, match=r"\[texts, tokens\], not of shape \(3,\)"):
        module(np.ones(3, int))
    for settings, message in (
        ({"pooling": "max"}, "pooling is one of 'mean', 'weighted', 'cls', 'last', not 'max'"),
        ({"positions": "waves"}, "positions is one of 'learned', 'sinusoidal', 'rotary', 'none', not 'waves'"),
        ({"depth": -1}, "depth 0 .a bag of words. or more"),
        ({"positions": "sinusoidal", "hidden_size": 9, "heads": 3}, "even hidden_size, not 9"),
    ):
        with pytest.raises(ValueError, match=message):
            made(**settings)
    encode = jax.jit(made(depth=0).__call__)
    for outside in (10, -1):
        out = np.asarray(encode(np.array([[outside, 1], [2, 1]])))
        assert np.isnan(out[0]).all()
        assert np.isfinite(out[1]).all()


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("causal", [False, True])
def test_documents_that_share_a_row_are_read_as_if_each_stood_alone(made, positions, causal):
    module = made(positions=positions, causal=causal, depth=2, norm="pre")
    documents = np.array([[0, 0, 0, 1, 1, 2]])
    packed = jax.jit(module.sequence)(IDS[1:2], documents=documents)[0]
    for number in range(3):
        inside = documents[0] == number
        alone = jax.jit(module.sequence)(IDS[1:2, inside])[0]
        np.testing.assert_allclose(packed[inside], alone, atol=2e-6)


def test_places_count_from_the_start_of_each_document():
    found = places(jnp.array([[0, 0, 1, 1, 1, 4], [3, 3, 3, 3, 3, 3]]))
    np.testing.assert_array_equal(found, [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]])


def test_later_tokens_do_not_change_what_a_causal_model_made_of_earlier_ones(made):
    for positions in ("learned", "rotary"):
        read = jax.jit(made(causal=True, positions=positions, depth=2).sequence)
        other = IDS[1:2].copy()
        other[0, 4:] = [1, 3]
        np.testing.assert_array_equal(read(IDS[1:2])[0, :4], read(other)[0, :4])
        assert not np.allclose(read(IDS[1:2])[0, 4], read(other)[0, 4])


def test_rotary_positions_see_differences_of_places_alone(made):
    read = jax.jit(made(positions="rotary", segments=0, dropout=0.0).sequence)
    text = np.array([[4, 7, 2]])
    shifted = np.pad(text, ((0, 0), (3, 0)))  # three places of padding stand before it
    np.testing.assert_allclose(read(shifted)[0, 3:], read(text)[0], atol=2e-6)
    # Without positions the order of what is seen would make no difference; here it does.
    assert not np.allclose(read(text[:, [1, 0, 2]])[0, 2], read(text)[0, 2], atol=1e-3)


def test_rotary_positions_refuse_a_width_that_they_cannot_turn():
    with pytest.raises(ValueError, match="hidden_size / heads to be even, not 3"):
        Transformer(10, 6, heads=2, positions="rotary", rngs=nnx.Rngs(0))
