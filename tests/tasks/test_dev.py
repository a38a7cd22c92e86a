"""What settings are chosen on: parts that are set apart of the training data, and splits of scored pairs."""

from dataclasses import replace

import datasets
import numpy as np
import pytest

from jaxembed.data.images import read_images
from jaxembed.data.parts import set_apart, with_dev
from jaxembed.data.tokens import tokenizer_for
from jaxembed.recipes import RECIPES
from jaxembed.tasks.image_texts import ImageTexts
from jaxembed.tasks.images import Images
from jaxembed.tasks.sentences import Sentences
from jaxembed.tasks.start import Start

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Writes a dataset where JAXEMBED_DATA points to."""
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))

    def write(dataset, split, features=None, **columns):
        path = tmp_path / dataset / f"{split}.parquet"
        path.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(columns, features=features).to_parquet(path)

    return write


def test_places_are_spread_and_cover_everything():
    for n, share, most, count in ((100, 0.1, 1000, 10), (60_000, 0.1, 5_000, 5_000), (7, 0.1, 10, 0), (48, 0.1, 99, 4)):
        train, dev = set_apart(n, share, most)
        assert len(dev) == count
        assert sorted([*train, *dev]) == list(range(n))
        assert not count or np.diff(dev).max() - np.diff(dev).min() <= 1
    for wanted in (1, 9, 64, 1000):
        assert len(set_apart(with_dev(wanted, 0.1, 50), 0.1, 50)[0]) >= wanted
    assert with_dev(0, 0.1) == 0
    assert with_dev(64, 0.0) == 64


def test_images_are_set_apart_from_training():
    whole = read_images("fashion-mnist-small", split="train")
    found = Images("fashion-mnist-small").found
    assert (len(found.train), len(found.dev)) == (4500, 500)
    assert np.bincount(found.dev.labels).min() > 20  # of all ten classes
    rows = np.concatenate([found.train.images, found.dev.images])
    order = lambda images: np.sort([image.tobytes() for image in images])
    assert np.array_equal(order(rows), order(whole.images))
    few = Images("fashion-mnist-small", max_images=64).found
    assert (len(few.train), len(few.dev)) == (64, 7)
    none = Images("fashion-mnist-small", max_images=64, validation=0.0).found
    assert (len(none.train), none.dev) == (64, None)
    assert np.array_equal(none.train.images, whole.images[:64])
    assert none.train.fingerprint == read_images("fashion-mnist-small", split="train", max_images=64).fingerprint
    assert len({one.train.fingerprint for one in (found, few, none)}) == 3


def encoded(image):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def test_pictures_are_set_apart_with_all_their_captions(keep):
    rows = np.repeat(np.arange(20), 3)
    contents, texts = (
        [encoded(PIXELS[row]) for row in rows],
        [f"picture {row} in words {i}" for i, row in enumerate(rows)],
    )
    features = datasets.Features({"image": datasets.Image(), "name": datasets.Value("string")})
    for split in ("train", "test"):
        keep("pairs", split, features, image=contents, name=texts)
    task = ImageTexts("pairs", size=None, tokenizer="word", vocab_size=100, max_length=8)
    found = task.found
    assert (len(found.train.images), len(found.dev)) == (54, 6)
    trained = {image.tobytes() for image in found.train.images}
    assert not trained & {image.tobytes() for image in found.dev.images.images}
    # Perfect vectors find all, although each picture stands three times.
    at = lambda pairs: np.eye(20)[pairs.pictures]
    vectors = {"image": at(found.rest), "text": at(found.rest), "dev/image": at(found.dev), "dev/text": at(found.dev)}
    figures = task.judge(vectors)
    for way in ("image_to_text", "text_to_image"):
        assert (figures[f"retrieval/{way}/recall@1"], figures[f"retrieval/{way}/recall@1-dev"]) == (1, 1)
    assert {name for name in figures if task.half(name) == "dev"} == {name for name in figures if name.endswith("-dev")}
    none = ImageTexts("pairs", size=None, tokenizer="word", vocab_size=100, max_length=8, validation=0.0).found
    assert (len(none.train.images), none.dev, set(none.judged)) == (60, None, {"image", "text"})


@pytest.mark.parametrize(
    ("sts", "splits", "expected", "dev"),
    [
        ("years", ("2012",), {"years 2012": "sts/2012", "years 2012 R@1": "retrieval/recall@1/2012"}, set()),
        (
            "years",
            ("2012", "2013"),
            {"years 2013": "sts/2013", "years 2012": "sts/2012", "years 2013 R@1": "retrieval/recall@1/2013"},
            {"sts/2012", "retrieval/recall@1/2012"},
        ),
        ("whole", (), {"whole": "sts/all", "whole R@1": "retrieval/recall@1/all"}, set()),
        ("", (), {}, set()),
    ],
)
def test_any_set_of_scored_pairs_will_do(keep, sts, splits, expected, dev):
    scored = {"sentence1": ["a b", "c d", "e f"], "sentence2": ["a c", "d c", "a f"], "score": [1.0, 5.0, 2.0]}
    keep("captions", "train", captions=[["a b c", "a c"], ["d e f", "f e"]])
    keep("years", "2012", **scored)
    keep("years", "2013", **scored)
    keep("whole", "train", **scored)
    task = Sentences("captions", tokenizer="word", vocab_size=50, sts=sts, splits=splits)
    shape = {"alignment": "geometry/alignment", "uniformity": "geometry/uniformity"}
    assert task.columns == {**expected, **shape, "effective rank": "geometry/effective_rank"}
    rng = np.random.default_rng(0)
    sizes = {name: len(next(iter(part.values()))) for name, part in task.found.judged.items()}
    figures = task.judge({name: rng.normal(size=(n, 4)) for name, n in sizes.items()})
    assert set(expected.values()) <= figures.keys()
    assert {name for name in figures if task.half(name) == "dev"} == dev


def test_a_sentence_looks_for_the_one_that_means_the_same(keep):
    keep("captions", "train", captions=[["a b c", "a c"], ["d e f", "f e"]])
    first, second = ["a", "b", "c", "d"], ["x", "y", "X", "z"]
    keep("scored", "train", sentence1=first, sentence2=second, score=[5.0, 4.5, 4.9, 1.0])
    task = Sentences("captions", tokenizer="word", vocab_size=50, sts="scored", splits=())
    at = np.eye(3)[[0, 1, 0, 2]]  # what says the same word for word is the same
    judge = lambda a: task.judge({"all/a": a, "all/b": at + 0.1})["retrieval/recall@1/all"]
    assert judge(at) == 1
    assert judge(np.eye(3)[[2, 1, 0, 1]]) == pytest.approx(2 / 3)  # the pair of score 1 asks for nothing


def test_only_texts_to_train_on_are_cut_and_tokens_start_by_their_frequency(keep, tmp_path):
    captions = [["a b c", "a c"], ["a a b", "a c d d d d d d d d"]] * 3
    keep("captions", "train", captions=captions)
    keep("scored", "train", sentence1=["a " * 50, "unseen"], sentence2=["b", "c"], score=[1.0, 5.0])
    corpus = tmp_path / "words.txt"
    corpus.write_text("a b a c a b a d\n" * 20)
    reviews = tmp_path / "reviews.txt"
    reviews.write_text("A b c d\n" * 10)
    start = Start(str(corpus), vector_size=4, epochs=1, words=50, smoothing=0.01, frequencies=(str(reviews),))
    how = {"tokenizer": "word", "vocab_size": 50, "max_length": 6, "sts": "scored", "splits": (), "start": start}
    task = Sentences("captions", whole=True, buckets=7, **how)
    found = task.found
    core = found.inputs["text"].tokenizer.core
    assert found.train.ids.shape == (6, 2, 6)
    assert found.judged["all/a"]["ids"].shape == (2, 52)
    assert found.judged["all/a"]["query"].all()
    assert not found.judged["all/b"]["query"].any()
    assert found.train.judged.shape == (4, 52)
    assert found.judged["all/a"]["ids"][1, 1] >= found.train.vocabulary_size - 7
    shares = {"a": 4 / 8, "b": 2 / 8, "c": 1 / 8, "d": 1 / 8}  # in the corpus; in the reviews each has a quarter
    for word, share in shares.items():
        p = (share + 1 / 4) / 2
        assert found.train.weights[core.token_to_id(word)] == pytest.approx(np.log(0.01 / (0.01 + p)), abs=1e-6)
    assert (found.train.weights[[0, 1, 2, 3]] < -20).all()
    assert (found.train.weights[-7:] == 0).all()
    centred = replace(start, centred=True).vectors(found.inputs["text"].tokenizer)[0]
    at = [core.token_to_id(word) for word in shares]
    plain = found.train.start[at] - found.train.start[at].mean(0)  # which centring brings to one scale again
    np.testing.assert_allclose(centred[at] * plain.std() / centred[at].std(), plain, atol=1e-5)
    cut = Sentences("captions", **how).found
    assert cut.judged["all/a"]["ids"].shape == (2, 6)


def test_words_with_common_parts_start_alike(tmp_path):
    """Cosines of the own columns are those of TF-IDF vectors of the words' character n-grams, which scikit-learn finds."""
    sklearn = pytest.importorskip("sklearn.feature_extraction.text")
    words = ["play", "plays", "player", "house", "housing", "tree"]
    tokenizer = tokenizer_for(words * 2, "word", 50)
    corpus = tmp_path / "words.txt"
    corpus.write_text(" ".join(words) + "\n" + "\n".join([" ".join(words)] * 20))
    start = Start(str(corpus), vector_size=4, epochs=1, own=20_000, grams=(3, 4))
    own = start.vectors(tokenizer)[0][:, 4:].astype(np.float64)
    at = [tokenizer.core.token_to_id(word) for word in words]
    assert np.std(own[at], axis=1) == pytest.approx(start.std, rel=0.02)
    found = (own[at] / np.linalg.norm(own[at], axis=1, keepdims=True)) @ (
        own[at] / np.linalg.norm(own[at], axis=1, keepdims=True)
    ).T
    count = sklearn.CountVectorizer(analyzer="char_wb", ngram_range=(3, 4), binary=True).fit_transform(words).toarray()
    tokens = tokenizer.core.get_vocab_size()  # special tokens have no n-grams
    weighted = count * (1 + np.log((1 + tokens) / (1 + count.sum(0))))
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    np.testing.assert_allclose(found, weighted @ weighted.T, atol=0.03)
    assert found[0, 1] > 0.3 > abs(found[0, 3])
    with pytest.raises(ValueError, match="the shortest length and then the longest"):
        replace(start, grams=(4, 3))


def test_fingerprints_cover_what_vectors_are_judged_by(keep):
    """Other test images, other texts of them, other scores: another revision of what is judged, and of nothing else."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Value("int64"), "name": datasets.Value("string")}
    )
    write = lambda split, at, names: keep(
        "mine", split, features, image=[encoded(PIXELS[i]) for i in at], label=[0, 1, 0], name=names
    )
    write("train", (0, 1, 2), ["a b", "a b", "a c"])
    keep("captions", "train", captions=[["a b c", "a c"], ["d e f", "f e"]])
    kinds = {
        "images": lambda: Images("mine", validation=0.0),
        "pairs": lambda: ImageTexts("mine", size=None, tokenizer="word", vocab_size=50, validation=0.0),
        "sentences": lambda: Sentences("captions", tokenizer="word", vocab_size=50, sts="mine-sts", splits=()),
    }
    seen = {name: [] for name in kinds}
    for at, names, scores in (
        ((3, 4, 5), "xyz", (1.0, 2.0)),
        ((3, 4, 6), "xyz", (1.0, 2.5)),
        ((3, 4, 6), "xyw", (1.0, 2.5)),
    ):
        write("test", at, list(names))
        keep("mine-sts", "train", sentence1=["a b", "c d"], sentence2=["c", "d"], score=list(scores))
        for name, kind in kinds.items():
            seen[name].append((kind().found.fingerprint, kind().found.judged_by))
    for name, expected in {"images": 2, "pairs": 3, "sentences": 2}.items():
        trained, judged = ({*column} for column in zip(*seen[name], strict=True))
        assert len(trained) == 1, name
        assert len(judged) >= expected, name


def test_the_table_of_stsb_is_as_it_was():
    columns = RECIPES["simcse"].task.columns
    assert list(columns.items())[:2] == [("STS-B", "sts/test"), ("STS-B dev", "sts/validation")]
