"""Names of gensim 4 that do what gensim's do, and names of gensim 3 that tell what took their place."""

import gensim
import numpy as np
import pytest

from jaxembed import GloVe, Word2Vec, models
from jaxembed.models import word2vec

TINY = {"vector_size": 8, "min_count": 2, "epochs": 1, "sample": 0}


@pytest.fixture(scope="module")
def trained(sentences):
    return Word2Vec(sentences, **TINY)


def vocabulary(model) -> dict[str, int]:
    return {word: int(model.wv.get_vecattr(word, "count")) for word in model.wv.index_to_key}


def test_modules_have_gensims_names():
    for name in ("Word2Vec", "KeyedVectors"):
        assert vars(models)[name].__name__ == vars(gensim.models)[name].__name__
    for name in ("Word2Vec", "LineSentence", "PathLineSentences"):
        assert vars(word2vec)[name].__name__ == vars(gensim.models.word2vec)[name].__name__


@pytest.mark.slow
def test_the_likeliest_words_are_those_of_gensim(sentences, trained):
    for cbow_mean in (1, 0):
        theirs = gensim.models.Word2Vec(vector_size=8, min_count=2, cbow_mean=cbow_mean)
        theirs.build_vocab_from_freq(vocabulary(trained))
        order = [trained.wv.get_index(word) for word in theirs.wv.index_to_key]
        theirs.wv.vectors, theirs.syn1neg = trained.wv.vectors[order], trained.syn1neg[order]
        trained.cbow_mean = cbow_mean
        for context in (["w1"], ["w1", "unknown", "w3"], ["w2", "w2"]):
            expected = theirs.predict_output_word(context, topn=30)
            found = trained.predict_output_word(context, topn=30)
            np.testing.assert_allclose([chance for _, chance in found], [chance for _, chance in expected], rtol=1e-5)
            assert found[0][0] == expected[0][0]
            assert dict(found) == pytest.approx(dict(expected), rel=1e-5)
    trained.cbow_mean = 1
    with pytest.warns(UserWarning, match="none of .* is in the vocabulary"):
        assert trained.predict_output_word(["unknown"]) is None


@pytest.mark.slow
def test_outputs_are_read_only_and_of_their_objective(sentences, trained):
    assert trained.syn1neg.shape == trained.wv.vectors.shape
    assert trained.syn1neg.any()
    with pytest.raises(ValueError, match="read-only"):
        trained.syn1neg[0] = 1
    with pytest.raises(AttributeError, match=r"syn1 is of hierarchical softmax \(hs=1\)"):
        _ = trained.syn1
    tree = Word2Vec(hs=1, negative=0, **TINY)
    tree.build_vocab(sentences)
    assert tree.syn1.shape == trained.syn1neg.shape
    assert not tree.syn1.any()
    with pytest.raises(AttributeError, match="and no syn1neg"):
        _ = tree.syn1neg
    with pytest.raises(RuntimeError, match="negative sampling"):
        tree.predict_output_word(["w1"])


@pytest.mark.slow
def test_a_vocabulary_by_a_rule_is_that_of_gensim(sentences):
    def rule(word, count, min_count):
        assert min_count == 4
        if word in ("w1", "w3"):
            return gensim.utils.RULE_DISCARD
        return gensim.utils.RULE_KEEP if count == 2 else gensim.utils.RULE_DEFAULT

    ours, theirs = Word2Vec(min_count=4), gensim.models.Word2Vec(min_count=4)
    for model in (ours, theirs):
        model.build_vocab(sentences, trim_rule=rule)
    assert vocabulary(ours) == vocabulary(theirs)
    assert 2 in vocabulary(ours).values()
    assert (ours.corpus_count, ours.corpus_total_words) == (theirs.corpus_count, theirs.corpus_total_words)
    kept = [[word for word in sentence if word in ours.wv] for sentence in sentences]
    assert len(ours.corpus.tokens) == sum(map(len, kept))
    assert vocabulary(Word2Vec(kept, **TINY | {"min_count": 1})) == vocabulary(ours)
    with pytest.raises(ValueError, match="trim_rule and min_count=5 leave none"):
        Word2Vec(sentences, trim_rule=lambda *_: gensim.utils.RULE_DISCARD)


def test_a_vocabulary_of_frequencies_is_that_of_gensim(sentences, trained):
    counts = {"a": 7, "b": 9, "c": 2, "d": 1}
    ours, theirs = Word2Vec(min_count=2), gensim.models.Word2Vec(min_count=2)
    for model in (ours, theirs):
        model.build_vocab_from_freq(counts, corpus_count=5)
    assert vocabulary(ours) == vocabulary(theirs)
    assert ours.wv.index_to_key == theirs.wv.index_to_key
    assert ours.corpus_count == theirs.corpus_count == 5
    for model in (ours, theirs):
        model.build_vocab_from_freq({"c": 4, "e": 3, "f": 1}, update=True)
    assert vocabulary(ours) == vocabulary(theirs)
    with pytest.raises(ValueError, match="no text to train on"):
        ours.train()
    again = Word2Vec(**TINY)
    again.build_vocab_from_freq(vocabulary(trained))
    again.train(sentences, total_examples=60, epochs=1, report_delay=1, queue_factor=2)
    np.testing.assert_array_equal(again.wv.vectors, trained.wv.vectors)


def test_the_vocabulary_is_no_larger_than_asked(sentences):
    model = Word2Vec(min_count=1, max_vocab_size=9, max_final_vocab=12)
    model.build_vocab(sentences, progress_per=10)
    everything = Word2Vec(min_count=1)
    everything.build_vocab(sentences)
    assert model.wv.index_to_key == everything.wv.index_to_key[:9]


def test_memory_is_counted_as_in_gensim(sentences, trained):
    for settings in ({}, {"hs": 1, "negative": 0}):
        ours, theirs = Word2Vec(vector_size=24, **settings), gensim.models.Word2Vec(vector_size=24, **settings)
        found, expected = (model.estimate_memory(1000, report={"mine": 5}) for model in (ours, theirs))
        assert found.keys() == expected.keys()
        tables = {name: size for name, size in expected.items() if name not in ("vocab", "total")}
        assert {name: found[name] for name in tables} == tables
        assert found["total"] == sum(found.values()) - found["total"]
    assert trained.estimate_memory()["vectors"] == trained.wv.vectors.nbytes


def test_settings_are_attributes_that_training_follows(sentences, trained):
    theirs = gensim.models.Word2Vec(vector_size=8, min_count=2)
    names = "vector_size layer1_size window min_count max_vocab_size max_final_vocab sample seed workers alpha min_alpha sg hs "
    names += (
        "negative ns_exponent cbow_mean epochs batch_words comment shrink_windows corpus_count compute_loss train_count"
    )
    fresh = Word2Vec(vector_size=8, min_count=2)
    for name in names.split():
        assert getattr(fresh, name) == getattr(theirs, name), name
    assert repr(fresh) == str(fresh) == str(theirs)
    model = Word2Vec(**TINY)
    model.build_vocab(sentences)
    model.sg, model.window, model.shrink_windows = 1, 2, False
    assert (type(model.method).__name__, model.method.window, model.method.shrink_windows) == ("SkipGram", 2, False)
    with pytest.raises(ValueError, match="window"):
        Word2Vec(window=0)
    model.vector_size = 9
    with pytest.raises(ValueError, match=r"of dimension 8, and the model is of .* dimension 9"):
        model.train()


OLD = {
    "most_similar": "model.wv.most_similar", "similarity": "model.wv.similarity", "doesnt_match": "model.wv.doesnt_match",
    "index2word": "model.wv.index_to_key", "vocab": "model.wv.key_to_index", "syn0": "model.wv.vectors",
    "init_sims": "need no preparation", "iter": "epochs", "size": "vector_size",
    "save_word2vec_format": "model.wv.save_word2vec_format",
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_names_of_gensim_3_tell_their_successor(trained, name):
    with pytest.raises(AttributeError, match=OLD[name]):
        getattr(trained, name)
    assert not hasattr(trained, name)


def test_calls_of_gensim_3_tell_what_to_write():
    for old, new in (("size", "vector_size"), ("iter", "epochs")):
        with pytest.raises(TypeError, match=f"{old}= is a name of gensim 3: use {new}="):
            Word2Vec(**{old: 5})
    with pytest.raises(TypeError, match="did you mean 'vector_size'"):
        Word2Vec(vectorsize=5)
    with pytest.raises(AttributeError, match=r"KeyedVectors.load_word2vec_format"):
        Word2Vec.load_word2vec_format("vectors.txt")
    with pytest.raises(TypeError, match=r"model.wv\['king'\]"):
        Word2Vec()["king"]
    for settings in ({"null_word": 1}, {"sorted_vocab": 0}):
        with pytest.raises(ValueError, match="leave null_word and sorted_vocab out"):
            Word2Vec(**settings)
    model = Word2Vec()
    with pytest.raises(RuntimeError, match="build_vocab"):
        model.build_vocab([["a"]], update=True)
    with pytest.raises(ValueError, match="word_count must be 0"):
        model.train([["a"]], word_count=5)


@pytest.mark.slow
def test_glove_has_its_settings_too(sentences):
    model = GloVe(sentences, **{name: value for name, value in TINY.items() if name != "sample"})
    assert (model.vector_size, model.window, model.epochs, model.corpus_count) == (8, 10, 1, 60)
    assert repr(model) == f"GloVe<vocab={len(model.wv)}, vector_size=8>"
