"""Vectors of words that are not there, by their n-grams; gensim's class, given the same tables, is the reference."""

import numpy as np
import pytest
from gensim.models.fasttext import FastTextKeyedVectors, ft_ngram_hashes

from jaxembed import KeyedVectors, load_vectors
from jaxembed.cli import main
from jaxembed.subwords import Subwords, word_parts
from jaxembed.vectors import SubwordVectors

WORDS = ["walk", "walks", "walking", "talk", "talking", "naïve", "日本語"]
SIZES = {"min_n": 2, "max_n": 4, "bucket": 50_000}
UNSEEN = ["walker", "stalking", "naïveté", "日本", "kin"]
NOTHING = ["", "z", "qqqqq"]  # without n-grams, or without any that was trained


@pytest.fixture(scope="module")
def vectors():
    parts, rng = word_parts(WORDS, **SIZES), np.random.default_rng(0)
    table = np.float32(rng.normal(size=(parts.number, 5)))
    words = np.add.reduceat(table[parts.rows] * parts.weights[:, None], parts.offsets[:-1])
    learned = Subwords(*SIZES.values(), len(WORDS), table, parts.grams, parts.gram_rows)
    return SubwordVectors(WORDS, words, np.arange(9, 2, -1), learned)


@pytest.fixture(scope="module")
def gensims(vectors):
    theirs = FastTextKeyedVectors(5, *SIZES.values())
    theirs.add_vectors(WORDS, np.zeros((len(WORDS), 5), np.float32))
    theirs.recalc_char_ngram_buckets()
    theirs.vectors_vocab, theirs.vectors_ngrams = vectors.vectors_vocab, vectors.vectors_ngrams
    theirs.adjust_vectors()
    return theirs


def test_words_and_unseen_words_are_those_of_gensim(vectors, gensims):
    np.testing.assert_allclose(vectors.vectors, gensims.vectors, atol=1e-6)
    for word in UNSEEN:
        np.testing.assert_allclose(vectors[word], gensims[word], atol=1e-6)
        np.testing.assert_allclose(vectors.get_vector(word, norm=True), gensims.get_vector(word, norm=True), atol=1e-6)
        assert [key for key, _ in vectors.most_similar(word)] == [key for key, _ in gensims.most_similar(word)]
    assert vectors.similarity("walker", "stalking") == pytest.approx(gensims.similarity("walker", "stalking"), abs=1e-6)
    assert vectors.n_similarity(["walker"], ["talk", "kin"]) == pytest.approx(
        float(gensims.n_similarity(["walker"], ["talk", "kin"])), abs=1e-6
    )
    apart = [1 - vectors.similarity("walker", word) for word in ("talk", "kin")]
    np.testing.assert_allclose(vectors.distances("walker", ["talk", "kin"]), apart, atol=1e-6)


def test_an_unseen_word_is_the_mean_of_its_n_grams_in_float64(vectors):
    grams = vectors.vectors_ngrams.astype(np.float64)
    for word in UNSEEN:
        np.testing.assert_allclose(
            vectors[word], grams[ft_ngram_hashes(word, 2, 4, 50_000)].mean(0), rtol=1e-5, atol=1e-7
        )
    np.testing.assert_array_equal(vectors[["walk", "walker"]], [vectors["walk"], vectors["walker"]])


def test_what_is_there(vectors, gensims):
    for word in (*WORDS, *UNSEEN):
        assert word in vectors
        assert word in gensims
        assert (word in vectors.key_to_index) == (word in WORDS)
    for word in NOTHING:
        assert word not in vectors
        with pytest.raises(KeyError, match=f"{word!r} is not among the 7 keys.*none of its n-grams"):
            vectors[word]
        with pytest.raises(KeyError):
            vectors.most_similar(word)
    assert 3 in vectors
    assert 7 not in vectors


def test_tables_of_several_words(vectors):
    found = vectors.vectors_for_all(["walker", "talk", "z", "walker"], copy_vecattrs=True)
    assert found.index_to_key == ["walker", "talk"]
    np.testing.assert_array_equal(found.vectors, vectors[["walker", "talk"]])
    assert found.counts.tolist() == [0, 6]
    assert vectors.vectors_for_all(["walker", "talk"], allow_inference=False).index_to_key == ["talk"]


def test_files_keep_the_n_grams(vectors, tmp_path):
    vectors.save(tmp_path / "v")
    for found in (KeyedVectors.load(tmp_path / "v"), load_vectors(tmp_path / "v")):
        assert (found.index_to_key, found.counts.tolist()) == (WORDS, vectors.counts.tolist())
        np.testing.assert_array_equal(found.vectors, vectors.vectors)
        np.testing.assert_array_equal(found[UNSEEN], vectors[UNSEEN])
        assert (found.min_n, found.max_n, found.bucket) == (2, 4, 50_000)
    vectors.save_word2vec_format(tmp_path / "plain")
    plain = load_vectors(tmp_path / "plain")
    assert type(plain) is KeyedVectors
    assert "walker" not in plain


def test_the_command_finds_neighbours_of_unseen_words(vectors, tmp_path, capsys):
    vectors.save(tmp_path / "v.safetensors")
    path = str(tmp_path / "v.safetensors")
    assert main(["neighbors", path, "talk", "walker", "--topn", "2"]) == 0
    shown = [word for word in capsys.readouterr().out.split() if word in {*WORDS, "walker"}]
    assert shown == [
        found for word in ("talk", "walker") for found in (word, *dict(vectors.most_similar(word, topn=2)))
    ]
    assert main(["neighbors", path, "qqqqq"]) == 1
    assert "none of its n-grams" in capsys.readouterr().err


def test_parts_of_another_width(vectors):
    with pytest.raises(ValueError, match="have 4 columns, and those of their parts 5"):
        SubwordVectors(WORDS, vectors.vectors[:, :4], subwords=vectors.subwords)
