"""Texts to token ids: a corpus is a vocabulary and one long array of ids, memory-mapped from the cache."""

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jaxembed.data import hub
from jaxembed.data.cache import cached, content_digest, disk_errors, reserve, temporary_folder, writable_folder
from jaxembed.data.tokenise import CHUNK_BYTES, Sentences, Settings, Source, TextColumn, TextFile, TextFolder, build
from jaxembed.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import datasets

__all__ = ["Corpus", "Vocabulary", "hold_out", "read_corpus"]

_PART = 1 << 22  # number of tokens processed together


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents as token ids; windows do not cross from one document into the next.

    tokens: int32 [tokens], every document after the other, words outside the vocabulary left out.
    offsets: int64 [documents + 1]; document i is `tokens[offsets[i]:offsets[i + 1]]`, which may be empty.
    raw_words: the words read, with those left out.
    fingerprint: 32 hexadecimal digits that depend on the text and the settings alone.
    origin: where the text came from and how it was cut, for the record of a run (JSON-ready).
    """

    vocabulary: Vocabulary
    tokens: np.ndarray
    offsets: np.ndarray
    raw_words: int
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def documents(self) -> int:
        """The number of documents, including empty ones."""
        return len(self.offsets) - 1

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {"documents": self.documents, "tokens": len(self.tokens), "raw_words": self.raw_words}
        return {**self.origin, **sizes, "vocabulary": len(self.vocabulary), "fingerprint": self.fingerprint}

    def head(self, words: int) -> "Corpus":
        """Returns the first documents, up to the one that completes `words` tokens; the vocabulary stays complete."""
        last = int(np.searchsorted(self.offsets, words))
        if words < 1 or last >= self.documents:
            return self
        tokens = self.tokens[: self.offsets[last]]
        digest = content_digest(f"{self.fingerprint} {last}")
        origin = {**self.origin, "documents": last}
        return replace(
            self,
            tokens=tokens,
            offsets=self.offsets[: last + 1],
            raw_words=len(tokens),
            fingerprint=digest,
            origin=origin,
        )

    def with_vocabulary(self, vocabulary: Vocabulary) -> "Corpus":
        """Returns the same text with the token ids of `vocabulary`, whose counts stay. Words that it lacks are left out.

        Raises ValueError if none of its words occurs in the text.
        """
        lookup = np.array([vocabulary.index.get(word, -1) for word in self.vocabulary.words], np.int32)
        starts = range(0, len(self.tokens), _PART)  # there may be more than memory
        size = sum(int((lookup[self.tokens[start : start + _PART]] >= 0).sum()) for start in starts)
        if not size:
            raise ValueError(f"none of the {len(vocabulary):,} words of the vocabulary occurs in the text")
        tokens, offsets = _room_like(self.tokens, size), np.zeros(len(self.offsets), np.int64)
        written = document = 0
        for start in starts:
            part = lookup[self.tokens[start : start + _PART]]
            place = np.concatenate([[0], np.cumsum(part >= 0)])
            stop = int(np.searchsorted(self.offsets, start + len(part), side="right"))
            offsets[document:stop] = written + place[self.offsets[document:stop] - start]
            part = part[part >= 0]
            tokens[written : written + len(part)] = part
            written, document = written + len(part), stop
        return replace(
            self,
            vocabulary=vocabulary,
            tokens=tokens,
            offsets=offsets,
            fingerprint=content_digest(self.fingerprint, repr(vocabulary.words), vocabulary.counts),
        )


def read_corpus(
    source: "str | os.PathLike | datasets.Dataset | Iterable[Sequence[str]]",
    column: str = "text",
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    min_count: int = 5,
    max_final_vocab: int | None = None,
    lowercase: bool = False,
    punctuation: bool = False,
    cache: bool = True,
    chunk_bytes: int = CHUNK_BYTES,
) -> Corpus:
    """Reads a corpus of words, split at white space as `str.split` does.

    `source` is a text file (a path; UTF-8, plain or compressed; a line is a document), a folder of such files, a dataset as
    `jaxembed.data.load` takes it with `split`, `config` and `revision` (a name, a folder or a parquet file; a row of
    `column` is a document, a text or a list of words), a `datasets.Dataset`, or lists of words (gensim's `sentences`; read
    once).
    Words that occur fewer than `min_count` times are left out, and all but the `max_final_vocab` most frequent. With
    `punctuation`, each punctuation mark is a word of its own, and HTML tags are left out.

    Token ids of files and datasets are kept in the cache (see `jaxembed.data.cache`) under a hash of the content and
    the settings, and memory-mapped: a second run starts at once, and a corpus may be larger than memory. Lists of
    words, and everything when `cache` is false, are held in memory. About `chunk_bytes` of text are read at a time.

    Raises FileNotFoundError for a missing file or dataset; ValueError for an unknown column, an empty corpus, one whose
    words all fall under `min_count`, and text that is not UTF-8; OSError for a file that cannot be read, a damaged
    compressed file and a full disk.
    """
    settings = Settings(min_count, max_final_vocab, lowercase, punctuation)
    text, origin = open_texts(source, column, split, config, revision)
    # What was there before this setting was recorded without it.
    origin |= {name: value for name, value in settings._asdict().items() if value or name != "punctuation"}
    digest = text.digest()
    if not cache or digest is None:
        with temporary_folder("corpus") as folder:
            build(text, settings, folder, chunk_bytes)
            return _read(folder, origin, mmap=False)

    place, write = f"corpora/{settings.key(digest)}", lambda part: build(text, settings, part, chunk_bytes)
    return cached(place, partial(_read, origin=origin, mmap=True), write, "corpus")


def open_texts(
    source: "str | os.PathLike | datasets.Dataset | Iterable[Sequence[str]]",
    column: str,
    split: str | None,
    config: str | None,
    revision: str | None,
) -> tuple[Source, dict[str, Any]]:
    """Returns the reader of `source`, and the entries for its record."""
    if hub.is_dataset(source):
        found = hub.resolve(source, split, config=config, revision=revision)
        return TextColumn(found.load(), column), {**found.record(), "column": column}
    if isinstance(source, str | os.PathLike):
        return (TextFolder if os.path.isdir(source) else TextFile)(source), {"file": os.fspath(source)}
    if hasattr(source, "column_names"):  # a datasets object, recognised without importing the library
        if not hub.is_split(source):
            kind = type(source).__name__
            raise ValueError(f"expected one split of a dataset held on disk, not a {kind}: pass dataset['train'], say")
        return TextColumn(source, column), {"dataset": source.info.dataset_name, "column": column}
    if not isinstance(source, Iterable):
        raise ValueError(f"expected a file, a dataset or lists of words, not {source!r:.60}")
    return Sentences(cast("Iterable[Sequence[str]]", source)), {"sentences": type(source).__name__}


def _read(folder: Path, origin: dict[str, Any], mmap: bool) -> Corpus:
    """Reads the corpus that `build` wrote. Raises OSError, EOFError, ValueError, KeyError or TypeError if it is incomplete."""
    described = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    vocabulary = Vocabulary(described["words"], np.array(described["counts"], np.int64))
    tokens = np.load(folder / "tokens.npy", mmap_mode="r" if mmap else None)
    offsets = np.load(folder / "offsets.npy", mmap_mode="r" if mmap else None)
    if zlib.crc32(offsets, zlib.crc32(tokens)) != described["crc32"]:
        raise ValueError("the token ids are not those that were written")
    if len(vocabulary.words) != len(vocabulary.counts) or vocabulary.counts.sum() != len(tokens):
        raise ValueError("the vocabulary is not the one that was written")
    return Corpus(vocabulary, tokens, offsets, described["raw_words"], described["key"], origin)


def hold_out(corpus: Corpus, fraction: float = 0.01) -> tuple[Corpus, Corpus]:
    """Splits a corpus into one to train on and one to measure on, about `fraction` of it, with one vocabulary.

    Every k-th document is held out, k = round(1 / fraction): spread evenly, and the same in every run. A corpus with
    fewer documents than k is cut at its tail instead, inside a document. The vocabulary and its counts stay those of
    the whole corpus. Raises ValueError for a fraction outside (0, 0.5] and where one of the two would be empty.
    """
    if not 0 < fraction <= 0.5:
        raise ValueError(f"the fraction to hold out must lie in (0, 0.5], not {fraction}")
    every, offsets = round(1 / fraction), corpus.offsets
    if corpus.documents >= every:
        first = np.arange(0, corpus.documents, every)  # each run of k documents: k - 1 to train on, then one held out
        cuts = offsets[
            np.stack([first, np.minimum(first + every - 1, corpus.documents), [*first[1:], len(offsets) - 1]])
        ]
        spans = (cuts[:2].T, cuts[1:].T)
        is_held = np.arange(corpus.documents) % every == every - 1
        lengths = np.diff(offsets)
        borders = [np.concatenate([[0], np.cumsum(lengths[chosen])]) for chosen in (~is_held, is_held)]
    else:
        total = len(corpus.tokens)
        cut = total - max(1, round(total * fraction))
        spans = ([(0, cut)], [(cut, total)])
        borders = [np.unique([0, *offsets[offsets < cut], cut]), np.unique([cut, *offsets[offsets > cut]]) - cut]
    if not all(border[-1] for border in borders):
        raise ValueError(
            f"holding out {fraction:g} of {len(corpus.tokens):,} tokens in {corpus.documents:,} documents leaves "
            f"nothing to train on or to measure on: pass a larger fraction or a larger corpus"
        )
    train, held = (
        replace(
            corpus,
            tokens=_gather(corpus.tokens, span),
            offsets=border,
            raw_words=int(border[-1]),
            fingerprint=Settings().key(f"{corpus.fingerprint} {part} {fraction!r}"),
            origin={**corpus.origin, "part": part, "held_out": fraction},
        )
        for span, border, part in zip(spans, borders, ("train", "held out"), strict=True)
    )
    return train, held


def _gather(tokens: np.ndarray, spans: Iterable[tuple[int, int]]) -> np.ndarray:
    """Returns the spans [begin, end) of `tokens` one after the other, in memory or in a file as `tokens` are."""
    spans = list(spans)
    out = _room_like(tokens, sum(int(end - begin) for begin, end in spans))
    place = 0
    for begin, end in spans:
        out[place : place + end - begin] = tokens[begin:end]
        place += end - begin
    return out


def _room_like(tokens: np.ndarray, size: int) -> np.ndarray:
    """Allocates space for `size` tokens, in an unnamed file if `tokens` is memory-mapped. Raises OSError on a full disk."""
    if not isinstance(tokens, np.memmap) or not size:
        return np.empty(size, np.int32)
    folder = writable_folder("corpora")
    with disk_errors(folder, "corpus", "JAXEMBED_CACHE"), tempfile.TemporaryFile(dir=folder) as file:
        out = np.memmap(file, np.int32, "w+", shape=(size,))
        reserve(file)
    return out
