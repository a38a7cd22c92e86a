"""Documents: a corpus, a name for each vector that is learned, and what is known of each document."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.columns import open_split, read_labels, rows_of
from jaxembed.data.hub import is_dataset, splits_of
from jaxembed.data.text import Corpus, read_corpus
from jaxembed.data.tokenise import parts_of
from jaxembed.data.vocabulary import Vocabulary
from jaxembed.files import write_text
from jaxembed.formats import check_keys

if TYPE_CHECKING:
    import os


_WORDS = "words.json"


class TaggedDocument(NamedTuple):
    """A document as gensim has it: its words, and the tags by which its vectors are found."""

    words: Sequence[str]
    tags: Sequence[str | int]


@dataclass(frozen=True, eq=False)
class Documents:
    """A corpus whose documents have vectors.

    names: of the vectors. document, row: int32 [m], the pairs of a document and a vector that learns from its words; usually
    each document has one vector of its own. labels: int32 [documents], -1 if there is none, or None. label_names: the names of
    these classes. part: the split of each document, by its place among `parts`.
    """

    corpus: Corpus
    names: tuple[str, ...]
    document: np.ndarray
    row: np.ndarray
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    part: np.ndarray | None = None
    parts: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, corpus: Corpus, names: Sequence[str] | None = None, **known: Any) -> "Documents":
        """Gives each document of a corpus a vector, under its name or number.

        Raises ValueError for a name that occurs twice, or that no file could hold.
        """
        names = tuple(map(str, range(corpus.documents))) if names is None else tuple(names)
        if len(set(names)) < len(names):
            seen: set[str] = set()
            twice = next(name for name in names if name in seen or seen.add(name))
            raise ValueError(f"two documents have the name {twice!r}: give each its own, or none")
        check_keys(names)
        each = np.arange(corpus.documents, dtype=np.int32)
        return cls(corpus, names, each, each, **known)

    @classmethod
    def tagged(cls, documents: Iterable[TaggedDocument], **settings: Any) -> "Documents":
        """Reads documents with tags, and gives each tag a vector; documents that share a tag train the same vector.

        Tags that are whole numbers are the rows of their vectors, as in gensim. `settings` are those of `read_corpus`. Raises
        ValueError for a document without a tag, and for tags of which some are numbers and others are not, or that no file
        could hold.
        """
        tags: list[tuple[int, str | int]] = []

        def words() -> Iterable[Sequence[str]]:
            for number, one in enumerate(documents):
                if not hasattr(one, "tags") or not hasattr(one, "words"):
                    raise ValueError(f"document {number} must be a TaggedDocument(words, tags), not {one!r:.60}")
                if isinstance(one.tags, str) or not len(one.tags):
                    raise ValueError(f"document {number} needs a list of tags, found {one.tags!r:.60}")
                tags.extend((number, tag) for tag in dict.fromkeys(one.tags))
                yield one.words

        corpus = read_corpus(words(), **settings)
        kinds = {isinstance(tag, int | np.integer) for _, tag in tags}
        if len(kinds) > 1:
            raise ValueError("some tags are whole numbers and others are not: use one kind of them")
        if kinds == {True}:
            if (lowest := min(int(tag) for _, tag in tags)) < 0:
                raise ValueError(f"a tag that is a number is the row of its vector, and cannot be {lowest}")
            names = tuple(map(str, range(max(int(tag) for _, tag in tags) + 1)))
            row = np.array([int(tag) for _, tag in tags], np.int32)
        else:
            place: dict[str, int] = {}
            row = np.array([place.setdefault(str(tag), len(place)) for _, tag in tags], np.int32)
            names = tuple(place)
            check_keys(names)
        return cls(corpus, names, np.array([number for number, _ in tags], np.int32), row)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on the text, the settings it was read by, and which vectors learn from it."""
        return content_digest(self.corpus.fingerprint, repr(self.names), self.document, self.row)

    @cached_property
    def classes_fingerprint(self) -> str:
        """That of the classes by document, "" if there are none."""
        return "" if self.labels is None else content_digest(self.fingerprint, self.labels, repr(self.label_names))

    @property
    def empty(self) -> int:
        """The number of documents without a word of the vocabulary; their vectors stay as they start."""
        return int((np.diff(self.corpus.offsets) == 0).sum())

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {"vectors": len(self.names), "empty_documents": self.empty, "fingerprint": self.fingerprint}
        return self.corpus.summary() | self.origin | sizes

    def head(self, words: int) -> "Documents":
        """Returns the first documents, as `Corpus.head` does; their vectors keep their names."""
        corpus = self.corpus.head(words) if words else self.corpus
        if corpus is self.corpus:
            return self
        pairs = self.document < corpus.documents
        rows, row = np.unique(self.row[pairs], return_inverse=True)
        cut = lambda known: None if known is None else known[: corpus.documents]
        return replace(
            self, corpus=corpus, names=tuple(self.names[i] for i in rows), document=self.document[pairs],
            row=row.astype(np.int32), labels=cut(self.labels), part=cut(self.part),
        )  # fmt: skip

    def stream(self) -> Corpus:
        """Returns the documents in the order of the pairs: one that trains several vectors stands there as often."""
        corpus, n = self.corpus, self.corpus.documents
        if len(self.document) == n and (self.document == np.arange(n)).all():
            return corpus
        parts = [corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]] for i in self.document]
        offsets = np.cumsum([0, *map(len, parts)])
        return replace(corpus, tokens=np.concatenate(parts), offsets=offsets)

    def over(self, vocabulary: Vocabulary, names: Sequence[str]) -> "Documents":
        """Returns the same documents with the words of a vocabulary, and the vectors of `names`. Raises ValueError for others."""
        place = {name: row for row, name in enumerate(names)}
        used = {self.names[row] for row in np.unique(self.row).tolist()}
        if unknown := sorted(used - place.keys()):
            raise ValueError(f"the tag {unknown[0]!r} has no vector: it was not there when the vocabulary was built")
        moved = np.array([place.get(name, -1) for name in self.names], np.int32)
        return replace(self, corpus=self.corpus.with_vocabulary(vocabulary), names=tuple(names), row=moved[self.row])

    def where(self, part: str) -> np.ndarray:
        """Returns the numbers of the documents of a split, none if there is no such split."""
        if self.part is None or part not in self.parts:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self.part == self.parts.index(part))


def read_documents(
    data: "str | os.PathLike",
    column: str = "text",
    *,
    splits: Sequence[str] | None = None,
    name: str | None = None,
    label: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    **settings: Any,
) -> Documents:
    """Reads the documents of some splits of a dataset, one after the other, or of a text file, whose lines are documents.

    `splits` None reads all. A document is called by its split and row (`train/0`), by its row where there is one split, or by the
    column `name`. `label` is a column of classes; a class below 0 is none. `settings` are those of `read_corpus`. Raises
    as `read_corpus` does, and ValueError for a name that occurs twice.
    """
    if not is_dataset(data):
        if label or name:
            raise ValueError(f"{data} is a text without columns: leave the columns of names and labels out")
        return Documents.of(read_corpus(data, **settings))
    import datasets

    splits = tuple(splits or splits_of(data, config, revision))
    tables, labels, names, known = [], [], [], None
    for split in splits:
        opened = open_split(data, split, config, revision)
        columns = [column, *(one for one in (label, name) if one)]
        rows = rows_of(opened, columns)
        tables.append(rows.select_columns([column]).with_format(None))
        if label:
            found, known = _classes(rows, label, opened.title, known)
            labels.append(found)
        if name:
            names += [str(value) for value in rows.with_format(None)[name]]
        else:
            names += [f"{split}/{i}" if len(splits) > 1 else str(i) for i in range(len(rows))]
    corpus = read_corpus(datasets.concatenate_datasets(tables), column, **settings)
    origin = {"dataset": str(data), "splits": list(splits), "column": column}
    corpus = replace(corpus, origin=corpus.origin | origin)
    part = np.repeat(np.arange(len(splits)), [len(table) for table in tables])
    return Documents.of(
        corpus,
        names,
        labels=np.concatenate(labels) if labels else None,
        label_names=known or (),
        part=part,
        parts=splits,
    )


def _classes(rows: Any, label: str, title: str, known: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the classes of a split by the names of the first, -1 where a row has none."""
    values = rows.with_format(None)[label]
    none = np.array([value is None or (isinstance(value, int) and value < 0) for value in values])
    found = np.full(len(values), -1, np.int32)
    if not none.all():
        found[~none], known = read_labels(rows.select(np.flatnonzero(~none)), label, title, known)
    return found, known or ()


@dataclass(frozen=True, eq=False)
class DocumentInput:
    """Turns texts, or lists of words, into the ids of their words, of any number; unknown words are left out."""

    vocabulary: Vocabulary
    lowercase: bool = False
    punctuation: bool = False

    kind: ClassVar[str] = "documents"

    def ids(self, texts: Sequence[str | Sequence[str]], first: int = 0) -> list[np.ndarray]:
        """Returns the ids of the known words of each text, int32. Raises ValueError for what is no text; the first is `first`."""
        return [self._ids(text, number) for number, text in enumerate(texts, first)]

    def _ids(self, text: Any, number: int) -> np.ndarray:
        if isinstance(text, bytes) or not isinstance(text, Iterable):
            raise ValueError(f"document {number} must be a string or a list of words, not {text!r:.60}")
        words = text.split() if isinstance(text, str) else list(text)
        if any(not isinstance(word, str) for word in words):
            raise ValueError(f"document {number} holds something that is no word: give strings")
        if self.punctuation and isinstance(text, str):
            words = [part for word in words for part in parts_of(word)]
        words = [word.lower() for word in words] if self.lowercase else words
        index = self.vocabulary.index
        return np.array([index[word] for word in words if word in index], np.int32)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes words.json; returns what else `read_inputs` needs."""
        known = {"words": self.vocabulary.words, "counts": self.vocabulary.counts.tolist()}
        write_text(folder / _WORDS, json.dumps(known))
        return {"lowercase": self.lowercase, "punctuation": self.punctuation}

    @classmethod
    def open(cls, folder: Path, **settings: bool) -> "DocumentInput":
        """Opens what `save` wrote. Raises FileNotFoundError if there are no words."""
        if not (folder / _WORDS).is_file():
            raise FileNotFoundError(f"{folder} has no {_WORDS}, the words of its documents: train it again")
        known = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
        return cls(Vocabulary(known["words"], np.array(known["counts"], np.int64)), **settings)
