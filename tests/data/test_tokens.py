import json
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxembed.data import load
from jaxembed.data.tokens import Tokenizer, encode, read_tokenizer, start_vectors, train_tokenizer, vocabulary
from jaxembed.vectors import KeyedVectors

KINDS = ("wordpiece", "bpe", "word")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
TEXTS = [
    "A man in a blue shirt is standing on a ladder cleaning a window.",
    "Two young, white males are outside near many bushes!",
    "The café's owner reads café menus; the man reads too.",
    "A blue man, two blue shirts and many windows.",
] * 2
LONG = TEXTS[0]


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(TEXTS, vocab_size=300, kind=kind, cache=False) for kind in KINDS}


def tokens(tokenizer: Tokenizer, text: str, max_length: int = 64) -> list[str]:
    found = encode(tokenizer, [text], max_length)
    return [vocabulary(tokenizer)[i] for i in found.ids[0, : found.lengths[0]]]


# -- training


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_ids_are_whole(trained, kind):
    tokenizer = trained[kind]
    words = vocabulary(tokenizer)
    assert words[:4] == SPECIAL
    assert (tokenizer.pad, tokenizer.cls, tokenizer.sep) == (0, 2, 3)
    assert tokenizer.unk == (None if kind == "bpe" else 1)
    assert len(set(words)) == len(words) == len(tokenizer) <= 300
    assert "" not in words
    assert json.loads(json.dumps(tokenizer.summary()))["kind"] == kind


def test_known_words_are_single_tokens(trained):
    assert tokens(trained["wordpiece"], "The blue CAFÉ!") == ["[CLS]", "the", "blue", "cafe", "!", "[SEP]"]
    assert tokens(trained["word"], "The blue CAFÉ! zebra") == ["[CLS]", "the", "blue", "café", "[UNK]", "[SEP]"]
    assert tokens(trained["bpe"], "The blue man") == ["[CLS]", "Ġthe", "Ġblue", "Ġman", "[SEP]"]
    cased = train_tokenizer(TEXTS, vocab_size=300, kind="word", lowercase=False, cache=False)
    assert {"The", "the"} <= set(vocabulary(cased))


def test_whole_words_are_the_most_frequent(trained):
    """Against `re` and `Counter`."""
    rows = load("enwik8-small", "train").select(range(20))["text"][:]
    counts = Counter(word for row in rows for word in re.findall(r"\w+", row.lower()))
    words = vocabulary(train_tokenizer(rows, vocab_size=504, kind="word", min_count=3, cache=False))[4:]
    assert len(words) == 500
    assert sorted((counts[word] for word in words), reverse=True) == sorted(counts.values(), reverse=True)[:500]
    few = vocabulary(train_tokenizer(TEXTS, kind="word", min_count=5, cache=False))[4:]
    seen = Counter(word for row in TEXTS for word in re.findall(r"\w+", row.lower()))
    assert set(few) == {word for word, count in seen.items() if count >= 5}


@settings(max_examples=30, deadline=None)
@given(st.text(st.sampled_from("aABé zéß日😀\t\n.,[]#Ġ_"), max_size=30))
def test_byte_level_loses_nothing(trained, text):
    """Against the text itself, in small letters and with composed accents."""
    tokenizer = trained["bpe"]
    found = encode(tokenizer, [text], 300)
    back = tokenizer.core.decode(found.ids[0, 1 : found.lengths[0] - 1].tolist(), skip_special_tokens=False)
    assert back.removeprefix(" ") == text.lower().removeprefix(" ")
    assert found.unknown == 0


@pytest.mark.slow
def test_training_does_not_depend_on_threads_and_hashes(tmp_path):
    code = """
from jaxembed.data import load
from jaxembed.data.tokens import train_tokenizer
rows = [row[i : i + 200] for row in load("enwik8-small", "train").select(range(4))["text"] for i in range(0, 6000, 200)]
print([train_tokenizer(rows, vocab_size=600, kind=kind, cache=False).fingerprint for kind in ("wordpiece", "bpe", "word")])
"""
    printed = set()
    for seed, threads, parallel in ((0, 1, "false"), (1, 2, "true"), (2, 4, "true")):
        env = {**os.environ, "PYTHONHASHSEED": str(seed), "RAYON_NUM_THREADS": str(threads)}
        env["TOKENIZERS_PARALLELISM"] = parallel
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        printed.add(run.stdout)
    assert len(printed) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_trained_tokenizers_are_kept(trained, tmp_path, monkeypatch, kind):
    first = train_tokenizer(TEXTS, vocab_size=300, kind=kind)
    assert first.fingerprint == trained[kind].fingerprint
    with monkeypatch.context() as patch:
        patch.setattr("jaxembed.data.tokens._finish", lambda core: pytest.fail("trained again"))
        again = train_tokenizer(iter(TEXTS), vocab_size=300, kind=kind)
    assert again.fingerprint == first.fingerprint
    assert again.summary() == first.summary()
    assert np.array_equal(encode(again, TEXTS, 16).ids, encode(first, TEXTS, 16).ids)
    train_tokenizer(TEXTS[:-1], vocab_size=300, kind=kind)
    train_tokenizer(TEXTS, vocab_size=299, kind=kind)
    train_tokenizer(TEXTS, vocab_size=300, kind=kind, min_count=1)
    train_tokenizer(TEXTS, vocab_size=300, kind=kind, lowercase=False)
    assert len(list((tmp_path / "cache/tokenizers").iterdir())) == 5


def test_damaged_tokenizer_is_trained_again(tmp_path):
    first = train_tokenizer(TEXTS, vocab_size=300)
    (entry,) = (tmp_path / "cache/tokenizers").iterdir()
    (entry / "tokenizer.json").write_text("{")
    with pytest.warns(UserWarning, match="the cached tokenizer .* damaged .*: building it again"):
        assert train_tokenizer(TEXTS, vocab_size=300).fingerprint == first.fingerprint


def test_what_cannot_be_trained():
    for texts, message in (
        (["a", None], "text 1 is None, not a string"),
        ("a text", "pass it in a list"),
        ([], "there are no texts"),
    ):
        with pytest.raises(ValueError, match=message):
            train_tokenizer(texts)
    for kind, needed in (("wordpiece", r"\d+ characters"), ("bpe", "256 bytes"), ("word", "1 words")):
        with pytest.raises(ValueError, match=f"vocab_size=4 has no room for {needed} and 4 special tokens: pass"):
            train_tokenizer(TEXTS, vocab_size=4, kind=kind)
    for kind in ("wordpiece", "word"):
        with pytest.raises(ValueError, match="hold no word that occurs min_count times"):
            train_tokenizer([" ", ""], kind=kind)
    with pytest.raises(ValueError, match="the kinds are wordpiece, bpe, word"):
        train_tokenizer(TEXTS, kind="unigram")
    with pytest.raises(ValueError, match="min_count must be"):
        train_tokenizer(TEXTS, min_count=0)


# -- encoding


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_against_the_library(trained, kind, monkeypatch):
    """Its own template, truncation and padding give the same ids."""
    monkeypatch.setattr("jaxembed.data.tokens.RUN", 3)
    tokenizer, texts = trained[kind], [*TEXTS, "man", "", "A zebra?"]
    theirs = tokenizers.Tokenizer.from_str(tokenizer.core.to_str())
    theirs.enable_padding(pad_id=0, pad_token="[PAD]")
    untouched = theirs.encode_batch(texts)
    for max_length in (3, 9, 200):
        theirs.enable_truncation(max_length)
        expected = theirs.encode_batch(texts)
        found = encode(tokenizer, texts, max_length)
        assert (found.ids.dtype, found.lengths.dtype) == (np.int32, np.int32)
        assert found.ids.tolist() == [one.ids for one in expected]
        assert found.mask.tolist() == [[bool(one) for one in row.attention_mask] for row in expected]
        assert found.lengths.tolist() == found.mask.sum(1).tolist()
        assert found.truncated == sum(sum(one.attention_mask) > max_length for one in untouched)
        assert found.unknown == (0 if kind == "bpe" else sum(row.ids.count(1) for row in expected))


def test_empty_texts_and_special_spellings(trained):
    texts = ["", " \n", "blue", "?!"]
    found = encode(trained["word"], texts, 10)
    assert found.empty == 3
    assert found.lengths.tolist() == [2, 2, 3, 2]
    assert found.ids[[0, 1, 3]].tolist() == [[2, 3, 0]] * 3
    assert encode(trained["word"], ["", ""], 10).ids.tolist() == [[2, 3]] * 2
    for kind in KINDS:
        ids = encode(trained[kind], ["blue [SEP] man [PAD]"], 40).ids[0]
        assert (list(ids).count(3), list(ids).count(0)) == (1, 0)
    summary = json.loads(json.dumps(found.summary()))
    assert summary == {"texts": 4, "longest": 3, "tokens": 9, "truncated": 0, "empty": 3, "unknown": 0}


def test_what_cannot_be_encoded(trained):
    for texts, message in (
        (["a", 3.0], "text 1 is 3.0, not a string"),
        ("a text", "pass it in a list"),
        ([], "there are no texts"),
    ):
        with pytest.raises(ValueError, match=message):
            encode(trained["word"], texts, 8)
    with pytest.raises(ValueError, match="max_length must be 3 or more"):
        encode(trained["word"], TEXTS, 2)


def test_ids_of_many_texts_are_kept(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxembed.data.tokens.MANY", len(TEXTS))
    plain = encode(trained["word"], TEXTS, 8, cache=False)
    encode(trained["word"], TEXTS[1:], 8)
    assert not (tmp_path / "cache").exists()
    first = encode(trained["word"], TEXTS, 8)
    with monkeypatch.context() as patch:
        patch.setattr("jaxembed.data.tokens._encode", lambda *_: pytest.fail("encoded again"))
        again = encode(trained["word"], TEXTS, 8)
    for found in (first, again):
        assert np.array_equal(found.ids, plain.ids)
        assert np.array_equal(found.lengths, plain.lengths)
        assert found.summary() == plain.summary()
    encode(trained["word"], TEXTS, 9)
    encode(trained["bpe"], TEXTS, 8)
    assert len(list((tmp_path / "cache/tokens").iterdir())) == 3
    for entry in (tmp_path / "cache/tokens").iterdir():
        (entry / "tokens.npz").write_bytes(b"PK")
    with pytest.warns(UserWarning, match="the cached tokens .* damaged"):
        assert np.array_equal(encode(trained["word"], TEXTS, 8).ids, plain.ids)


# -- files of other makers


def test_a_saved_tokenizer_comes_back(trained, tmp_path):
    for kind, tokenizer in trained.items():
        tokenizer.save(tmp_path / "tokenizer.json")
        for path in (tmp_path / "tokenizer.json", str(tmp_path)):
            back = read_tokenizer(path)
            assert back.fingerprint == tokenizer.fingerprint, kind
            assert np.array_equal(encode(back, TEXTS, 12).ids, encode(tokenizer, TEXTS, 12).ids)


def foreign(path, *special: str, **model) -> str:
    words = [*special, "a", "b"]
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, **model))
    core.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(list(special))
    core.enable_truncation(3)  # of the file, not of ours
    core.enable_padding(length=7)
    core.save(str(path))
    return str(path)


def test_files_of_other_makers(tmp_path):
    roberta = read_tokenizer(foreign(tmp_path / "r.json", "<s>", "<pad>", "</s>", "<unk>", unk_token="<unk>"))
    found = encode(roberta, ["a b a b c", "b"], 8)
    assert found.ids.tolist() == [[0, 4, 5, 4, 5, 3, 2], [0, 5, 2, 1, 1, 1, 1]]
    assert (found.unknown, found.truncated) == (1, 0)
    clip = foreign(tmp_path / "c.json", "<|startoftext|>", "<|endoftext|>", unk_token="<|endoftext|>")
    with pytest.raises(
        ValueError, match=r"no token \[PAD\] or <pad> or .* for pad: name one with pad=…; .*<\|endoftext"
    ):
        read_tokenizer(clip)
    found = encode(read_tokenizer(clip, pad="<|endoftext|>"), ["a", "a b"], 8)
    assert found.ids.tolist() == [[0, 2, 1, 1], [0, 2, 3, 1]]
    assert found.mask.tolist() == [[True, True, True, False], [True] * 4]
    with pytest.raises(ValueError, match="no token <none> for cls"):
        read_tokenizer(clip, pad="<|endoftext|>", cls="<none>")


def test_what_is_no_tokenizer(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer .*none\.json: name a tokenizer\.json"):
        read_tokenizer(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match=r"no tokenizer .*tokenizer\.json"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json of the tokenizers library"):
        read_tokenizer(tmp_path)


# -- vectors to begin with


@pytest.mark.parametrize("kind", KINDS)
def test_start_vectors(trained, kind):
    rows = np.random.default_rng(1).normal(3.0, 7.0, (4, 64)).astype(np.float32)
    words = KeyedVectors(["the", "blue", "ing", "[SEP]"], rows)
    tokenizer = trained[kind]
    out, found = start_vectors(tokenizer, words, 64, seed=3, std=0.05)
    tokens = vocabulary(tokenizer)
    assert (out.dtype, out.shape, found) == (np.float32, (len(tokens), 64), 2)
    mark = "Ġ" if kind == "bpe" else ""
    taken = [tokens.index(mark + word) for word in ("the", "blue")]
    np.testing.assert_allclose(out[taken], rows[:2] * (0.05 / rows[:2].astype(np.float64).std()), rtol=1e-6)
    others = np.delete(out, taken, 0)
    assert abs(others.std() - 0.05) < 0.005
    assert abs(others.mean()) < 0.005
    assert np.array_equal(out, start_vectors(tokenizer, words, 64, seed=3, std=0.05)[0])
    assert not np.array_equal(others, np.delete(start_vectors(tokenizer, words, 64, 4, 0.05)[0], taken, 0))
    nothing, none = start_vectors(tokenizer, KeyedVectors(["zebra"], rows[:1]), 64, seed=3)
    assert (none, np.isfinite(nothing).all()) == (0, True)
    with pytest.raises(ValueError, match="the vectors have 64 columns, the tokens 32: train vectors of vector_size=32"):
        start_vectors(tokenizer, words, 32, seed=3)


@pytest.mark.skipif(not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA is not set: needs multi30k-captions")
def test_real_captions_fit_their_tokenizer(monkeypatch, data_folder):
    monkeypatch.setenv("JAXEMBED_DATA", data_folder)
    texts = [text for row in load("multi30k-captions", "test")["captions"] for text in row]
    tokenizer = train_tokenizer(texts, vocab_size=2000)
    found = encode(tokenizer, texts, 128)
    assert (len(tokenizer), found.truncated, found.empty, found.unknown) == (2000, 0, 0, 0)
    words = Counter(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    assert {word for word, _ in words.most_common(300)} <= set(vocabulary(tokenizer))


# -- words outside the vocabulary, texts of any length


def test_words_outside_the_vocabulary_share_buckets_by_their_letters(trained):
    plain = trained["word"]
    hashing = plain.with_buckets(50)
    assert len(hashing) == len(vocabulary(hashing)) == len(plain) + 50
    assert hashing.fingerprint != plain.fingerprint
    texts = ["a zebra, blue zèbre ZEBRA", "Zebra", "ze\u0300bre  yak"]
    known, found = encode(plain, texts, 0), encode(hashing, texts, 0)
    is_known = known.ids != plain.unk
    np.testing.assert_array_equal(found.ids[is_known], known.ids[is_known])
    assert (found.ids[~is_known] >= len(plain)).all()
    assert (found.ids < len(hashing)).all()
    assert found.unknown == 0
    zebra = found.ids[0, 2]
    assert zebra == found.ids[0, 5] == found.ids[1, 1] != found.ids[0, 4]
    assert found.ids[0, 4] == found.ids[2, 1]  # composed or not
    many = encode(hashing, [f"word{i}" for i in range(400)], 0).ids[:, 1] - len(plain)
    assert set(many.tolist()) == set(range(50))
    assert start_vectors(hashing, KeyedVectors(["blue"], np.ones((1, 4))), 4, 0)[0].shape == (len(hashing), 4)
    assert plain.with_buckets(0) is plain
    with pytest.raises(ValueError, match="buckets are for words outside the vocabulary"):
        trained["bpe"].with_buckets(5)


def test_texts_stay_whole_where_no_length_is_given(trained):
    texts = [LONG * 50, "blue"]
    found = encode(trained["word"], texts, 0)
    assert (found.lengths.tolist(), found.truncated) == ([len(LONG.split()) * 50 + 2, 3], 0)
    np.testing.assert_array_equal(encode(trained["word"], texts, 9).ids[:, :8], found.ids[:, :8])
