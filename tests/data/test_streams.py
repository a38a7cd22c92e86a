import gzip
import os
from dataclasses import replace

import datasets
import numpy as np
import pytest
from tokenizers import Tokenizer as Core
from tokenizers import models, pre_tokenizers

from jaxembed.data import streams
from jaxembed.data.inputs import TextInput
from jaxembed.data.streams import (
    open_stream,
    read_stream,
    stream_tokenizer,
    with_ends,
    with_mask,
    without_end,
    word_tokenizer,
)
from jaxembed.data.tokens import Tokenizer, encode, read_tokenizer, train_tokenizer

LINES = ["the cat sat on the mat", "", "a dog <unk> the cat", "   ", "the end ."]
TEXTS = [line for line in LINES if line.strip()]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES))
    return path


def test_words_are_those_between_spaces_and_eos_stands_around_every_text(file):
    texts = open_stream(file)
    assert list(texts) == TEXTS
    tokenizer = stream_tokenizer(texts, "word", 100)
    found = read_stream(texts, tokenizer)
    name = tokenizer.core.id_to_token
    assert [name(i) for i in found.tokens] == " <eos> ".join(["", *TEXTS, ""]).split()
    assert found.marks.cls == found.marks.sep == tokenizer.core.token_to_id("<eos>")
    assert [name(i) for i in (0, 1, 2, 3, len(tokenizer) - 1)] == ["[PAD]", "<unk>", "<eos>", "the", "[MASK]"]
    assert found.words.tolist() == [6, 5, 3]
    assert np.diff(found.offsets).tolist() == [8, 6, 4]  # a text ends with <eos>, and the first begins with one, too
    assert found.vocabulary_size == len(tokenizer) == len({*" ".join(TEXTS).split()}) + 3
    assert found.counts.sum() == len(found.tokens)


def test_a_word_that_is_written_like_an_end_is_an_unknown_word(tmp_path):
    lines = ["the <eos> cat", "[PAD] <eos> <eos>the [MASK] cat", "the cat <unk>"]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    tokenizer = stream_tokenizer(["the cat the"], "word", 100)
    found = read_stream(open_stream(tmp_path / "lines.txt"), tokenizer)
    name = tokenizer.core.id_to_token
    read = "<eos> the <unk> cat <eos> <unk> <unk> <unk> <unk> cat <eos> the cat <unk> <eos>"
    assert " ".join(name(i) for i in found.tokens) == read
    assert found.unknown.tolist() == [1, 4, 0]  # the text's own <unk> is a word
    assert found.unknown_share == 5 / 15
    assert found.summary()["unknown"] == 5
    assert found.part(1, 2).unknown.tolist() == [4]
    assert encode(tokenizer, lines[:1], 0).ids.tolist() == [found.tokens[:5].tolist()]
    # a tokenizer of others, which is not changed
    core = Core(models.WordLevel({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "the": 3, "<unk>": 4}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.save(str(tmp_path / "tokenizer.json"))
    theirs = stream_tokenizer([], str(tmp_path / "tokenizer.json"), 0)
    (tmp_path / "lines.txt").write_text("the cat\nthe [SEP] the")
    with pytest.raises(ValueError, match=r"holds '\[SEP\]', by which .*begins with 'the \[SEP\] the'"):
        read_stream(open_stream(tmp_path / "lines.txt"), theirs)


def test_what_bytes_or_letters_spell_is_not_unknown(file):
    texts = open_stream(file)
    assert read_stream(texts, stream_tokenizer(texts, "bpe", 300)).unknown.tolist() == [0, 0, 0]
    tokenizer = stream_tokenizer(["the cat sat on a mat"], "wordpiece", 60)
    assert read_stream(texts, tokenizer).unknown.tolist() == [0, 4, 2]  # dog < > . ; "unk" and "end" have letters


def test_other_tokens_are_as_the_tokenizer_encodes_each_text(file):
    texts = open_stream(file)
    tokenizer = with_mask(train_tokenizer(TEXTS, vocab_size=60, kind="wordpiece"))
    found = read_stream(texts, tokenizer)
    expected = encode(tokenizer, TEXTS, 0)
    for i, (row, length) in enumerate(zip(expected.ids, expected.lengths, strict=True)):
        np.testing.assert_array_equal(found.tokens[found.offsets[i] : found.offsets[i + 1]], row[:length])
    assert found.marks.mask == tokenizer.core.token_to_id("[MASK]") == len(tokenizer) - 1
    assert (
        tokenizer.core.encode("[MASK] a", add_special_tokens=False).ids[0] != found.marks.mask
    )  # in a text it is text


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_a_part_is_what_its_texts_alone_give(file, kind):
    texts = open_stream(file)
    tokenizer = stream_tokenizer(texts, kind, 300)
    whole = read_stream(texts, tokenizer)
    other = stream_tokenizer(texts, "wordpiece", 40)
    assert read_stream(texts, other).fingerprint == whole.fingerprint  # that of the texts, however they are cut
    file.write_text("\n".join(TEXTS[1:]))
    part, alone = whole.part(1, 3), read_stream(open_stream(file), tokenizer)
    np.testing.assert_array_equal(part.tokens, alone.tokens)
    np.testing.assert_array_equal(part.offsets, alone.offsets)
    np.testing.assert_array_equal(part.words, alone.words)
    assert part.fingerprint != whole.fingerprint


def test_texts_are_tokenised_once_and_mapped_from_the_cache(file, monkeypatch):
    texts = open_stream(file)
    tokenizer = stream_tokenizer(texts, "word", 100)
    first = read_stream(texts, tokenizer)
    monkeypatch.setattr(streams, "_write", lambda *_: pytest.fail("it is in the cache"))
    again = read_stream(texts, tokenizer, consecutive=True)
    assert isinstance(again.tokens, np.memmap)
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert again.marks.consecutive
    assert not first.marks.consecutive


def test_a_damaged_stream_is_made_again(file):
    texts = open_stream(file)
    tokenizer = stream_tokenizer(texts, "word", 100)
    first = np.array(read_stream(texts, tokenizer).tokens)
    (place,) = (streams.Path(os.environ["JAXEMBED_CACHE"]) / "streams").iterdir()
    with open(place / "tokens", "r+b") as damaged:
        damaged.write(b"\7")
    with pytest.warns(UserWarning, match="is damaged"):
        np.testing.assert_array_equal(read_stream(texts, tokenizer).tokens, first)


def test_padding_is_0_whatever_the_tokenizer(file, tmp_path):
    words = dict.fromkeys(" ".join(TEXTS).split())
    names = [*words, "[PAD]", "[CLS]", "[SEP]", "<mask>"]
    core = Core(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(names[-4:])
    core.save(str(tmp_path / "tokenizer.json"))
    tokenizer = with_mask(read_tokenizer(tmp_path / "tokenizer.json"))
    found = read_stream(open_stream(file), tokenizer)
    assert found.marks.mask == names.index("<mask>")  # its own
    assert (found.tokens != 0).all()
    assert found.tokens[1] == tokenizer.pad  # "the", whose id was 0


def test_columns_compressed_files_and_folders_give_the_same_tokens(file, tmp_path):
    (tmp_path / "packed").mkdir()
    with gzip.open(tmp_path / "packed" / "lines.txt.gz", "wt") as packed:
        packed.write("\n".join(LINES))
    column = datasets.Dataset.from_dict({"text": [*LINES, None]})
    words = datasets.Dataset.from_dict({"text": [line.split() for line in LINES]})
    tokenizer = word_tokenizer(TEXTS, 100)
    tokenizer = with_mask(tokenizer)
    first, *others = (
        read_stream(open_stream(source), tokenizer)
        for source in (file, tmp_path / "packed" / "lines.txt.gz", tmp_path / "packed", column, words)
    )
    for other in others:
        np.testing.assert_array_equal(first.tokens, other.tokens)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n \n")
    tokenizer = with_mask(word_tokenizer(["a b"], 10))
    with pytest.raises(ValueError, match="all are empty or blank"):
        read_stream(open_stream(path), tokenizer)
    with pytest.raises(ValueError, match="the texts hold no word"):
        word_tokenizer([" "], 10)
    with pytest.raises(ValueError, match="has no room for words"):
        word_tokenizer(["a"], 3)
    path.write_bytes(b"good\nbad \xff\n")
    with pytest.raises(ValueError, match="line 2 is not UTF-8"):
        list(open_stream(path))
    with pytest.raises(ValueError, match="a file or a dataset of texts"):
        open_stream([["a", "list"]])
    endless = replace(tokenizer, cls=None, sep=None)
    with pytest.raises(ValueError, match="no tokens at both ends"):
        read_stream(open_stream(path), endless)
    with pytest.raises(ValueError, match="no token that ends a text"):
        with_ends(endless)


def test_a_tokenizer_without_ends_has_one_token_for_both(file):
    core = Core(models.WordLevel({"<|endoftext|>": 0, "the": 1, "cat": 2, "<unk>": 3}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(["<|endoftext|>"])
    plain = Tokenizer(core, 4, None, None, 3, "gpt2's")  # its padding is behind the vocabulary
    found = read_stream(open_stream(file), with_mask(with_ends(plain)))
    assert found.marks == streams.Marks(4, 4, -1)  # the id 0 and that of padding have changed places
    assert found.tokens[:4].tolist() == [4, 1, 2, 3]
    assert found.vocabulary_size == 5
    assert replace(plain, sep=0).cls is None
    assert with_ends(replace(plain, sep=1)).cls == 1


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_a_causal_models_tokenizer_finds_its_end_again(file, kind, tmp_path):
    tokenizer = stream_tokenizer(open_stream(file), kind, 300)
    bare = without_end(tokenizer)
    assert encode(bare, ["the cat"], 0).ids.tolist() == encode(tokenizer, ["the cat"], 0).ids[:, :-1].tolist()
    opened = TextInput.open(tmp_path, **TextInput(bare, 0).save(tmp_path)).tokenizer
    assert (with_ends(opened).cls, with_ends(opened).sep) == (tokenizer.cls, tokenizer.sep)
    assert read_stream(open_stream(file), with_ends(opened)).marks == read_stream(open_stream(file), tokenizer).marks


@pytest.mark.skipif(
    not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA does not name the folder of the datasets"
)
def test_penn_treebank_has_the_published_numbers_of_words(data_folder, monkeypatch):
    monkeypatch.setenv("JAXEMBED_DATA", data_folder)
    tokenizer = stream_tokenizer(open_stream("ptb", split="train"), "word", 20_000)
    assert len(tokenizer) == 10_000 + 2  # <eos> and <unk> are among the 10,000; [PAD] and [MASK] are ours
    for split, words in {"train": 929_589, "validation": 73_760, "test": 82_430}.items():
        found = read_stream(open_stream("ptb", split=split), tokenizer)
        assert len(found.tokens) - 1 == found.words.sum() + found.texts == words
        assert found.unknown_share == 0  # its <unk> is a word
