"""What the data do not allow to measure is known before training, with its reason, and is a gap in the figures."""

import numpy as np
import pytest

from jaxembed.data.images import Images as Pictures
from jaxembed.data.pairs import ImageTexts as Pairs
from jaxembed.data.pairs import ScoredPairs
from jaxembed.tasks.base import GEOMETRY, Read, Unmeasured
from jaxembed.tasks.image_texts import ImageTexts
from jaxembed.tasks.images import Images
from jaxembed.tasks.sentences import Sentences


def of(kind, read, **settings):
    """A task whose data are given."""
    return type(f"Given{kind.__name__}", (kind,), {"read": lambda self: read})("given", **settings)


def pictures(labels):
    pixels = np.arange(4 * len(labels), dtype=np.uint8).reshape(-1, 2, 2, 1)
    return Pictures(pixels, np.array(labels, np.int32), ("a", "b", "c"), "f")


SHAPE = {f"geometry/{name}": "one test image" for name in GEOMETRY}


@pytest.mark.parametrize(
    ("train", "test", "few", "expected"),
    [
        ([0, 1] * 10, [0, 1], 2, {}),
        ([0] * 20, [0, 0], 0, {"probe/linear": "all training labels are 0: a probe needs two classes"}),
        ([0, 1] * 10, [0, 2], 0, dict.fromkeys(("probe/knn", "probe/linear"), "go up to 1, the greatest of the training")),
        ([0, 1] * 10, [1], 0, SHAPE),
        ([0, 1, 1] * 5, [0, 1], 6, {"probe/few": "a class has 5 training images, fewer than 6"}),
        ([0, 1], [0, 1], 0, {"probe/linear": "a share of 0.1 of 2 rows cannot be held out"}),
    ],
    ids=["all is well", "one class", "an unknown class", "one test image", "few labels", "few images"],
)  # fmt: skip
def test_classes_that_cannot_be_predicted(train, test, few, expected):
    known, rest = pictures(train), pictures(test)
    found = of(Images, Read(known, len(known), "f", {}, rest=rest), few=few).unmeasurable()
    assert found.keys() == expected.keys()
    assert all(reason in found[name] for name, reason in expected.items())


def sentences(scores):
    pairs = ScoredPairs(("a", "b", "c")[: len(scores)], ("d", "e", "f")[: len(scores)], np.array(scores), "f")
    return of(Sentences, Read(None, 3, "f", {}, rest=({"test": pairs}, {})), splits=("test",))


def test_pairs_without_a_correlation():
    for scores, reason in (([1.0], "two or more pairs, found 1"), ([2.0, 2.0, 2.0], "all 3 pairs have the score 2")):
        assert reason in sentences(scores).unmeasurable()["sts/test"]
    task = sentences([1.0, 2.0, 5.0])
    assert task.unmeasurable() == {}
    alike = {f"test/{side}": np.ones((3, 4), np.float32) for side in "ab"}
    figures = task.judge(alike)
    assert figures["sts/test"] == Unmeasured("all cosines, or all scores, are equal")
    assert figures["geometry/uniformity"] == Unmeasured("all vectors are equal")


def test_one_caption_for_all_pictures():
    pairs = Pairs.build(pictures([0, 1, 2]), ["a shoe", "A shoe", "a  shoe"])
    task = of(ImageTexts, Read(None, 3, "f", {}, rest=pairs))
    reason = "all 3 rows have the same text or id, so that every answer is right"
    assert task.unmeasurable() == dict.fromkeys(task.columns.values(), reason)
    figures = task.judge({part: np.eye(3, dtype=np.float32) for part in ("image", "text")})
    assert {figures[name] for name in task.columns.values()} == {Unmeasured(reason)}
