"""`FastText` with gensim's names: unseen words, going on, files."""

import gensim
import numpy as np
import pytest
from gensim.models.fasttext import ft_ngram_hashes

from jaxembed import FastText, KeyedVectors, load_vectors

TINY = {"vector_size": 8, "min_count": 2, "epochs": 1, "sample": 0, "bucket": 50_000, "min_n": 2, "max_n": 3}


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    stems, endings = ["walk", "talk", "sing", "naïv", "日本"], ["", "s", "ed", "ing", "er"]
    words = [stem + ending for stem in stems for ending in endings if stem + ending != "walker"]
    return [[words[i] for i in rng.zipf(1.3, 12) % len(words)] for _ in range(60)]


@pytest.fixture(scope="module")
def model(texts):
    return FastText(texts, **TINY)


def test_words_have_vectors_by_their_parts(model):
    own, grams = model.wv.vectors_vocab.astype(np.float64), model.wv.vectors_ngrams.astype(np.float64)
    for row, word in enumerate(model.wv.index_to_key):
        parts = grams[ft_ngram_hashes(word, 2, 3, 50_000)]
        np.testing.assert_allclose(model.wv[word], (own[row] + parts.sum(0)) / (1 + len(parts)), rtol=1e-4, atol=1e-6)
    assert "walker" in model.wv
    assert "walker" not in model.wv.key_to_index
    np.testing.assert_allclose(model.wv["walker"], grams[ft_ngram_hashes("walker", 2, 3, 50_000)].mean(0), atol=1e-6)
    assert len(model.wv.most_similar("walker", topn=3)) == 3
    with pytest.raises(KeyError, match="none of its n-grams"):
        model.wv["zzz"]


def test_a_saved_model_goes_on_as_if_it_had_never_been_saved(model, texts, tmp_path):
    model.save(tmp_path / "model")
    loaded, again = (FastText.load(tmp_path / "model") for _ in range(2))
    assert (loaded.min_n, loaded.max_n, loaded.bucket, loaded.sg) == (2, 3, 50_000, 1)
    np.testing.assert_array_equal(loaded.wv["walker"], model.wv["walker"])
    np.testing.assert_array_equal(load_vectors(tmp_path / "model")["walker"], model.wv["walker"])
    again.build_vocab(texts)  # the same words, but nothing learned
    with pytest.raises(KeyError):
        again.wv["walker"]
    before = model.wv.vectors.copy(), model.wv["walker"].copy()
    for one in (model, loaded):
        one.train(texts[::-1])
    np.testing.assert_array_equal(loaded.wv.vectors, model.wv.vectors)
    np.testing.assert_array_equal(loaded.wv.vectors_ngrams, model.wv.vectors_ngrams)
    assert np.abs(model.wv.vectors - before[0]).max() > 1e-4
    assert np.abs(model.wv["walker"] - before[1]).max() > 1e-5
    loaded.min_n = 1
    with pytest.raises(ValueError, match=r"put min_n, max_n and bucket back to 2, 3 and 50000"):
        loaded.train(texts)


def test_new_words_begin_with_what_is_known_of_their_n_grams(model, texts, tmp_path):
    model.save(tmp_path / "model")
    more = FastText.load(tmp_path / "model")
    more.build_vocab([["walker", "talker", "walk"]] * 3, update=True)
    words = more.wv.index_to_key
    assert "walker" in words
    table = more._start()[0].tables["in"]
    learned = more.method.subwords(words, more._start()[0])
    known = model.wv.subwords
    np.testing.assert_array_equal(table[: known.words, :8], known.table[: known.words])
    grams = np.zeros((50_000, 8), np.float32)
    grams[learned.grams] = learned.table[learned.rows]
    np.testing.assert_array_equal(grams[known.grams], known.table[known.rows])
    more.train()
    assert np.isfinite(more.wv.vectors).all()
    assert more.wv["walker"].any()


def test_gensim_reads_its_words(model, tmp_path):
    model.wv.save_word2vec_format(tmp_path / "v.bin", binary=True)
    theirs = gensim.models.KeyedVectors.load_word2vec_format(tmp_path / "v.bin", binary=True)
    assert theirs.index_to_key == model.wv.index_to_key
    np.testing.assert_array_equal(theirs.vectors, model.wv.vectors)
    assert type(KeyedVectors.load_word2vec_format(tmp_path / "v.bin", binary=True)) is KeyedVectors


def test_without_n_grams_no_word_is_made_up(texts):
    for none in ({"max_n": 0}, {"bucket": 0}):
        plain = FastText(texts, **TINY | none)
        assert plain.wv[plain.wv.index_to_key[0]].any()
        assert "walker" not in plain.wv
        np.testing.assert_array_equal(plain.wv.vectors, plain.wv.vectors_vocab)


def test_callbacks_see_unseen_words(texts):
    seen = []

    class Watch:
        def on_epoch_end(self, model):
            seen.append(model.wv["walker"])

    found = FastText(texts, **TINY | {"epochs": 2}, callbacks=[Watch()])
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[1], found.wv["walker"])
    assert np.abs(seen[0] - seen[1]).max() > 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"min_n": 4}, "min_n must not be above max_n"), ({"sg": 0}, "sg=0, which is CBOW"), ({"bucket": -1}, "bucket"),
     ({"word_ngrams": 2}, "word_ngrams must be 1"), ({"max_n": -1}, "max_n"), ({"vector_size": 0}, "vector_size")],
)  # fmt: skip
def test_bad_settings(texts, settings, why):
    with pytest.raises(ValueError, match=why):
        FastText(texts, **TINY | settings)


def test_unknown_arguments():
    with pytest.raises(TypeError, match="did you mean 'bucket'"):
        FastText(buckets=3)
    with pytest.raises(TypeError, match="vector_size"):
        FastText(size=3)
