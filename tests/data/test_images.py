import io
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from jaxembed.data import load
from jaxembed.data.images import Images, read_images

generator = np.random.default_rng(0)
GREY = generator.integers(0, 256, (5, 6, 4), dtype=np.uint8)
COLOUR = generator.integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def table(contents: list, labels: list | None = None, label_type=None, **more) -> datasets.Dataset:
    columns = {"image": [content and {"bytes": content, "path": None} for content in contents], **more}
    features = {"image": datasets.Image()} | {name: datasets.Value("string") for name in more}
    if labels is not None:
        columns["label"] = labels
        features["label"] = label_type or datasets.ClassLabel(names=["cat", "dog", "emu"])
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Writes a dataset where JAXEMBED_DATA points to."""
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path / "data"))

    def write(dataset: datasets.Dataset, name: str = "mine", split: str = "train") -> Path:
        path = tmp_path / f"data/{name}/{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.to_parquet(path)
        return path

    return write


def test_lossless_images_come_back_as_they_were(keep):
    keep(table([encoded(x) for x in COLOUR], [2, 0, 1, 1, 0]))
    for cache in (True, False):
        images = read_images("mine", cache=cache)
        assert np.array_equal(images.images, COLOUR)
        assert (images.labels.dtype, images.labels.tolist()) == (np.int32, [2, 0, 1, 1, 0])
        assert images.names == ("cat", "dog", "emu")
    keep(table([encoded(x) for x in GREY]), split="test")
    grey = read_images("mine", split="test", label=None)
    assert np.array_equal(grey.images, GREY[..., None])
    assert (grey.labels, grey.names) == (None, ())
    wide = read_images("mine", split="test", label=None, channels=3)
    assert np.array_equal(wide.images, np.repeat(GREY[..., None], 3, axis=3))


def test_fashion_mnist_small_equals_what_datasets_decodes():
    images = read_images("fashion-mnist-small", split="test")
    theirs = load("fashion-mnist-small", "test")
    assert np.array_equal(images.images[..., 0], np.stack([np.asarray(row) for row in theirs["image"]]))
    assert images.labels.tolist() == theirs["label"][:]
    assert images.names == tuple(theirs.features["label"].names)
    assert np.bincount(images.labels).tolist() == [100] * 10
    assert np.bincount(load("fashion-mnist-small", "train")["label"]).tolist() == [500] * 10


def test_modes_turns_and_sizes_against_pillow():
    whole = Image.fromarray(np.kron(COLOUR[0], np.ones((5, 4, 1))).astype(np.uint8))  # 30 high, 16 wide
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    clear = np.dstack([COLOUR[0], np.full((6, 4), 128, np.uint8)])
    white = np.round(COLOUR[0] * (128 / 255) + 255 * (127 / 255))
    rows = {
        "jpeg": (encoded(whole, "JPEG", quality=50), Image.open(io.BytesIO(encoded(whole, "JPEG", quality=50)))),
        "turned": (encoded(whole, exif=exif), whole.transpose(Image.Transpose.ROTATE_270)),
        "palette": (encoded(whole.quantize(8)), whole.quantize(8).convert("RGB")),
        "grey": (encoded(whole.convert("L")), whole.convert("L").convert("RGB")),
    }
    out = read_images(table([content for content, _ in rows.values()]), label=None, size=(12, 9)).images
    assert out.shape == (4, 12, 9, 3)
    for name, mine, theirs in zip(rows, out, (image for _, image in rows.values()), strict=True):
        assert np.array_equal(mine, np.asarray(theirs.resize((9, 12), Image.Resampling.BILINEAR))), name
    assert read_images(table([encoded(whole)]), label=None, size=7).images.shape == (1, 7, 7, 3)
    over = read_images(table([encoded(clear)]), label=None).images[0]
    assert np.abs(over - white).max() <= 1
    deep = read_images(table([encoded(GREY[0].astype(np.uint16) * 256 + 77)]), label=None).images
    assert np.array_equal(deep[0, ..., 0], GREY[0])  # 16 bits a pixel
    luma = read_images(table([encoded(COLOUR[0])]), label=None, channels=1).images[0, ..., 0]
    assert np.abs(luma - COLOUR[0] @ [0.299, 0.587, 0.114]).max() <= 1


RAMP = np.arange(64).reshape(8, 8) * 512  # 64 levels of 16 bits, as files of many kinds hold them


def tiff(levels: np.ndarray) -> bytes:
    """A TIFF file of grey levels of any type, which Pillow itself cannot write."""
    kind = {"u": 1, "i": 2, "f": 3}[levels.dtype.kind]
    (height, width), bits, start = levels.shape, 8 * levels.itemsize, 8 + 2 + 10 * 12 + 4
    tags = ((256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, start), (277, 1), (278, height),
            (279, levels.nbytes), (339, kind))  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + np.ascontiguousarray(levels).tobytes()


def pgm(levels: np.ndarray, most: int) -> bytes:
    return b"P5 %d %d %d\n" % (*levels.shape[::-1], most) + levels.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "content",
    [
        encoded(RAMP.astype(np.uint16)), tiff(RAMP.astype(np.uint16)), tiff(RAMP.astype(np.int16)),
        tiff((RAMP / 256 / 255).astype(np.float32)), tiff((RAMP >> 8).astype(np.int32)), pgm(RAMP, 65535),
    ],
    ids=["png 16", "tiff 16", "tiff signed 16", "tiff float", "tiff 32 of 8", "pgm 16"],
)  # fmt: skip
def test_wide_grey_levels_keep_their_steps(content):
    found = read_images(table([content]), label=None).images
    assert found.shape == (1, 8, 8, 1)
    assert np.array_equal(found[0, ..., 0], RAMP >> 8)
    assert len(np.unique(found)) == 64
    colour = read_images(table([content]), label=None, channels=3).images
    assert np.array_equal(colour[0], np.repeat(found[0], 3, -1))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (RAMP.astype(np.int32), "its levels of 32 bits go up to 32256, .* save it with 8 or 16 bits"),
        ((RAMP - 1).astype(np.int16), "its levels go down to -1"),
        (RAMP.astype(np.float32), "its floats lie between 0 and 32256: scale them to 0 to 1"),
        (np.full((2, 2), np.nan, np.float32), "its floats lie between nan and nan"),
    ],
)
def test_grey_levels_of_an_unknown_scale_are_refused(pixels, message):
    with pytest.raises(ValueError, match=f"row 0 of the dataset cannot be decoded: {message}"):
        read_images(table([tiff(pixels)]), label=None)


def test_grey_until_a_colour_image_comes(monkeypatch):
    monkeypatch.setattr("jaxembed.data.decode.ROWS", 2)
    mixed = read_images(table([encoded(x) for x in [*GREY, COLOUR[0]]]), label=None)
    assert np.array_equal(mixed.images[:5], np.repeat(GREY[..., None], 3, axis=3))
    assert np.array_equal(mixed.images[5], COLOUR[0])


def test_several_sizes_are_named(keep):
    keep(table([encoded(x) for x in [*GREY, GREY[0, :5], GREY[0, :, :3]]]))
    with pytest.raises(ValueError, match=r"mine/train have several sizes .*6×4 \(5\), 5×4 \(1\), 6×3 .*size=\(6, 4\)"):
        read_images("mine", label=None)
    assert read_images("mine", label=None, size=(6, 4)).images.shape == (7, 6, 4, 1)


# -- damaged images


def test_corrupt_images(keep, monkeypatch):
    monkeypatch.setattr("jaxembed.data.decode.ROWS", 3)
    whole = encoded(COLOUR[0])
    damaged = [b"no image", whole[:-30], b"", None, whole[:40] + b"\0\0\0\0" + whole[44:]]
    for content in damaged:
        with pytest.raises(
            ValueError, match=r"row 4 of the dataset cannot be decoded: .+; drop it or pass skip_corrupt"
        ):
            read_images(table([encoded(x) for x in COLOUR[:4]] + [content]), label=None)
    contents = [encoded(x) for x in COLOUR]
    contents[1:1], contents[4:4] = damaged[:2], damaged[2:]
    bad = [1, 2, 4, 5, 6]
    keep(table(contents, [0, 1, 1, 1, 2, 2, 2, 0, 1, 2]))
    for cache in (True, True, False):
        with pytest.warns(UserWarning, match=r"5 of 10 images of mine/train cannot be .*: rows 1, 2, 4, 5, 6"):
            images = read_images("mine", skip_corrupt=True, cache=cache)
        assert np.array_equal(images.images, COLOUR)
        assert images.labels.tolist() == [0, 1, 0, 1, 2]
        assert images.origin["skipped"] == bad
    with pytest.raises(ValueError, match="row 1 of mine/train cannot be decoded: it is no image of a known format"):
        read_images("mine")
    with pytest.raises(ValueError, match="none of the 2 images of the dataset can be decoded"):
        read_images(table(damaged[:2]), label=None, skip_corrupt=True)


# -- labels


def test_kinds_of_labels():
    contents = [encoded(x) for x in GREY]

    def labels(values, kind, **options):
        images = read_images(table(contents, values, datasets.Value(kind)), **options)
        return images.labels.tolist(), images.names

    assert labels(["b", "c", "a", "b", "b"], "string") == ([1, 2, 0, 1, 1], ("a", "b", "c"))
    assert labels(["b", "c", "b", "b", "b"], "string", names=["c", "a", "b"]) == ([2, 0, 2, 2, 2], ("c", "a", "b"))
    assert labels([3, 0, 1, 1, 0], "int64") == ([3, 0, 1, 1, 0], ("0", "1", "2", "3"))
    assert labels([1, 0, 1, 1, 0], "int8", names=["x", "y", "z"]) == ([1, 0, 1, 1, 0], ("x", "y", "z"))
    assert labels([True, False, True, True, False], "bool") == ([1, 0, 1, 1, 0], ("0", "1"))
    named = read_images(table(contents, [2, 0, 1, 1, 0]), names=["emu", "dog", "cat"])
    assert named.labels.tolist() == [0, 2, 1, 1, 2]


def test_wrong_labels():
    contents = [encoded(x) for x in GREY[:3]]
    string, number = datasets.Value("string"), datasets.Value("int64")
    for values, kind, names, message in [
        ([0, None, 1], None, None, "row 1 of the dataset has no label in the column 'label'"),
        ([0, 1, -1], number, None, r"row 2 .* label -1, outside 0\.\.1"),
        ([0, 1, -1], None, None, r"row 2 .* label -1, outside 0\.\.2"),  # how hubs write unknown classes
        ([0, 3, 1], number, ["x", "y"], r"row 1 .* label 3, outside 0\.\.1"),
        ([0, 5_000_000, 1], number, None, r"row 1 .* label 5000000, outside"),
        (["a", "q", "b"], string, ["a", "b"], "row 1 .* label 'q', not among the names"),
        ([0, 2, 1], None, ["cat", "dog"], "row 1 .* label 'emu', not among the names"),
        ([0.0, float("nan"), 1.0], datasets.Value("float32"), None, "holds float, not classes"),
    ]:
        with pytest.raises(ValueError, match=rf"{message}.*pass label=None|{message}.*or pass label=None"):
            read_images(table(contents, values, kind), names=names)
    pixels = GREY[..., None]
    with pytest.raises(ValueError, match=r"image 3 has the label 2, outside 0\.\.1"):
        Images(pixels, np.array([0, 1, 0, 2, 0], np.int32), ("a", "b"), "f")
    with pytest.raises(ValueError, match=r"as int32 \[5\], found int64 \[5\]"):
        Images(pixels, np.zeros(5, np.int64), ("a",), "f")
    with pytest.raises(ValueError, match=r"found float64 \[5, 6, 4, 1\]"):
        Images(pixels.astype(float), None, (), "f")
    with pytest.raises(ValueError, match=r"found uint8 \[5, 6, 4\]"):
        Images(GREY, None, (), "f")


def test_wrong_columns_and_settings():
    data = table([encoded(GREY[0])], name=["x"])
    with pytest.raises(ValueError, match=r"the dataset has no column 'picture': its columns are image, name$"):
        read_images(data, column="picture")
    with pytest.raises(ValueError, match="no column 'label': its columns are image, name; pass label=None"):
        read_images(data)
    with pytest.raises(ValueError, match="the column 'name' of the dataset holds string, not encoded images"):
        read_images(data, column="name", label=None)
    with pytest.raises(ValueError, match="has no rows"):
        read_images(data.select([]), label=None)
    with pytest.raises(ValueError, match="one split of one, not a DatasetDict"):
        read_images(datasets.DatasetDict(train=data))
    for options in ({"size": 0}, {"size": (3, 4, 5)}, {"size": (-1, 4)}):
        with pytest.raises(ValueError, match="size must be a positive side"):
            read_images(data, label=None, **options)
    with pytest.raises(ValueError, match="channels must be"):
        read_images(data, label=None, channels=4)
    with pytest.raises(ValueError, match="max_images must be"):
        read_images(data, label=None, max_images=-1)


# -- the cache


def test_cache_is_used_and_keyed_by_content_and_settings(keep, monkeypatch):
    path = keep(table([encoded(x) for x in COLOUR], [2, 0, 1, 1, 0]))
    first = read_images("mine")
    assert isinstance(first.images, np.memmap)
    with monkeypatch.context() as patch:
        patch.setattr("jaxembed.data.images._decode", lambda *_: pytest.fail("decoded again"))
        again = read_images("mine")
    assert np.array_equal(again.images, COLOUR)
    assert again.labels.tolist() == [2, 0, 1, 1, 0]
    assert again.summary() == first.summary() == read_images("mine", cache=False).summary()
    options = [{"label": None}, {"size": 3}, {"size": (3, 4)}, {"channels": 1}, {"max_images": 2}]
    options += [{"names": ["emu", "dog", "cat"]}]
    others = [read_images("mine", **option).fingerprint for option in options]
    path.unlink()
    keep(table([encoded(x) for x in COLOUR[::-1]], [2, 0, 1, 1, 0]))
    others += [first.fingerprint, read_images("mine").fingerprint]
    assert len(set(others)) == len(options) + 2
    assert np.array_equal(read_images("mine").images, COLOUR[::-1])


def test_a_missing_file_is_named(tmp_path):
    there = tmp_path / "there.png"
    there.write_bytes(encoded(COLOUR[0]))
    kind = datasets.Features({"image": datasets.Image(decode=False)})
    rows = [{"bytes": None, "path": str(path)} for path in (there, tmp_path / "gone.png")]
    data = datasets.Dataset.from_dict({"image": rows}, features=kind)
    with pytest.raises(ValueError, match=r"row 1 .* cannot be decoded: there is no file .*gone\.png; drop it"):
        read_images(data, label=None)
    with pytest.warns(UserWarning, match="1 of 2 images .* left out"):
        assert len(read_images(data, label=None, skip_corrupt=True)) == 1
    for skip in (False, True):
        with pytest.raises(ValueError, match=r"none of the 1 images .* row 0: there is no file .*gone\.png"):
            read_images(data.select([1]), label=None, skip_corrupt=skip)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "images.json"])
def test_damaged_cache_is_built_again(keep, tmp_path, name):
    keep(table([encoded(x) for x in COLOUR], [2, 0, 1, 1, 0]))
    for damage in ("missing", "cut", "changed"):
        read_images("mine")
        (entry,) = (tmp_path / "cache/images").iterdir()
        content = (entry / name).read_bytes()
        (entry / name).unlink()
        if damage != "missing":
            (entry / name).write_bytes(content[:-5] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.warns(UserWarning, match="the cached images .* damaged .*: building it again"):
            after = read_images("mine")
        assert np.array_equal(after.images, COLOUR)
        assert after.labels.tolist() == [2, 0, 1, 1, 0]


def test_datasets_in_memory_are_told_apart_by_content(tmp_path):
    data = table([encoded(x) for x in COLOUR], [2, 0, 1, 1, 0])
    images = read_images(data.select([3, 1]))
    assert np.array_equal(images.images, COLOUR[[3, 1]])
    assert images.labels.tolist() == [1, 0]
    assert images.fingerprint == read_images(data.select([3, 1])).fingerprint
    assert images.fingerprint != read_images(data.select([1, 3])).fingerprint
    assert not (tmp_path / "cache").exists()
    json.dumps(images.summary())


@pytest.mark.slow
def test_warm_start_needs_no_reader_of_datasets(keep):
    keep(table([encoded(x) for x in COLOUR], [2, 0, 1, 1, 0]))
    code = """
import sys
from jaxembed.data.images import read_images
print(len(read_images("mine")), [name for name in ("datasets", "PIL", "pyarrow") if name in sys.modules])
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout for run in runs] == ["5 ['datasets', 'PIL', 'pyarrow']\n", "5 []\n"]


# -- parts


def test_head_and_single_rows(keep):
    keep(table([encoded(x) for x in COLOUR], [2, 0, 1, 1, 0]))
    images = read_images("mine")
    part = images.head(2)
    assert np.array_equal(part.images, COLOUR[:2])
    assert (part.labels.tolist(), part.names) == ([2, 0], images.names)
    assert images.head(0) is images.head(5) is images.head(9) is images
    assert len({images.fingerprint, part.fingerprint, images.head(3).fingerprint}) == 3
    one = read_images("mine", max_images=1)
    assert (one.images.shape, one.labels.tolist()) == ((1, 6, 4, 3), [2])
    summary = json.loads(json.dumps(part.summary()))
    assert {"images": 2, "shape": [6, 4, 3], "classes": 3, "name": "mine", "split": "train"}.items() <= summary.items()


# -- the real data


@pytest.mark.skipif(not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA is not set: needs fashion-mnist")
def test_shipped_images_are_the_first_of_each_class(monkeypatch, data_folder):
    small = read_images("fashion-mnist-small", split="test")
    monkeypatch.setenv("JAXEMBED_DATA", data_folder)
    whole = read_images("fashion-mnist", split="test", max_images=1_200)
    rows = np.sort(np.concatenate([np.flatnonzero(whole.labels == label)[:100] for label in range(10)]))
    assert np.array_equal(small.images, whole.images[rows])
    assert np.array_equal(small.labels, whole.labels[rows])


@pytest.mark.skipif(not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA is not set: needs cifar10-jpeg")
def test_real_jpegs_equal_pillows(monkeypatch, data_folder):
    monkeypatch.setenv("JAXEMBED_DATA", data_folder)
    images = read_images("cifar10-jpeg", split="test", max_images=300)
    theirs = load("cifar10-jpeg", "test").select(range(300))
    assert np.array_equal(images.images, np.stack([np.asarray(row) for row in theirs["image"]]))
    assert images.names[0] == "airplane"


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_parts_of_their_images(channels):
    ramp = np.linspace(0, 200, 40).astype(np.uint8)  # from left to right
    images = np.broadcast_to(ramp[None, None, :, None], (50, 30, 40, channels)).copy()
    found = Images(images, None, (), "0" * 32)
    crops = found.crops()
    assert crops.shape == images.shape
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops, found.crops())
    assert np.any(crops != found.crops(seed=1))
    steps = np.diff(crops[:, 0, :, 0].astype(int), axis=1)
    mirrored = (steps <= 0).all(1)
    assert ((steps >= 0).all(1) | mirrored).all()
    assert 10 < mirrored.sum() < 40
    # A part of .3 to 1 of the area has .55 to 1 of the width, and so of the ramp.
    reach = np.ptp(crops[:, 0, :, 0].astype(int), axis=1) / 200
    assert 0.48 < reach.min() < 0.7
    assert reach.max() > 0.9
    down = replace(found, images=np.swapaxes(images, 1, 2).copy()).crops()[:, :, 0, 0].astype(int)  # from top to bottom
    assert (np.diff(down, axis=1) >= 0).all()  # never upside down
    reach = np.ptp(down, axis=1) / 200
    assert 0.45 < reach.min() < 0.7
    assert reach.max() > 0.9
