"""Skip-gram and CBOW through the whole engine, on text."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxembed.data import load, read_corpus
from jaxembed.data.text import hold_out
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import pairwise
from jaxembed.sampling.windows import keep_probability
from jaxembed.training.loop import fit
from jaxembed.training.method import Params
from jaxembed.training.settings import Training

from .word_reference import InSlices, corpus_of, prepared, zipf_documents

SMALL = {"vector_size": 8, "window": 2, "block": 16, "tile": 8, "step_tokens": 64, "shared_negatives": 8}


@pytest.fixture(scope="module")
def zipf():
    return corpus_of(zipf_documents(np.random.default_rng(0), 50, 60, 25), 50)


@pytest.mark.slow
def test_a_seed_gives_the_same_alone_and_vectorised(zipf):
    method, training = SkipGram(sample=1e-2, shard_tokens=800, **SMALL), Training(epochs=2, reports=3)
    alone = fit(method, zipf, training, seeds=[1])
    group = fit(method, zipf, training, seeds=[0, 1, 2], seeds_by="vmap")
    np.testing.assert_allclose(group.vectors[1], alone.vectors[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(group.losses[:, 1], alone.losses[:, 0], rtol=1e-5)
    assert np.abs(group.vectors[0] - group.vectors[1]).max() > 0.01


@pytest.mark.slow
def test_a_corpus_on_disk_is_read_a_shard_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    documents = zipf_documents(np.random.default_rng(0), 50, 60, 25)
    (tmp_path / "text.txt").write_text("".join(" ".join(map(str, document)) + "\n" for document in documents))
    corpus = read_corpus(tmp_path / "text.txt", min_count=1)
    assert isinstance(corpus.tokens, np.memmap)
    tokens = InSlices(corpus.tokens)
    method, training = SkipGram(shard_tokens=200, **SMALL), Training(epochs=2)
    result = fit(method, replace(corpus, tokens=tokens), training)
    assert len(tokens) == 1500
    assert 0 < tokens.longest <= 200
    np.testing.assert_array_equal(result.vectors, fit(method, corpus, training).vectors)


def test_a_pass_holds_the_tokens_that_subsampling_keeps_and_a_new_pass_others():
    rng = np.random.default_rng(0)
    corpus = corpus_of(zipf_documents(rng, 50, 8, 2500), 50)
    method = SkipGram(sample=1e-2, shard_tokens=5000, **SMALL)
    keep = keep_probability(corpus.vocabulary.counts, 1e-2).astype(float)
    prepare, kept = jax.jit(method.prepare), []
    for piece in range(method.source(corpus).pieces):
        shard = prepared(method, corpus, piece, piece, prepare)
        kept.append(np.asarray(shard.own["tokens"])[np.asarray(shard.own["documents"]) >= 0])
    observed = np.bincount(np.concatenate(kept), minlength=50)
    counts = corpus.vocabulary.counts
    assert (np.abs(observed - counts * keep) <= 5 * np.sqrt(counts * keep * (1 - keep)) + 1e-3).all()
    again = prepared(method, corpus, 0, 99, prepare).own["tokens"]
    assert not np.array_equal(np.asarray(again)[:500], kept[0][:500])


def test_no_piece_loses_tokens_when_parts_of_a_corpus_differ():
    rare = np.arange(1, 1001).repeat(2)  # none of which is frequent enough to be dropped
    corpus = corpus_of([np.zeros(2000, int), rare])
    method = SkipGram(sample=1e-3, shard_tokens=2000, **SMALL)
    documents = np.asarray(prepared(method, corpus, 1, prepare=jax.jit(method.prepare)).own["documents"])
    assert (documents >= 0).sum() == len(rare)


@pytest.fixture(scope="module")
def text():
    """The first 200,000 words of the shipped corpus, one in twenty held out."""
    documents = [document.split() for document in load("enwik8-small", "train")[:200]["text"]]
    return hold_out(read_corpus(documents, cache=False), 0.05)


GROUPS = {
    "january february march april june july august september october november december": 0.25,
    "two three four five six seven eight nine": 0.15,
}


@pytest.mark.slow
@pytest.mark.parametrize("method", [SkipGram, pytest.param(CBOW, marks=pytest.mark.slow)])
def test_real_text_is_learnt(method, text):
    corpus, held = text
    result = fit(method(vector_size=48), corpus, Training(epochs=4), held_out=held)
    assert (np.diff(result.losses[:, 0]) < 0).all()
    # Before the first step every score is zero: log 2 for the positive and for each of five negatives.
    assert result.held_out[-1, 0] < 0.75 * 6 * np.log(2)
    assert result.held_out[-1, 0] < result.held_out[0, 0]
    vectors = result.vectors[0] / np.linalg.norm(result.vectors[0], axis=1, keepdims=True)
    for group, share in GROUPS.items():
        ids = [corpus.vocabulary[word] for word in group.split()]
        cosines = vectors[ids] @ vectors.T
        cosines[np.arange(len(ids)), ids] = -1
        nearest = np.argsort(-cosines, axis=1)[:, :10]
        assert np.isin(nearest, ids).mean() > share  # by chance it would be one in 400


@pytest.mark.parametrize("method", [SkipGram, CBOW], ids=lambda method: method.__name__)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vector_size": 0}, "vector_size must be at least 1, not 0"),
        ({"window": 0}, "window must be at least 1, not 0"),
        ({"negative": 0}, "negative must be above 0, not 0"),
        ({"block": 60, "tile": 16}, "block must be a multiple of tile"),
        ({"sample": -1}, "sample must be at least 0, not -1"),
        ({"shard_tokens": 0}, "shard_tokens must be at least 1"),
    ],
)
def test_bad_settings(method, settings, message):
    with pytest.raises(ValueError, match=message):
        method(**settings)


def test_an_objective_by_its_name():
    assert SkipGram(objective="infonce") == SkipGram(objective=pairwise("infonce"))
    with pytest.raises(ValueError, match="unknown objective 'nce'"):
        CBOW(objective="nce")


@pytest.mark.parametrize(("tile", "window", "halo"), [(4, 4, 0), (16, 5, 6)])
def test_a_halo_that_leaves_pairs_out_for_good(tile, window, halo):
    with pytest.raises(ValueError, match="halo must be from 0 to window"):
        SkipGram(tile=tile, window=window, halo=halo)


def test_hierarchical_softmax_of_one_word():
    with pytest.raises(ValueError, match="at least two words"):
        SkipGram(objective=pairwise("hierarchical_softmax")).source(corpus_of([[0, 0, 0]]))


@pytest.mark.parametrize("method", [SkipGram, CBOW])
@pytest.mark.parametrize(
    ("documents", "settings", "message"),
    [
        ([[0], [1]] * 10, {}, r"no document \(line, sentence\) holds two words .* lower min_count"),
        ([[0], [], [1]] * 10, {"sample": 0}, "no document"),
        ([[0, 1]] * 12, {}, r"sample=0\.001 leaves 0\.0\d+ pairs .* over 24 tokens\. Pass sample=0"),
    ],
)
def test_training_on_nothing_is_refused(method, documents, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(method(**SMALL | settings), corpus_of(documents), Training(epochs=1))


def test_pairs_that_are_all_lost_by_chance_are_told():
    zeros, ones = (Params({"in": np.ones((3, 2)), "out": np.full((3, 2), value)}) for value in (0.0, 1.0))
    for params, start in ((zeros, None), (ones, ones)):
        with pytest.raises(ValueError, match=r"nothing was trained: .*sample=0\.001 left nothing to learn from"):
            SkipGram().check_learned(params, start)
    SkipGram().check_learned(ones)
    SkipGram().check_learned(ones, zeros)
