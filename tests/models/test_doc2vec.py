import inspect

import numpy as np
import pytest

from jaxembed import Doc2Vec, TaggedDocument
from jaxembed.data.documents import Documents

gensim = pytest.importorskip("gensim")


@pytest.fixture(scope="module")
def documents():
    random = np.random.default_rng(0)
    words = lambda i: [f"{'ab'[i % 2]}{random.integers(20)}" for _ in range(random.integers(20, 80))]
    return [TaggedDocument(words(i), [f"doc{i}"]) for i in range(60)]


SMALL = {"vector_size": 12, "min_count": 1, "epochs": 20, "sample": 0}


@pytest.fixture(scope="module")
def model(documents):
    return Doc2Vec(documents, dm=0, **SMALL)


def test_names_and_defaults_are_those_of_gensim():
    own, theirs = (inspect.signature(kind.__init__).parameters for kind in (Doc2Vec, gensim.models.Doc2Vec))
    for name, one in theirs.items():
        if name not in ("dv", "dv_mapfile", "trim_rule", "kwargs", "self", "shrink_windows"):
            assert own[name].default == one.default, name
    shared = inspect.signature(gensim.models.Word2Vec.__init__).parameters
    for name in ("alpha", "min_alpha", "min_count", "sample", "seed", "hs", "negative", "ns_exponent", "workers"):
        assert own[name].default == shared[name].default, name
    for name in ("infer_vector", "similarity_unseen_docs", "train", "build_vocab", "save", "load"):
        assert hasattr(gensim.models.Doc2Vec, name)
        assert hasattr(Doc2Vec, name)


def test_documents_of_gensims_class_are_taken(documents):
    theirs = [gensim.models.doc2vec.TaggedDocument(one.words, one.tags) for one in documents]
    found = Doc2Vec(theirs, dm=0, **SMALL | {"epochs": 1})
    np.testing.assert_array_equal(found.dv.vectors, Doc2Vec(documents, dm=0, **SMALL | {"epochs": 1}).dv.vectors)


def test_the_nearest_documents_are_of_the_same_kind(model):
    near = [int(name[3:]) % 2 == i % 2 for i in range(60) for name, _ in model.dv.most_similar(f"doc{i}", topn=3)]
    assert np.mean(near) > 0.9


@pytest.mark.parametrize(
    "settings", [{"dm": 0, "hs": 1}, {"dm": 0, "dbow_words": 1}, {}, {"dm_mean": 0}, {"dm_concat": 1, "window": 2}]
)
def test_every_kind_learns_infers_and_goes_on_after_it_was_saved(settings, documents, tmp_path):
    found = Doc2Vec(documents, **SMALL | settings)
    assert found.losses[-1] < found.losses[0]
    words = documents[3].words
    found.save(tmp_path / "model")
    again = Doc2Vec.load(tmp_path / "model")
    np.testing.assert_array_equal(again.dv.vectors, found.dv.vectors)
    np.testing.assert_array_equal(again.infer_vector(words), found.infer_vector(words))
    found.train(epochs=1)
    again.train(documents, epochs=1)
    np.testing.assert_array_equal(again.dv.vectors, found.dv.vectors)


def test_an_inferred_vector_depends_on_its_words_alone(model, documents):
    words = [one.words for one in documents]
    together = model.infer_vectors(words)
    np.testing.assert_array_equal(together[7], model.infer_vector(words[7]))
    np.testing.assert_array_equal(together[::-1], model.infer_vectors(words[::-1]))
    assert not model.infer_vector(["never", "seen"]).any()
    assert model.similarity_unseen_docs(["a1", "a2", "a3"], ["a4", "a5"]) > model.similarity_unseen_docs(
        ["a1", "a2"], ["b4"]
    )
    with pytest.raises(TypeError, match="split it"):
        model.infer_vector("a text")


def test_whole_numbers_are_rows_and_a_file_has_a_document_per_line(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("a b a\nb c b\n" * 30)
    found = Doc2Vec(corpus_file=file, dm=0, **SMALL | {"epochs": 1})
    assert len(found.dv) == 60
    np.testing.assert_array_equal(found.dv["5"], found.dv[5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"size": 5}, "vector_size"), ({"alpha": 0}, "alpha must be above 0"), ({"dm_tag_count": 2}, "dm_tag_count"),
     ({"vector_siz": 3}, "vector_size")],
)  # fmt: skip
def test_settings_are_checked_before_anything_is_read(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Doc2Vec(**settings)


def test_other_documents_may_be_trained_on_if_their_tags_are_known(model, documents):
    other = Doc2Vec(documents, dm=0, **SMALL | {"epochs": 1})
    other.train([TaggedDocument(["a1", "a2", "never"], ["doc0"])], epochs=1)
    with pytest.raises(ValueError, match="'doc99' has no vector"):
        other.train([TaggedDocument(["a1"], ["doc99"])])


def test_a_model_that_is_not_trained_says_so(documents):
    found = Doc2Vec(**SMALL)
    found.build_vocab(Documents.tagged(documents, min_count=1))
    with pytest.raises(RuntimeError, match="not trained yet"):
        found.infer_vector(["a1"])
