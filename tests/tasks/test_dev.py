"""What settings are chosen on: parts that are set apart of the training data, and splits of scored pairs."""

import datasets
import numpy as np
import pytest

from jaxembed.data.images import read_images
from jaxembed.recipes import RECIPES
from jaxembed.tasks.base import set_apart, with_dev
from jaxembed.tasks.image_texts import ImageTexts
from jaxembed.tasks.images import Images
from jaxembed.tasks.sentences import Sentences

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
        ("years", ("2012",), {"years 2012": "sts/2012"}, set()),
        ("years", ("2012", "2013"), {"years 2013": "sts/2013", "years 2012": "sts/2012"}, {"sts/2012"}),
        ("whole", (), {"whole": "sts/all"}, set()),
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


def test_the_table_of_stsb_is_as_it_was():
    columns = RECIPES["simcse"].task.columns
    assert list(columns.items())[:2] == [("STS-B", "sts/test"), ("STS-B dev", "sts/validation")]
