"""Models in files, and trainings that go on."""

import gensim
import numpy as np
import pytest

from jaxembed import GloVe, KeyedVectors, Word2Vec, load_vectors
from jaxembed.data import read_corpus

TINY = {"vector_size": 8, "min_count": 2, "epochs": 1, "sample": 0}


@pytest.fixture(scope="module")
def others(sentences):
    """Another text: some of the words, and new ones."""
    return [["w1", "new", *sentence[:6], "newer"] for sentence in sentences[20:40]]


def same(one, other):
    assert one.wv.index_to_key == other.wv.index_to_key
    np.testing.assert_array_equal(one.wv.counts, other.wv.counts)
    np.testing.assert_array_equal(one.wv.vectors, other.wv.vectors)
    outputs = [model.syn1 if model.hs else model.syn1neg for model in (one, other)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"sg": 0}, pytest.param({"sg": 1, "hs": 1, "negative": 0}, marks=pytest.mark.slow)], ids=["cbow", "hs"]
)
def test_a_saved_model_goes_on_as_if_it_had_never_been_saved(tmp_path, sentences, settings):
    model = Word2Vec(sentences, **TINY, **settings, comment="mine", alpha=np.float32(0.05))
    model.save(tmp_path / "word2vec.model")
    loaded = Word2Vec.load(tmp_path / "word2vec.model")
    same(model, loaded)
    assert repr(loaded) == repr(model)
    assert loaded.get_latest_training_loss() == model.get_latest_training_loss()
    plain = {name: value for name, value in vars(model).items() if isinstance(value, int | float | str)}
    assert {name: vars(loaded).get(name, getattr(loaded, name)) for name in plain} == plain
    before = model.wv.vectors.copy()
    for one in (model, loaded):
        assert one.train(sentences[::-1], total_examples=60, epochs=2)[1] == 2 * sum(map(len, sentences))
    same(model, loaded)
    assert np.abs(loaded.wv.vectors - before).max() > 1e-4

    loaded.save(tmp_path / "again.model")
    model.save(tmp_path / "word2vec.model")
    assert (tmp_path / "again.model").read_bytes() == (tmp_path / "word2vec.model").read_bytes()
    for vectors in (KeyedVectors.load(tmp_path / "again.model"), load_vectors(tmp_path / "again.model")):
        np.testing.assert_array_equal(vectors.vectors, loaded.wv.vectors)


def test_a_model_is_saved_before_it_is_trained(tmp_path, sentences):
    model = Word2Vec(**TINY)
    with pytest.raises(RuntimeError, match="build_vocab"):
        model.save(tmp_path / "model")
    model.build_vocab(sentences)
    model.save(str(tmp_path / "model"))
    loaded = Word2Vec.load(str(tmp_path / "model"), mmap="r")
    assert (loaded.corpus_count, loaded.corpus_total_words) == (60, sum(map(len, sentences)))
    with pytest.raises(ValueError, match=r"no text to train on: .*Call train\(sentences\)"):
        loaded.train()
    loaded.train(sentences, total_examples=loaded.corpus_count, epochs=1)
    same(loaded, Word2Vec(sentences, **TINY))


def test_other_files_are_no_models(tmp_path, sentences):
    with pytest.raises(FileNotFoundError, match=r"no saved model .*none"):
        Word2Vec.load(tmp_path / "none")
    theirs = gensim.models.Word2Vec(sentences, vector_size=4, min_count=2, epochs=1)
    theirs.save(str(tmp_path / "theirs"))
    with pytest.raises(ValueError, match=r"pickle of gensim: .*save_word2vec_format"):
        Word2Vec.load(tmp_path / "theirs")
    (tmp_path / "text").write_text("1 2\na 1 2\n")
    with pytest.raises(ValueError, match=r"not a model that Word2Vec.save wrote"):
        Word2Vec.load(tmp_path / "text")
    KeyedVectors(["a"], np.ones((1, 2))).save(tmp_path / "vectors")
    with pytest.raises(ValueError, match=r"cannot be trained further: open them by KeyedVectors.load"):
        Word2Vec.load(tmp_path / "vectors")
    model = Word2Vec(sentences, **TINY)
    model.save(tmp_path / "model")
    whole = (tmp_path / "model").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="not a model that"):
        Word2Vec.load(tmp_path / "cut")
    (tmp_path / "newer").write_bytes(whole.replace(b'"window"', b'"windau"'))
    with pytest.raises(ValueError, match=r"does not know its settings .*'window'.*use jaxembed 0"):
        Word2Vec.load(tmp_path / "newer")


@pytest.mark.slow
def test_training_goes_through_the_text_that_it_is_given(tmp_path, sentences, others, monkeypatch):
    """With the vocabulary there is: as with a text from which all other words were taken out."""

    def continued(**text):
        model = Word2Vec(sentences, **TINY)
        model.train(**text)
        return model

    known = set(Word2Vec(sentences, **TINY).wv.index_to_key)
    expected = continued(corpus_iterable=[[word for word in sentence if word in known] for sentence in others])
    (tmp_path / "others.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in others))
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    for text in (
        {"corpus_iterable": others},
        {"corpus_iterable": iter(others)},
        {"corpus_file": tmp_path / "others.txt"},
        {"corpus_iterable": read_corpus(others, min_count=1)},
    ):
        same(continued(**text), expected)
    on_the_old = continued()
    assert np.abs(on_the_old.wv.vectors - expected.wv.vectors).max() > 1e-4
    with pytest.raises(ValueError, match=r"none of the .* words of the vocabulary"):
        continued(corpus_iterable=[["unknown", "words"]])
    with pytest.raises(ValueError, match="no words"):
        continued(corpus_iterable=iter([]))

    path = tmp_path / "text.txt"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))
    model = Word2Vec(**TINY)
    model.build_vocab(corpus_file=path)
    with monkeypatch.context() as patch:
        patch.setattr("jaxembed.models.base.read_corpus", None)  # it is not read again,
        model.train(corpus_file=str(path))
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in others))
    words = model.train(corpus_file=path)  # but for a change
    assert words[1] == sum(map(len, others))


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "3"])
def test_epochs_are_checked(sentences, epochs):
    model = Word2Vec(**TINY)
    model.build_vocab(sentences)
    with pytest.raises(ValueError, match="epochs"):
        model.train(sentences, epochs=epochs)
    with pytest.raises(ValueError, match="epochs"):
        Word2Vec(sentences, **TINY | {"epochs": epochs})


def test_vectors_that_are_set_are_where_training_starts(sentences):
    reference = Word2Vec(**TINY)
    reference.build_vocab(sentences)
    model = Word2Vec(**TINY)
    model.build_vocab(sentences)
    given = np.full(8, 0.5, np.float32)
    model.wv.vectors[3] = given
    for one in (reference, model):
        one.train(epochs=1, start_alpha=1e-4, end_alpha=0.0)
    np.testing.assert_allclose(model.wv.vectors[3], given, atol=0.05)
    lengths = np.linalg.norm(model.wv.vectors, axis=1)
    assert (lengths > 0.02).all()  # the others start at random
    assert np.delete(lengths, 3).max() < 0.5
    model.wv.add_vector("more", given)
    with pytest.raises(ValueError, match=r"holds .* vectors .*build_vocab\(update=True\)"):
        model.train()


@pytest.mark.slow
def test_words_that_join(sentences, others):
    ours, theirs = Word2Vec(sentences, **TINY), gensim.models.Word2Vec(sentences, **TINY)
    before = ours.wv.vectors.copy(), ours.syn1neg.copy(), list(ours.wv.index_to_key)
    ours.build_vocab(others, update=True)
    theirs.build_vocab(others, update=True)
    assert {word: ours.wv.get_vecattr(word, "count") for word in ours.wv.index_to_key} == {
        word: theirs.wv.get_vecattr(word, "count") for word in theirs.wv.index_to_key
    }
    known = len(before[0])
    assert ours.wv.index_to_key[:known] == before[2]
    np.testing.assert_array_equal(ours.wv.vectors[:known], before[0])
    np.testing.assert_array_equal(ours.syn1neg[:known], before[1])
    words = ours.train(others, total_examples=len(others), epochs=1)
    assert words == (words[1], sum(map(len, others)))  # every word is known now
    assert (np.linalg.norm(ours.wv.vectors, axis=1) > 0).all()
    assert ours.syn1neg[ours.wv.get_index("new")].any()


FEW = {"vector_size": 8, "min_count": 2, "epochs": 1}


def same_glove(one, other):
    np.testing.assert_array_equal(one.wv.vectors, other.wv.vectors)
    tables = [model._tables_to_save() for model in (one, other)]
    assert tables[0].keys() == tables[1].keys() == {"word", "context"}
    for name, table in tables[0].items():
        np.testing.assert_array_equal(table, tables[1][name])


def test_glove_goes_on_as_if_it_had_never_been_saved(tmp_path, sentences, others):
    model = GloVe(sentences, **FEW)
    model.wv.set_vecattr("w1", "kind", "number")
    model.save(tmp_path / "glove.model")
    loaded = GloVe.load(tmp_path / "glove.model")
    same_glove(model, loaded)
    assert repr(loaded) == repr(model)
    assert loaded.get_latest_training_loss() == model.get_latest_training_loss()
    np.testing.assert_array_equal(load_vectors(tmp_path / "glove.model").vectors, model.wv.vectors)
    before = model.wv.vectors.copy()
    with pytest.raises(ValueError, match="no text to train on"):
        loaded.train()
    for one in (model, loaded):
        assert one.train(others, total_examples=20, epochs=2)[1] == 2 * sum(map(len, others))
        assert one.wv.get_vecattr("w1", "kind") == "number"
    same_glove(model, loaded)
    assert np.abs(loaded.wv.vectors - before).max() > 1e-4
    loaded.save(tmp_path / "again.model")
    model.save(tmp_path / "glove.model")
    assert (tmp_path / "again.model").read_bytes() == (tmp_path / "glove.model").read_bytes()


def test_glove_goes_on_from_where_it_was(sentences):
    model = GloVe(sentences, **FEW | {"epochs": 3})
    first = list(model.losses)
    model.train(epochs=2)
    assert model.losses[:3] == first
    assert model.losses[3] < first[-1]
    vector = np.full(8, 0.5, np.float32)
    model.wv.vectors[3] = vector
    before = model.wv.vectors.copy()
    model.train(epochs=1, learning_rate=1e-5)
    np.testing.assert_allclose(model.wv.vectors, before, atol=1e-3)


def test_glove_before_it_is_trained(tmp_path, sentences):
    model = GloVe(**FEW)
    with pytest.raises(RuntimeError, match="build_vocab"):
        model.train(sentences)
    with pytest.raises(RuntimeError, match="build_vocab"):
        model.save(tmp_path / "model")
    model.build_vocab(sentences)
    assert not model.wv.vectors.any()
    model.save(tmp_path / "model")
    loaded = GloVe.load(tmp_path / "model")
    loaded.train(sentences)
    same_glove(loaded, GloVe(sentences, **FEW))
    model.wv.vectors[0] = 1
    with pytest.raises(ValueError, match="before the first training"):
        model.train()


def test_a_file_names_the_class_of_its_model(tmp_path, sentences):
    glove, word2vec = GloVe(**FEW), Word2Vec(**FEW)
    for model, other in ((glove, Word2Vec), (word2vec, GloVe)):
        model.build_vocab(sentences)
        model.save(tmp_path / "model")
        with pytest.raises(ValueError, match=f"of the class {model.kind}: open it by {model.kind}.load"):
            other.load(tmp_path / "model")


def test_files_of_the_first_version_are_of_word2vec(tmp_path, sentences):
    from safetensors.numpy import load_file, save_file

    model = Word2Vec(sentences, **TINY)
    model.save(tmp_path / "model")
    tensors = load_file(tmp_path / "model")
    about = tensors["model"].tobytes()
    assert b'"class": "Word2Vec", ' in about
    tensors["model"] = np.frombuffer(about.replace(b'"class": "Word2Vec", ', b""), np.uint8)
    save_file(tensors, tmp_path / "model")
    same(Word2Vec.load(tmp_path / "model"), model)


@pytest.mark.slow
def test_attributes_of_words_stay(tmp_path, sentences, others):
    model = Word2Vec(sentences, **TINY)
    model.wv.set_vecattr("w1", "kind", "number")
    model.build_vocab(others, update=True)
    model.train(epochs=1)
    assert model.wv.get_vecattr("w1", "kind") == "number"
    assert model.wv.get_vecattr("new", "kind") is None
    model.save(tmp_path / "model")
    assert Word2Vec.load(tmp_path / "model").wv.get_vecattr("w1", "kind") == "number"
