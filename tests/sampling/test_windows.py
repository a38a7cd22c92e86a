import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxembed.sampling import windows


@pytest.mark.parametrize("sample", [1e-3, 1e-2, 0.5])
def test_keep_probability_is_gensims(sample):
    from gensim.models import Word2Vec

    counts = [900, 300, 80, 20, 5, 1]
    words = [str(i) for i in range(len(counts))]
    model = Word2Vec(vector_size=4, min_count=1, sample=sample)
    model.build_vocab_from_freq(dict(zip(words, counts, strict=True)))
    expected = [model.wv.get_vecattr(word, "sample_int") / 2**32 for word in words]
    np.testing.assert_allclose(windows.keep_probability(np.array(counts), sample), expected, rtol=1e-5)


def test_a_sample_of_zero_keeps_all():
    assert (windows.keep_probability(np.array([10**6, 1]), 0) == 1).all()


def test_compact_equals_numpy():
    rng = np.random.default_rng(0)
    tokens, documents, kept = rng.integers(0, 99, 50), np.arange(50) // 7, rng.random(50) < 0.6
    count = kept.sum()
    for capacity in (count, count - 3):
        out_tokens, out_documents, out_count = jax.jit(windows.compact, static_argnums=3)(
            jnp.int32(tokens), jnp.int32(documents), jnp.asarray(kept), int(capacity)
        )
        size = min(count, capacity)
        assert out_count == size
        np.testing.assert_array_equal(out_tokens[:size], tokens[kept][:size])
        np.testing.assert_array_equal(out_documents[:size], documents[kept][:size])
        assert not out_tokens[size:].any()
        assert (out_documents[size:] == -1).all()


def test_subsample_keeps_the_order_and_each_word_as_often_as_it_should():
    n = 20_000
    subsample = jax.jit(partial(windows.subsample, capacity=n))
    keep = jnp.asarray([0.0, 0.02, 0.3, 0.9, 1.0], jnp.float32)
    tokens = np.random.default_rng(0).integers(0, 5, n)
    places = jnp.arange(n).at[-100:].set(-1)  # stand for documents: the order can be read off; the end is padding
    out, where, count = subsample(jnp.int32(tokens), places, keep, jax.random.key(0))
    out, where = np.asarray(out)[:count], np.asarray(where)[:count]
    assert (np.diff(where) > 0).all()
    assert where[0] >= 0
    np.testing.assert_array_equal(out, tokens[where])
    for word, chance in enumerate(np.asarray(keep, np.float64)):
        occurrences = (tokens[:-100] == word).sum()
        sigma = np.sqrt(occurrences * chance * (1 - chance))
        assert abs((out == word).sum() - occurrences * chance) <= 5 * sigma
    again = subsample(jnp.int32(tokens), places, keep, jax.random.key(1))
    assert not np.array_equal(np.asarray(again[1])[:1000], where[:1000])


@pytest.mark.parametrize("sample", [0, 1e-3, 1e-1])
def test_capacity_holds_what_is_kept(sample):
    rng = np.random.default_rng(0)
    counts = (1e6 / np.arange(1, 2001)).astype(np.int64)
    keep = windows.keep_probability(counts, sample)
    for length in (10, 1000, 100_000):
        tokens = rng.choice(len(counts), length, p=counts / counts.sum())
        capacity = windows.kept_capacity(tokens, keep, chunk=777)
        assert capacity <= length
        kept = [(rng.random(length) < keep[tokens]).sum() for _ in range(20)]
        assert max(kept) <= capacity
    assert capacity < 1.05 * max(kept)  # and hardly more, when it is long


@pytest.mark.parametrize(("block", "window"), [(1, 1), (4, 2), (16, 5), (3, 10)])
def test_window_weights_are_the_mean_over_every_window_that_may_be_drawn(block, window):
    pairs = np.zeros((block, block + 2 * window))
    for drawn in range(1, window + 1):
        for i in range(block):
            near = [j for j in range(i + window - drawn, i + window + drawn + 1) if j != i + window]
            pairs[i, near] += 1 / window
    np.testing.assert_allclose(windows.window_weights(block, window, window), pairs, rtol=1e-6)
    inside = pairs > 0  # without shrinking all in the window count the same
    np.testing.assert_allclose(windows.window_weights(block, window, window, False), inside)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any), st.integers(1, 15))
def test_pieces_hold_every_token_once_with_its_document(lengths, size):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    documents = np.repeat(np.arange(len(lengths)), lengths)
    tokens = np.arange(100, 100 + len(documents), dtype=np.int32)
    for start in range(0, len(tokens), size):
        piece = windows.piece(tokens, offsets, start, size, start)
        assert all(x.shape == (size,) and x.dtype == np.int32 for x in piece.values())
        expected = documents[start : start + size]
        count = len(expected)
        np.testing.assert_array_equal(piece["tokens"][:count], tokens[start : start + size])
        same = piece["documents"][:count, None] == piece["documents"][None, :count]
        np.testing.assert_array_equal(same, expected[:, None] == expected[None, :])
        assert (piece["documents"][:count] >= 0).all()
        assert (piece["documents"][count:] == -1).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=8).filter(any))
def test_expected_pairs_are_those_of_each_document(documents):
    keep = np.array([0.1, 0.5, 1.0, 0.0], np.float32)
    pairs = (pair for document in documents for pair in itertools.combinations(document, 2))
    expected = sum(float(keep[a]) * float(keep[b]) for a, b in pairs)
    tokens = np.array([token for document in documents for token in document], np.int32)
    offsets = np.cumsum([0, *map(len, documents)])
    found = windows.expected_pairs(tokens, offsets, keep, np.inf)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert windows.expected_pairs(tokens, offsets, keep, np.inf, chunk=3) <= found + 1e-9


@pytest.mark.parametrize(("block", "window", "halo"), [(16, 5, 0), (8, 5, 2), (4, 3, 0)])
def test_with_a_short_halo_every_pair_weighs_on_average_what_it_should(block, window, halo):
    weights, length = windows.window_weights(block, window, halo), 3 * block
    total = np.zeros((length, length))
    for offset in range(block):
        for start in range(-offset, length, block):
            for i in range(block):
                for j in range(block + 2 * halo):
                    centre, neighbour = start + i, start + j - halo
                    if 0 <= centre < length and 0 <= neighbour < length:
                        total[centre, neighbour] += weights[i, j] / block
    distance = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    expected = np.where(distance > 0, np.clip((window + 1 - distance) / window, 0, 1), 0)
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_blocks_and_their_halo_at_the_borders_of_a_stream():
    n, block, window = 10, 4, 3
    tokens, documents = np.arange(100, 100 + n), np.arange(n) // 6
    starts = [0, 4, 8, 2, n + window, -block - window]
    out_tokens, out_documents = windows.take_blocks(
        jnp.int32(tokens), jnp.int32(documents), jnp.int32(starts), block, window
    )
    for row, start in enumerate(starts):
        for column, place in enumerate(range(start - window, start + block + window)):
            inside = 0 <= place < n
            assert out_documents[row, column] == (documents[place] if inside else -1)
            if inside:
                assert out_tokens[row, column] == tokens[place]
    assert (out_documents[-2:] == -1).all()


@pytest.mark.parametrize(("capacity", "block"), [(1, 64), (64, 64), (65, 64), (100_000, 16)])
def test_blocks_cover_the_stream(capacity, block):
    assert windows.block_count(capacity, block) * block >= capacity
