"""Raw texts and pictures to a method's examples."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jaxembed.data.images import read_images
from jaxembed.data.inputs import ImageInput, TextInput, kind_of, listed, read_inputs
from jaxembed.data.tokenized import text_rows
from jaxembed.data.tokens import read_tokenizer, train_tokenizer

TEXTS = ["the king rules", "a queen rules the land", "land"]
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def other_makers(folder):
    """A tokenizer.json whose padding is no 0 and whose ends have names that have to be told."""
    tokenizer = train_tokenizer(TEXTS, vocab_size=60, kind="word", min_count=1, cache=False)
    text = tokenizer.core.to_str()
    for old, new in (("[PAD]", "<none>"), ("[UNK]", "<unk>"), ("[CLS]", "<open>"), ("[SEP]", "<close>")):
        text = text.replace(old, new)
    known = json.loads(text)
    known["model"]["vocab"] |= {"<unk>": 0, "<none>": 1}
    for token in known["added_tokens"]:
        token["id"] = known["model"]["vocab"][token["content"]]
    (folder / "theirs.json").write_text(json.dumps(known))
    return read_tokenizer(folder / "theirs.json", pad="<none>", cls="<open>", sep="<close>")


@pytest.mark.parametrize("theirs", [False, True])
def test_texts_survive_a_folder(tmp_path, theirs):
    ours = train_tokenizer(TEXTS, vocab_size=60, kind="wordpiece", min_count=1, cache=False)
    tokenizer = other_makers(tmp_path) if theirs else ours
    text_input = TextInput(tokenizer, 5)
    kept = json.loads(json.dumps({"text": text_input.save(tmp_path)}))
    again = read_inputs(tmp_path, kept)["text"]
    expected = text_rows(TEXTS, tokenizer, 5)
    assert expected.shape == (3, 5)
    np.testing.assert_array_equal(text_input.examples(TEXTS)["ids"], expected)
    np.testing.assert_array_equal(again.examples(TEXTS)["ids"], expected)
    assert again.examples(["land"])["ids"].shape == (1, 3) or not theirs
    assert (again.blank(2).shape, again.blank(2, 9).shape) == ((2, 4), (2, 5))


def test_whole_texts_and_buckets_survive_a_folder(tmp_path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=60, kind="word", min_count=1, cache=False).with_buckets(9)
    made = TextInput(tokenizer, 0)
    again = read_inputs(tmp_path, json.loads(json.dumps({"text": made.save(tmp_path)})))["text"]
    texts = [*TEXTS, "an unknown king " * 40]
    np.testing.assert_array_equal(again.examples(texts)["ids"], made.examples(texts)["ids"])
    assert made.examples(texts)["ids"].shape == (4, 122)
    assert made.examples(["unknown"])["ids"][0, 1] >= len(tokenizer) - 9
    assert [made.blank(2, length).shape for length in (1, 9, 66, 122, 129)] == [(2, n) for n in (4, 12, 80, 128, 160)]


def test_pictures_are_those_that_read_images_makes(tmp_path):
    import datasets

    files = []
    for mode in ("RGB", "L", "RGBA", "P"):
        image = Image.fromarray(PICTURE).convert(mode)
        content = BytesIO()
        image.save(content, "PNG")
        files.append({"bytes": content.getvalue(), "path": None})
        (tmp_path / f"{mode}.png").write_bytes(content.getvalue())
    column = datasets.Features({"image": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"image": files}, features=column)
    for channels in (1, 3):
        expected = read_images(dataset, label=None, size=(16, 12), channels=channels).images
        takes = read_inputs(tmp_path, {"image": ImageInput(16, 12, channels).save(tmp_path)})["image"]
        paths = [tmp_path / f"{mode}.png" for mode in ("RGB", "L", "RGBA", "P")]
        np.testing.assert_array_equal(takes.examples(paths)["images"], expected)
        many = takes.examples(paths * 10)["images"]  # by threads
        np.testing.assert_array_equal(many, np.concatenate([expected] * 10))
        np.testing.assert_array_equal(takes.examples([PICTURE])["images"], expected[:1])
        np.testing.assert_array_equal(takes.examples([np.asarray(Image.open(paths[1]))])["images"], expected[1:2])
    as_they_are = ImageInput(40, 30, 3).examples(PICTURE[None])["images"]
    np.testing.assert_array_equal(as_they_are, PICTURE[None])


def test_one_thing_or_several():
    for one in ("text", PICTURE, PICTURE[..., 0], PICTURE[..., :1], Image.fromarray(PICTURE)):
        assert listed(one)[1]
    for several in (["text"], np.array(["text"]), PICTURE[None], [PICTURE], iter([PICTURE])):
        things, single = listed(several)
        assert (len(things), single) == (1, False)
    with pytest.raises(ValueError, match=r"shape \(40, 30, 2\) is no picture"):
        listed(PICTURE[..., :2])
    for wrong in (None, 3, b"text", {"text": 1}):
        with pytest.raises(ValueError, match="expected texts or pictures"):
            listed(wrong)
    assert [kind_of(thing) for thing in ("a", PICTURE, 3, None, np.array(["a"]))] == ["text", "image", None, None, None]


def test_slips_are_told_with_their_place(tmp_path):
    text = TextInput(train_tokenizer(TEXTS, vocab_size=60, kind="word", min_count=1, cache=False), 5)
    with pytest.raises(ValueError, match="number 12 is a picture"):
        text.examples(["a", "b", PICTURE], first=10)
    with pytest.raises(ValueError, match="text 1 is blank"):
        text.examples(["a", " \n"])
    with pytest.raises(ValueError, match="number 11 is a text"):
        ImageInput(8, 8, 1).examples([PICTURE, "cat.png"], first=10)
    with pytest.raises(ValueError, match="unknown input 'texts': did you mean 'text'"):
        read_inputs(tmp_path, {"texts": {}})
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json"):
        read_inputs(tmp_path, {"text": {"max_length": 5, "ends": {}}})
