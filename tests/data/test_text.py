import bz2
import gzip
import json
import lzma
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import gensim.models
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxembed.data.tokenise
from jaxembed.data import Corpus, Vocabulary, hold_out, load, read_corpus
from jaxembed.data.tokenise import Settings, TextColumn, build

# words, white space of all kinds (ASCII, Latin-1, ideographic, separators), upper case with odd lower cases
texts = st.lists(
    st.text(st.sampled_from("ab\tcdAB \n\r\x0b\x0c\x1c\x1f\x85\xa0\u2003\u3000éΣİß日😀"), max_size=30), max_size=8
)


def documents_of(corpus: Corpus) -> list[list[str]]:
    words = corpus.vocabulary.words
    return [[words[t] for t in document] for document in np.split(corpus.tokens, corpus.offsets[1:-1])]


def reference(documents: list[list[str]], min_count: int, lowercase: bool, most: int | None = None):
    """The same in plain Python: words by count, then by first appearance."""
    documents = [[word.lower() if lowercase else word for word in document] for document in documents]
    counts = Counter(word for document in documents for word in document)
    kept = [(word, count) for word, count in counts.most_common() if count >= min_count][:most]
    return kept, [[word for word in document if word in dict(kept)] for document in documents], counts.total()


def check(corpus: Corpus, documents: list[list[str]], min_count: int, lowercase: bool, most: int | None = None):
    kept, remaining, total = reference(documents, min_count, lowercase, most)
    assert list(zip(corpus.vocabulary.words, corpus.vocabulary.counts.tolist(), strict=True)) == kept
    assert documents_of(corpus) == remaining
    assert corpus.raw_words == total
    assert (corpus.tokens.dtype, corpus.offsets.dtype, corpus.vocabulary.counts.dtype) == (np.int32, np.int64, np.int64)
    assert np.array_equal(np.bincount(corpus.tokens, minlength=len(kept)), corpus.vocabulary.counts)


def nothing_left(documents, min_count, lowercase):
    return not reference(documents, min_count, lowercase)[0]


# -- against plain Python


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(0, 3), st.booleans(), st.none() | st.integers(1, 3), st.integers(1, 20))
def test_dataset_against_python(rows, min_count, lowercase, most, chunk_bytes):
    documents = [row.split() for row in rows]
    source = datasets.Dataset.from_dict({"text": rows}, features=datasets.Features({"text": datasets.Value("string")}))
    options = {"min_count": min_count, "lowercase": lowercase, "max_final_vocab": most, "cache": False}
    if nothing_left(documents, min_count, lowercase):
        with pytest.raises(ValueError, match=r"empty|min_count"):
            read_corpus(source, **options)
    else:
        check(read_corpus(source, **options, chunk_bytes=chunk_bytes), documents, min_count, lowercase, most)


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(0, 2), st.booleans(), st.integers(1, 20), st.booleans())
def test_file_against_python(tmp_path_factory, rows, min_count, lowercase, chunk_bytes, last_newline):
    text = "\n".join(rows) + "\n" * last_newline
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_bytes(text.encode())
    lines = text.split("\n")[: None if not text.endswith("\n") else -1]  # a last line feed begins no document
    documents = [line.split() for line in lines]
    options = {"min_count": min_count, "lowercase": lowercase, "cache": False, "chunk_bytes": chunk_bytes}
    if nothing_left(documents, min_count, lowercase):
        with pytest.raises(ValueError, match=r"empty|min_count"):
            read_corpus(path, **options)
    else:
        check(read_corpus(path, **options), documents, min_count, lowercase)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "B", "two words", "\n", "é"]), max_size=6), max_size=8),
    st.integers(1, 50),
)
def test_lists_of_words_against_python(sentences, chunk_bytes):
    if nothing_left(sentences, 2, True):
        with pytest.raises(ValueError, match=r"empty|min_count"):
            read_corpus(sentences, min_count=2, lowercase=True)
        return
    options = {"min_count": 2, "lowercase": True, "chunk_bytes": chunk_bytes}
    for same in (sentences, iter(sentences), map(iter, sentences)):
        check(read_corpus(same, **options), sentences, 2, True)
    column = datasets.Dataset.from_dict({"words": sentences})
    if isinstance(column.features["words"], datasets.List) and column.features["words"].feature.dtype == "string":
        check(read_corpus(column, "words", cache=False, **options), sentences, 2, True)


def test_one_text_in_every_shape(tmp_path, monkeypatch):
    """Row groups, selections, missing rows, gzip, slices and chunk sizes change nothing."""
    rows = [
        *(text[: 20 * i] for i, text in enumerate(load("enwik8-small", "train")["text"][:30])),
        "",
        "a  b\tc",
        "Naïve café ends here",
    ]
    documents = [row.split() for row in rows]
    text = "\n".join(rows)
    (tmp_path / "plain.txt").write_text(text, encoding="utf-8")
    (tmp_path / "bom.txt").write_text(text + "\n", encoding="utf-8-sig")
    with gzip.open(tmp_path / "zipped.gz", "wb") as file:
        file.write(text.encode())
    parts = [datasets.Dataset.from_dict({"text": part}) for part in (rows[:7], rows[7:20], rows[20:])]
    whole = datasets.Dataset.from_dict({"text": [*rows[::-1], "and more"]})
    large = datasets.Dataset(pa.table({"text": pa.array(rows, pa.large_string())}))
    missing = datasets.Dataset.from_dict({"text": [row or None for row in rows]})
    columns = [datasets.concatenate_datasets(parts), whole.select(range(len(rows) - 1, -1, -1)), large, missing]
    assert len({TextColumn(column, "text").digest() for column in columns}) == 1
    for piece in (100, 1 << 17):
        monkeypatch.setattr(jaxembed.data.tokenise, "SLICE", piece)
        for chunk_bytes in (50, 1000, 1 << 24):
            for source in (*columns, tmp_path / "plain.txt", tmp_path / "bom.txt", tmp_path / "zipped.gz", documents):
                check(read_corpus(source, min_count=2, chunk_bytes=chunk_bytes, cache=False), documents, 2, False)


def test_second_pass_in_many_parts(monkeypatch):
    monkeypatch.setattr(jaxembed.data.tokenise, "CHUNK_BYTES", 12)  # also the ids renumbered at a time
    sentences = [[], ["a"], ["b", "a", "rare", "a", "b"], [], ["odd", "b"], []]
    check(read_corpus(sentences, min_count=2), sentences, 2, False)


def test_vocabulary_equals_gensims(tmp_path):
    rows = load("enwik8-small", "train")["text"][:300]
    (tmp_path / "text.txt").write_text("\n".join(rows))
    model = gensim.models.Word2Vec(min_count=5, vector_size=1)
    model.build_vocab(corpus_file=str(tmp_path / "text.txt"))
    vocabulary = read_corpus(tmp_path / "text.txt").vocabulary
    theirs = {word: model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key}
    assert dict(zip(vocabulary.words, vocabulary.counts.tolist(), strict=True)) == theirs


# -- the cache


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache/corpora").iterdir())


def never(*_):
    raise AssertionError("built again")


def test_cache_is_used_and_keyed_by_content_and_settings(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("a b a\nb a c\n")
    first = read_corpus(path, min_count=1)
    assert isinstance(first.tokens, np.memmap)
    (entry,) = entries(tmp_path)
    assert {file.name for file in entry.iterdir()} == {"corpus.json", "tokens.npy", "offsets.npy"}
    copy = tmp_path / "copy.txt"
    copy.write_text(path.read_text())
    with monkeypatch.context() as patch:
        patch.setattr("jaxembed.data.text.build", never)
        for again in (read_corpus(path, min_count=1), read_corpus(copy, min_count=1)):
            assert documents_of(again) == [["a", "b", "a"], ["b", "a", "c"]]
            assert (again.fingerprint, again.raw_words) == (first.fingerprint, 6)
    assert read_corpus(path, min_count=1, cache=False).fingerprint == first.fingerprint
    others = [read_corpus(path, min_count=2), read_corpus(path, min_count=1, lowercase=True)]
    others += [read_corpus(path, min_count=1, max_final_vocab=2)]
    path.write_text("a b a\nb a d\n")
    others += [read_corpus(path, min_count=1)]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert documents_of(others[-1])[1] == ["b", "a", "d"]
    assert len(entries(tmp_path)) == 5  # and no unfinished one


@pytest.mark.parametrize("name", ["tokens.npy", "offsets.npy", "corpus.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "changed"])
def test_damaged_cache_is_built_again(tmp_path, name, damage):
    path = tmp_path / "text.txt"
    path.write_text("a b a\nb a c\n" * 50)
    before = read_corpus(path)
    words, tokens = before.vocabulary.words, before.tokens.copy()
    del before
    file = entries(tmp_path)[0] / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        flipped = bytes([content[-1] ^ 1])
        file.write_bytes({"cut": content[:-5], "empty": b"", "changed": content[:-1] + flipped}[damage])
    with pytest.warns(UserWarning, match="damaged .*: building it again"):
        after = read_corpus(path)
    assert after.vocabulary.words == words
    assert np.array_equal(after.tokens, tokens)
    read_corpus(path)  # a warning would be an error here


def test_a_failed_build_leaves_nothing_and_harms_nothing(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a a a a a\n")
    read_corpus(path)
    path.write_bytes(b"a a a\n" * 100 + b"\xff\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_corpus(path, chunk_bytes=50)
    assert len(entries(tmp_path)) == 1


def test_two_processes_may_build_the_same_corpus(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("a b c a b c\n")

    def overtaken(source, settings, folder, chunk_bytes):
        monkeypatch.setattr("jaxembed.data.text.build", build)
        read_corpus(path, min_count=1)  # the other one finishes first
        build(source, settings, folder, chunk_bytes)

    monkeypatch.setattr("jaxembed.data.text.build", overtaken)
    assert documents_of(read_corpus(path, min_count=1)) == [["a", "b", "c", "a", "b", "c"]]
    assert len(entries(tmp_path)) == 1


def test_compressed_files_and_folders_of_them(tmp_path):
    rows = ["a b a", "", "b a c", "c"]
    packed = {"b.gz": gzip.compress, "c.bz2": bz2.compress, "d.xz": lzma.compress, "a.txt": bytes}
    for name, pack in packed.items():
        (tmp_path / name).write_bytes(pack("\n".join(rows).encode()))
        check(read_corpus(tmp_path / name, min_count=1), [row.split() for row in rows], 1, False)
    (tmp_path / ".hidden").write_text("x")
    for cache in (True, False):
        check(read_corpus(tmp_path, min_count=1, cache=cache), 4 * [row.split() for row in rows], 1, False)
    first = read_corpus(f"{tmp_path}/", min_count=1).fingerprint
    (tmp_path / "e.txt").write_text("d")
    assert read_corpus(tmp_path, min_count=1).fingerprint != first


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=5), max_size=6), st.lists(st.sampled_from("cbdz"), unique=True)
)
def test_another_vocabulary_gives_the_same_text_other_ids(sentences, words):
    vocabulary = Vocabulary(words, np.arange(len(words), 0, -1))
    kept = [[word for word in sentence if word in words] for sentence in sentences]
    if not any(sentences):
        return
    whole = read_corpus(sentences, min_count=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxembed.data.text._PART", 3)
        if not any(kept):
            with pytest.raises(ValueError, match=r"none of the .* words of the vocabulary occurs"):
                whole.with_vocabulary(vocabulary)
            return
        other = whole.with_vocabulary(vocabulary)
    assert documents_of(other) == kept
    assert other.vocabulary is vocabulary
    assert (other.documents, other.raw_words) == (len(sentences), sum(map(len, sentences)))
    assert other.fingerprint != whole.fingerprint


def test_words_given_as_lists_stay_out_of_the_cache(tmp_path):
    one, other = read_corpus([["a b", "c"]], min_count=1), read_corpus([["a", "b", "c"]], min_count=1)
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == read_corpus([["a b", "c"]], min_count=1, chunk_bytes=1).fingerprint
    assert not (tmp_path / "cache").exists()


# -- bad input


def test_bad_files(tmp_path):
    def written(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    with pytest.raises(FileNotFoundError, match=r"no text file .*none\.txt"):
        read_corpus(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match=r"no text file none\.txt"):
        read_corpus("none.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds neither parquet nor text files"):
        read_corpus(tmp_path / "empty")
    for ending, kind in (("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")):
        with pytest.raises(OSError, match=f"is not a {kind} file: drop the .{ending} from its name"):
            read_corpus(written(f"plain.{ending}", b"plain text"))
    zipped = gzip.compress(b"some words " * 1000)
    with pytest.raises(OSError, match="cut short or damaged"):
        read_corpus(written("cut.gz", zipped[:-9]))
    with pytest.raises(OSError, match="cut short or damaged"):
        read_corpus(written("changed.gz", zipped[:40] + b"1" + zipped[41:]))
    for chunk_bytes in (8, 1 << 20):
        with pytest.raises(ValueError, match=r"line 2 is not UTF-8 \(byte 18"):
            read_corpus(written("latin.txt", "first line\nthe café\n".encode("latin-1")), chunk_bytes=chunk_bytes)
    for content in (b"", b" \n\n\t\n"):
        with pytest.raises(ValueError, match="the corpus is empty"):
            read_corpus(written("empty.txt", content))
    with pytest.raises(ValueError, match=r"no word occurs min_count=5 times: .*'b', occurs 2 times. Pass min_count=2"):
        read_corpus(written("rare.txt", b"a b c b"))


def test_bad_columns_and_sources():
    table = datasets.Dataset.from_dict({"label": [1], "title": ["x"], "words": [["y"]]})
    with pytest.raises(ValueError, match=r"'text' does not exist: the columns with text are \['title', 'words'\]"):
        read_corpus(table)
    with pytest.raises(ValueError, match="'label' holds int64, not text"):
        read_corpus(table, "label")
    with pytest.raises(ValueError, match=r"no column of .*'label'.* holds text"):
        read_corpus(table.select_columns("label"), "label")
    with pytest.raises(ValueError, match="the corpus is empty"):
        read_corpus(table.select([]), "title")
    with pytest.raises(ValueError, match="one split of a dataset held on disk, not a DatasetDict"):
        read_corpus(datasets.DatasetDict(train=table))
    with pytest.raises(ValueError, match="a list of words, not 'a sentence'"):
        read_corpus(["a sentence"])
    with pytest.raises(ValueError, match="a list of words, not 3"):
        read_corpus([3])
    with pytest.raises(ValueError, match="each word must be a string, not 3 of type int"):
        read_corpus([["a", 3]])
    with pytest.raises(ValueError, match="expected a file"):
        read_corpus(7)
    with pytest.raises(ValueError, match="min_count must be"):
        read_corpus([["a"]], min_count=-1)
    with pytest.raises(ValueError, match="max_final_vocab must be"):
        read_corpus([["a"]], max_final_vocab=0)
    with pytest.raises(ValueError, match="no split 'test'; it has train"):
        read_corpus("enwik8-small", split="test")


@pytest.mark.parametrize("word", ["king\n", "a\nb", "\ud800", "tail\udfff"])
def test_words_that_no_file_can_hold_are_told(word):
    with pytest.raises(ValueError, match="could not be saved") as raised:
        Vocabulary(["queen", word], np.array([3, 2])).check_savable()
    assert repr(word) in str(raised.value)
    Vocabulary(["queen", "a b", "c\td", "é😀"], np.array([4, 3, 2, 1])).check_savable()
    Vocabulary([], np.array([])).check_savable()


def test_vocabulary_suggests():
    vocabulary = Vocabulary(["king", "queen", "Paris"], np.array([3, 2, 1]))
    assert vocabulary["queen"] == 1
    assert "king" in vocabulary
    assert "prince" not in vocabulary
    for slip, meant in (("quene", "queen"), ("PARIS", "Paris")):
        with pytest.raises(KeyError, match=f"'{slip}' is not among the 3 keys: did you mean '{meant}'"):
            vocabulary[slip]


# -- parts of a corpus


@pytest.fixture
def corpus(tmp_path):
    generator = np.random.default_rng(0)
    lines = [" ".join(generator.choice(list("abcdefgh"), generator.integers(0, 12))) for _ in range(500)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    return read_corpus(tmp_path / "text.txt", min_count=1)


@pytest.mark.parametrize("fraction", [0.5, 0.3, 0.1, 0.01])
@pytest.mark.parametrize("mapped", [True, False])
def test_hold_out_every_kth_document(corpus, fraction, mapped):
    if not mapped:
        corpus = Corpus(corpus.vocabulary, np.array(corpus.tokens), np.array(corpus.offsets), 0, "f")
    train, held = hold_out(corpus, fraction)
    every = round(1 / fraction)
    documents = documents_of(corpus)
    assert documents_of(held) == documents[every - 1 :: every]
    assert documents_of(train) == [document for i, document in enumerate(documents) if i % every != every - 1]
    assert isinstance(train.tokens, np.memmap) is mapped
    assert train.vocabulary is held.vocabulary is corpus.vocabulary
    assert len({train.fingerprint, held.fingerprint, corpus.fingerprint}) == 3
    assert hold_out(corpus, fraction)[0].fingerprint == train.fingerprint


def test_hold_out_the_tail_of_few_documents():
    words = [str(i) for i in range(100)]
    for documents in ([words], [words[:90], [], words[90:]]):
        train, held = hold_out(read_corpus(documents, min_count=1), 0.05)
        assert [word for document in documents_of(train) for word in document] == words[:95]
        assert [word for document in documents_of(held) for word in document] == words[95:]
    assert np.array_equal(train.offsets, [0, 90, 95])


@pytest.mark.parametrize("fraction", [0, -0.1, 0.6, 1.5])
def test_hold_out_refuses(corpus, fraction):
    with pytest.raises(ValueError, match=r"must lie in \(0, 0.5\]"):
        hold_out(corpus, fraction)


def test_hold_out_refuses_an_empty_part():
    with pytest.raises(ValueError, match="leaves nothing to train on or to measure on"):
        hold_out(read_corpus([["a"]], min_count=1), 0.5)
    with pytest.raises(ValueError, match="leaves nothing"):
        hold_out(read_corpus([["a", "a"], []], min_count=1), 0.5)


# -- the record of a run, and what is imported


def test_summary_is_json_and_tells_where_the_text_is_from(tmp_path):
    corpus = read_corpus("enwik8-small", split="train")
    summary = json.loads(json.dumps(corpus.summary()))
    assert summary["documents"] == 4_000
    assert summary["raw_words"] == 4_000_000
    assert {"name": "enwik8-small", "split": "train", "origin": "builtin", "column": "text"}.items() <= summary.items()
    assert summary["fingerprint"] == corpus.fingerprint
    assert Settings().key("") != corpus.fingerprint
    json.dumps(hold_out(corpus)[1].summary())


def test_import_is_light_and_so_is_a_warm_start(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a b\n")
    code = f"""
import sys, jaxembed.data
heavy = ["datasets", "pyarrow", "scipy", "sklearn", "matplotlib", "huggingface_hub"]
assert not set(heavy) & set(sys.modules)
jaxembed.data.read_corpus({str(path)!r}, min_count=1)
print([name for name in heavy if name in sys.modules])
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout for run in runs] == ["['pyarrow']\n", "[]\n"]
