"""Files of Facebook's fastText, which gensim reads and writes as well."""

import gzip

import numpy as np
import pytest
from gensim.models import FastText as Theirs
from gensim.models.fasttext import load_facebook_model, load_facebook_vectors, save_facebook_model

from jaxembed import FastText, load_vectors
from jaxembed.vectors import SubwordVectors

SMALL = {"vector_size": 6, "min_count": 1, "epochs": 1, "bucket": 70_000, "min_n": 2, "max_n": 4, "window": 3}


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    words = ["walk", "walks", "walking", "talk", "naïve", "日本語", "a"]
    return [[words[i] for i in rng.integers(0, len(words), 9)] for _ in range(40)]


@pytest.fixture(scope="module")
def model(texts):
    return FastText(texts, **SMALL, sample=0)


def same(ours, theirs):
    assert list(ours.index_to_key) == list(theirs.index_to_key)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-6)
    for word in ("walker", "naïveté", "日本"):
        np.testing.assert_allclose(ours[word], theirs[word], atol=1e-6)
    assert [ours.get_vecattr(word, "count") for word in ours.index_to_key] == [
        theirs.get_vecattr(word, "count") for word in theirs.index_to_key
    ]


def test_gensim_opens_what_is_written(model, tmp_path):
    model.wv.save_facebook_format(tmp_path / "v.bin")
    same(model.wv, load_facebook_vectors(str(tmp_path / "v.bin")))
    model.save_facebook_model(tmp_path / "m.bin")
    theirs = load_facebook_model(str(tmp_path / "m.bin"))
    same(model.wv, theirs.wv)
    np.testing.assert_array_equal(theirs.syn1neg, model.syn1neg)
    settings = (theirs.window, theirs.epochs, theirs.min_count, theirs.negative, theirs.sg, theirs.hs, theirs.sample)
    assert settings == (3, 1, 1, 5, 1, 0, 0)


def test_what_gensim_writes_is_opened(texts, tmp_path):
    theirs = Theirs(texts, sg=1, workers=1, **SMALL)
    save_facebook_model(theirs, str(tmp_path / "g.bin"))
    (tmp_path / "g.bin.gz").write_bytes(gzip.compress((tmp_path / "g.bin").read_bytes(), 1))
    for name in ("g.bin", "g.bin.gz"):
        found = load_vectors(tmp_path / name)
        assert type(found) is SubwordVectors
        same(found, theirs.wv)
    assert (found.min_n, found.max_n, found.bucket) == (2, 4, 70_000)
    np.testing.assert_array_equal(found.vectors_ngrams, theirs.wv.vectors_ngrams)
    assert load_vectors(tmp_path / "g.bin", limit=2).index_to_key == theirs.wv.index_to_key[:2]
    found.save(tmp_path / "ours")
    same(load_vectors(tmp_path / "ours"), theirs.wv)


def test_broken_files(model, tmp_path):
    model.wv.save_facebook_format(tmp_path / "v.bin")
    whole = (tmp_path / "v.bin").read_bytes()
    for size in (6, 30, 120, 5000):
        (tmp_path / "cut.bin").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut short"):
            load_vectors(tmp_path / "cut.bin")
    (tmp_path / "old.bin").write_bytes(whole[:4] + b"\x0b" + whole[5:])
    with pytest.raises(ValueError, match="version 12"):
        load_vectors(tmp_path / "old.bin")
    labels = whole[:72] + b"\x01" + whole[73:]
    (tmp_path / "labels.bin").write_bytes(labels)
    with pytest.raises(ValueError, match="classifies"):
        load_vectors(tmp_path / "labels.bin")
    more = SubwordVectors.load_facebook_format(tmp_path / "v.bin")
    more.add_vector("new", np.zeros(6))
    with pytest.raises(ValueError, match="8 words, of which 7 were trained"):
        more.save_facebook_format(tmp_path / "w.bin")
    untrained = FastText(**SMALL)
    with pytest.raises(RuntimeError, match="build_vocab"):
        untrained.save_facebook_model(tmp_path / "w.bin")
    untrained.build_vocab([["walk", "talk"]])
    with pytest.raises(ValueError, match="2 words, of which 0 were trained"):
        untrained.save_facebook_model(tmp_path / "w.bin")
