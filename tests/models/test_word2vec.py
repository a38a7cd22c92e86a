import inspect

import gensim
import numpy as np
import pytest

from jaxembed import Doc2Vec, GloVe, Word2Vec
from jaxembed.data import read_corpus
from jaxembed.data.hub import BUILTIN
from jaxembed.models import base

RELATED = [
    *(("three", "four"), ("north", "south"), ("january", "february"), ("king", "emperor"), ("music", "songs")),
    *(("france", "germany"), ("computer", "software"), ("he", "she"), ("war", "army"), ("church", "catholic")),
    *(("green", "red"), ("island", "islands"), ("language", "languages"), ("east", "west"), ("born", "died")),
]
TINY = {"vector_size": 8, "min_count": 2, "epochs": 2}


@pytest.fixture(scope="module")
def sentences():
    """The first 310,000 words of the shipped text, a list a document."""
    import pyarrow.parquet as pq

    texts = pq.read_table(BUILTIN / "enwik8-small" / "train.parquet").column("text").to_pylist()
    return [text.split() for text in texts[:310]]


@pytest.fixture(scope="module")
def few(sentences):
    return sentences[:20]


@pytest.fixture(scope="module")
def reference(few):
    return Word2Vec(few, workers=1, **TINY)


@pytest.mark.filterwarnings("ignore:nothing was trained")  # subsampling leaves 0.5 pairs a pass: by chance, none
def test_the_well_known_example():
    lines = ("the king is a strong man", "the queen is a wise woman", "a man and a woman")
    sentences = [line.split() for line in lines]
    model = Word2Vec(sentences, vector_size=100, window=5, min_count=1, workers=4)
    assert model.wv["king"].shape == (100,)
    near = model.wv.most_similar(positive=["king", "woman"], negative=["man"])
    known = {word for sentence in sentences for word in sentence}
    assert {word for word, _ in near} <= known - {"king", "woman", "man"}
    assert np.isfinite(model.wv.vectors).all()


def test_names_and_defaults_are_those_of_gensim():
    for ours, theirs, more in (
        (Word2Vec.__init__, gensim.models.Word2Vec.__init__, {"objective", "cache", "others"}),
        (Word2Vec.train, gensim.models.Word2Vec.train, set()),
        (Word2Vec.build_vocab, gensim.models.Word2Vec.build_vocab, set()),
        (Word2Vec.build_vocab_from_freq, gensim.models.Word2Vec.build_vocab_from_freq, set()),
        (Word2Vec.predict_output_word, gensim.models.Word2Vec.predict_output_word, set()),
        (Word2Vec.estimate_memory, gensim.models.Word2Vec.estimate_memory, set()),
    ):
        own, known = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        shared = [name for name in known if name in own and name != "kwargs"]
        assert [name for name in own if name not in more] == shared  # in gensim's order
        defaults = {name for name in shared if own[name].default != known[name].default}
        assert defaults <= {"callbacks"}  # None: those given to the constructor


@pytest.mark.slow
def test_the_vocabulary_is_that_of_gensim(few, reference):
    theirs = gensim.models.Word2Vec(vector_size=8, min_count=2)
    theirs.build_vocab(few)
    assert reference.wv.key_to_index.keys() == theirs.wv.key_to_index.keys()
    for word in theirs.wv.key_to_index:
        assert reference.wv.get_vecattr(word, "count") == theirs.wv.get_vecattr(word, "count")
    assert reference.corpus_count == theirs.corpus_count
    assert reference.corpus_total_words == theirs.corpus_total_words
    smaller = Word2Vec(max_final_vocab=50)
    smaller.build_vocab(few)
    assert smaller.corpus.vocabulary.words == reference.corpus.vocabulary.words[:50]


@pytest.mark.slow
def test_workers_and_the_kind_of_input_have_no_effect_and_the_seed_decides(few, reference, tmp_path):
    (tmp_path / "few.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in few))
    again = Word2Vec(corpus_file=tmp_path / "few.txt", workers=4, **TINY)
    assert again.wv.index_to_key == reference.wv.index_to_key
    np.testing.assert_array_equal(again.wv.vectors, reference.wv.vectors)
    other = Word2Vec(few, seed=2, **TINY)
    assert np.abs(other.wv.vectors - reference.wv.vectors).max() > 0.01


class Listener(gensim.models.callbacks.CallbackAny2Vec):
    """What gensim calls, in which order, and what a callback can ask of the model."""

    def __init__(self):
        self.calls, self.losses = [], []

    def on_train_begin(self, model):
        self.calls.append("train begins")

    def on_epoch_begin(self, model):
        self.calls.append("epoch begins")

    def on_epoch_end(self, model):
        self.calls.append(f"epoch ends, {len(model.wv)} words")
        self.losses.append(model.get_latest_training_loss())

    def on_train_end(self, model):
        self.calls.append("train ends")


@pytest.mark.slow
def test_building_the_vocabulary_first_callbacks_and_training_on(few, reference):
    ours, theirs = Listener(), Listener()
    model = Word2Vec(callbacks=[ours], **TINY)
    with pytest.raises(RuntimeError, match="build_vocab"):
        model.train(few)
    with pytest.raises(RuntimeError, match="not trained"):
        model.get_latest_training_loss()
    model.build_vocab(few)
    words = model.train(few, total_examples=model.corpus_count, epochs=model.epochs)
    gensim.models.Word2Vec(few, callbacks=[theirs], compute_loss=True, **TINY)
    assert ours.calls == theirs.calls
    assert words[1] == 2 * model.corpus_total_words
    np.testing.assert_array_equal(model.wv.vectors, reference.wv.vectors)

    model.build_vocab(few)  # begins anew
    model.train(few)
    np.testing.assert_array_equal(model.wv.vectors, reference.wv.vectors)

    before = model.wv.vectors.copy()
    model.train(few, epochs=3)
    assert len(ours.losses) == 7
    assert ours.losses[-1] == model.get_latest_training_loss()
    assert ours.losses[4] < ours.losses[2]  # it went on from where it was
    assert ours.losses[6] < ours.losses[3]
    assert np.abs(model.wv.vectors - before).max() > 0.01


@pytest.mark.slow
def test_callbacks_are_told_of_glove_as_of_word2vec(few):
    told = []
    for model in (Word2Vec, GloVe):
        listener = Listener()
        trained = model(few, callbacks=[listener], **TINY)
        np.testing.assert_array_equal(listener.losses, trained.result.losses[:, 0])
        assert trained.get_latest_training_loss() == listener.losses[-1]
        told.append(listener.calls)
    assert told[0] == told[1]
    assert told[1][0] == "train begins"
    assert told[1][-1] == "train ends"


@pytest.mark.slow
@pytest.mark.parametrize("model", [Word2Vec, GloVe])
def test_without_the_cache_nothing_is_kept_and_nothing_changes(model, few, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    (tmp_path / "few.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in few))
    without = model(corpus_file=tmp_path / "few.txt", cache=False, **TINY)
    assert not (tmp_path / "cache").exists()
    cached = model(corpus_file=tmp_path / "few.txt", **TINY)
    assert (tmp_path / "cache" / "corpora").exists()
    assert (tmp_path / "cache" / "cooccurrences").exists() == (model is GloVe)
    np.testing.assert_array_equal(without.wv.vectors, cached.wv.vectors)


@pytest.mark.slow
def test_each_call_of_train_draws_anew(few, monkeypatch):
    seeds = []
    fit = base.fit

    def recorded(*arguments, **named):
        seeds.append(named["seeds"])
        return fit(*arguments, **named)

    monkeypatch.setattr(base, "fit", recorded)
    model = Word2Vec(**TINY)
    model.build_vocab(few)
    for _ in range(3):
        model.train(few, epochs=1)
    assert len(set(seeds)) == 3
    assert seeds[0] == (model.seed,)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        model.train(few, start_alpha=-1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_final_vocab": 1.5}, "max_final_vocab must be a whole number at least 1, not 1.5"),
        ({"max_vocab_size": -5}, "max_vocab_size must be at least 1, not -5"),
        ({"min_count": 1.5}, "min_count must be a whole number"),
        ({"negative": 1.5}, "negative must be a whole number"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"sg": 7}, "sg must be 0 or 1, not 7"),
        ({"cbow_mean": 3}, "cbow_mean must be 0 or 1, not 3"),
        ({"min_alpha": -1}, "min_alpha must be at least 0, not -1"),
        ({"alpha": float("nan")}, "alpha must be above 0, not nan"),
    ],
)
def test_arguments_out_of_range_are_refused_by_the_names_that_gensim_gives_them(settings, message):
    with pytest.raises(ValueError, match=message):
        Word2Vec(**settings)
    if {"sg", "cbow_mean", "max_vocab_size"}.isdisjoint(settings):
        with pytest.raises(ValueError, match=message):
            Doc2Vec(**settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (Word2Vec, {"sg": 1}),
        pytest.param(Word2Vec, {"sg": 0, "epochs": 2}, marks=pytest.mark.slow),  # of several sweeps each
        pytest.param(Word2Vec, {"sg": 1, "hs": 1, "negative": 0}, marks=pytest.mark.slow),
        pytest.param(Word2Vec, {"sg": 0, "hs": 1, "negative": 0, "epochs": 2}, marks=pytest.mark.slow),
        pytest.param(GloVe, {"epochs": 5}, marks=pytest.mark.slow),
    ],
    ids=["skipgram", "cbow", "skipgram-hs", "cbow-hs", "glove"],
)
def test_likeness_is_learned(sentences, model, settings):
    trained = model(sentences, vector_size=32, callbacks=[object()], **settings)  # which asks for the whole loss
    losses = trained.result.losses[:, 0]
    assert np.all(np.diff(losses) < 0)
    vectors = trained.wv
    related = np.mean([vectors.similarity(*pair) for pair in RELATED])
    mismatched = np.mean([vectors.similarity(a, b) for a, _ in RELATED for x, b in RELATED if a != x])
    assert related > mismatched + 0.25
    # Of 6,236 words: chance would give 3,118; a seed moves it by a few.
    assert np.median([vectors.rank(*pair) for pair in RELATED]) < 100


def test_a_corpus_read_before_is_taken_as_it_is(few):
    corpus = read_corpus(few, min_count=2)
    model = Word2Vec(min_count=1)
    model.build_vocab(corpus)
    assert model.corpus is corpus


@pytest.mark.parametrize("model", [Word2Vec, GloVe])
def test_bad_input_is_told(model, few, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    cases = [
        ({"sentences": []}, ValueError, "is empty"),
        ({"corpus_file": tmp_path / "empty.txt"}, ValueError, "is empty"),
        ({"corpus_file": tmp_path / "missing.txt"}, FileNotFoundError, "missing.txt"),
        ({"sentences": few, "min_count": 10**6}, ValueError, "Pass min_count="),
        ({"sentences": few, "window": 0}, ValueError, "window must be at least 1"),
        ({"sentences": few, "vector_size": 0}, ValueError, "vector_size must be at least 1"),
        ({"sentences": few, "epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"sentences": "the king"}, TypeError, "corpus_file='the king'"),
        ({"sentences": ["the king"]}, ValueError, "split it first"),
        ({"sentences": [["a"], ["b"]] * 10, "min_count": 1}, ValueError, "nothing to train on|no co-occurrences"),
        ({"sentences": [["a\n", "b"]] * 10, "min_count": 1}, ValueError, r"'a\\n' could not be saved.*split\(\)"),
        ({"sentences": [["a", "\ud800"]] * 10, "min_count": 1}, ValueError, "half of a surrogate pair"),
        ({"sentences": few, "corpus_file": "text.txt"}, TypeError, "either sentences or corpus_file"),
    ]
    for settings, kind, message in cases:
        with pytest.raises(kind, match=message):
            model(**settings)


def test_bad_settings_of_word2vec_are_told(few):
    with pytest.raises(ValueError, match="did you mean 'infonce'"):
        Word2Vec(few, objective="infonse")
    with pytest.raises(ValueError, match="choose hierarchical_softmax"):
        Word2Vec(few, negative=0)
    with pytest.raises(ValueError, match="sample must be at least 0"):
        Word2Vec(few, sample=-1)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        Word2Vec(few, alpha=-0.1)
