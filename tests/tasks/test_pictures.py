import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxembed.tasks.pictures import retrieval_grid
from jaxembed.tracking.thumbnails import columns_of, sprite

RNG = np.random.default_rng(0)
GREEN, RED = (34, 139, 70), (208, 44, 44)


def images(*shape):
    return RNG.integers(0, 255, shape, dtype=np.uint8)  # never white, which is the paper


def content(picture):
    """The boxes of rows and columns that are not all paper: [(first, last + 1), ...] of each."""
    found = []
    for axis in (1, 0):
        filled = np.flatnonzero((picture != 255).any((axis, 2)))
        cuts = np.flatnonzero(np.diff(filled) > 1)
        found.append(list(zip(filled[np.r_[0, cuts + 1]], filled[np.r_[cuts, -1]] + 1, strict=True)))
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_grid_shows_every_pixel_in_its_place_and_a_frame_for_right_and_wrong(channels, scale):
    queries, neighbours = images(2, 4, 5, channels), images(2, 3, 4, 5, channels)
    correct = np.array([[True, False, True], [False, False, True]])
    rows, columns = content(retrieval_grid(queries, neighbours, correct, scale=scale))
    picture = retrieval_grid(queries, neighbours, correct, scale=scale)
    assert picture.dtype == np.uint8
    assert (len(rows), len(columns)) == (2, 4)
    frame = max(2, scale)
    for row in range(2):
        for column in range(4):
            (top, bottom), (left, right) = rows[row], columns[column]
            cell = picture[top:bottom, left:right]
            if column:
                color = GREEN if correct[row, column - 1] else RED
                inner = cell[frame:-frame, frame:-frame]
                assert (cell[0] == color).all()
                assert (cell[:, -1] == color).all()
                assert (cell[frame - 1, frame:-frame] == color).all()
                expected = neighbours[row, column - 1]
            else:
                inner, expected = cell[frame:-frame], queries[row]
            assert inner.shape == (4 * scale, 5 * scale, 3)
            for i, j in np.ndindex(scale, scale):
                np.testing.assert_array_equal(inner[i::scale, j::scale], np.broadcast_to(expected, (4, 5, 3)))


def test_a_grid_without_judgement_has_no_frames():
    rows, columns = content(retrieval_grid(images(1, 4, 5, 3), images(1, 2, 4, 5, 3), scale=2))
    assert [last - first for first, last in (*rows, *columns)] == [8, 10, 10, 10]


def test_a_caption_is_written_to_the_left_and_a_long_one_is_cut():
    neighbours = images(3, 1, 40, 30, 3)
    captions = ["Blue shirt\nwith a collar", "", "a very long name that goes on and on " * 50]
    picture = retrieval_grid(None, neighbours, np.ones((3, 1), bool), captions, scale=1)
    left = content(picture)[1][-1][0]  # where the neighbours begin
    assert left > 100
    paper = picture[:, : left - 6]
    cell = len(picture) // 3
    ink = [int((paper[i * cell : (i + 1) * cell] < 128).any(-1).sum()) for i in range(3)]
    assert ink[1] == 0
    assert 0 < ink[0] < ink[2]
    assert (paper[:, -2:] == 255).all()  # no line runs into the pictures
    other = retrieval_grid(None, neighbours, np.ones((3, 1), bool), ["Red shirt", *captions[1:]], scale=1)
    assert (other[:cell] != picture[:cell]).any()
    np.testing.assert_array_equal(other[cell + 8 :], picture[cell + 8 :])


def test_a_grid_of_wrong_shapes_is_told():
    queries, neighbours = images(2, 4, 5, 3), images(2, 3, 4, 5, 3)
    for arguments, message in (
        ((queries, neighbours[0]), r"neighbours are uint8 \[q, k, h, w, 1 or 3\]"),
        ((queries, neighbours / 255), "neighbours are uint8 .* got float64"),
        ((queries[:1], neighbours), r"queries must be uint8 \[2, 4, 5, 3\], got uint8 \[1, 4, 5, 3\]"),
        ((queries, neighbours, [True]), r"correct must be \[2, 3\]"),
        ((queries, neighbours, None, ["one"]), "2 queries need as many captions, got 1"),
        ((None, neighbours), "a query is an image or a text"),
        ((queries, neighbours, None, None, 0), "scale must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval_grid(*arguments)


@pytest.mark.parametrize(("n", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (10_000, 100), (10_001, 101)])
def test_a_sprite_is_a_square_of_thumbnails_row_by_row(n, side):
    thumbnails = images(n, 2, 3, 1)
    sheet = sprite(thumbnails)
    assert columns_of(n) == side
    assert sheet.shape == (side * 2, side * 3, 1)
    for i in {0, n // 2, n - 1}:
        top, left = 2 * (i // side), 3 * (i % side)
        np.testing.assert_array_equal(sheet[top : top + 2, left : left + 3], thumbnails[i])


def test_thumbnails_shrink_until_the_sheet_is_small_enough():
    flat = np.broadcast_to(np.arange(5, dtype=np.uint8)[:, None, None, None] * 50, (5, 40, 20, 3))
    sheet = sprite(flat, max_side=60)
    assert sheet.shape == (60, 30, 3)  # 3 x 20 high, the shape kept
    for i in range(9):
        place = sheet[20 * (i // 3) : 20 * (i // 3 + 1), 10 * (i % 3) : 10 * (i % 3 + 1)]
        assert (place == (50 * i if i < 5 else 0)).all()
    with pytest.raises(ValueError, match="5 thumbnails do not fit on 2 x 2 pixels"):
        sprite(flat, max_side=2)
    for wrong in (flat[0], flat[:0], flat / 255):
        with pytest.raises(ValueError, match=r"a sprite is made of uint8 \[n, h, w, 1 or 3\]"):
            sprite(wrong)


@pytest.mark.skipif(not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA names no folder of datasets")
def test_real_clothes():
    import pyarrow.parquet as parquet

    table = parquet.read_table(Path(os.environ["JAXEMBED_DATA"]) / "fashion-mnist" / "test.parquet").slice(0, 200)
    pixels = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in table["image"].to_pylist()]
    clothes, labels = np.stack(pixels)[..., None], np.asarray(table["label"])
    flat = clothes.reshape(200, -1).astype(np.float64)
    nearest = ((flat[:5, None] - flat[None]) ** 2).sum(-1).argsort(1)[:, :4]
    correct = labels[nearest] == labels[:5, None]
    picture = retrieval_grid(clothes[:5], clothes[nearest], correct)
    assert correct[:, 0].all()  # an image is nearest to itself
    assert 0.4 < correct.mean() < 1
    assert picture.shape == (5 * 60 + 4 * 2 + 12, 60 + 2 + 6 + 2 + 4 * 60 + 3 * 2 + 12, 3)
    assert (picture == GREEN).all(-1).sum() == correct.sum() * (60**2 - 56**2)
    assert (picture == RED).all(-1).sum() == (~correct).sum() * (60**2 - 56**2)
