"""Turns texts into token ids in two streaming passes; memory holds one chunk of text and the vocabulary.

The first pass numbers words as they appear and writes these provisional ids to a file. The second pass, when all counts
are known, drops the rare words and writes the final ids. Splitting and numbering within a chunk are done by Arrow's
compiled code; Python sees each distinct word of a chunk once.
"""

import codecs
import json
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from jaxembed.compression import SUFFIXES, compression, reading
from jaxembed.data.cache import content_digest, file_digest, hasher, mapped_file
from jaxembed.data.lines import decoded
from jaxembed.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import datasets

CHUNK_BYTES = 4 << 20  # of text, read at a time: 0.2 GB at the peak
SLICE = 1 << 17  # words numbered at a time: Arrow's hash table stays in the processor's cache, twice as fast
FORMAT = 1  # part of every cache key: raise it when the meaning of a cached file changes


class Chunk(NamedTuple):
    """A run of consecutive words: `words[codes]`; documents end at the positions `ends` of `codes`."""

    words: Sequence[str]
    codes: np.ndarray
    ends: np.ndarray


class Source(Protocol):
    """A source of texts. An empty word stands for nothing and is dropped."""

    def digest(self) -> str | None:
        """Returns a hash of the content, or None if it is known only after reading."""
        ...

    def chunks(self, chunk_bytes: int) -> Iterator[Chunk]:
        """Yields the words in order, about `chunk_bytes` of text at a time."""
        ...


def _lengths(lists: Any) -> np.ndarray:
    """The length of each list of an Arrow array, int64; 0 for a missing one."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(lists)  # pyright: ignore[reportAttributeAccessIssue]
    return lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _encode(documents: Any) -> Chunk:
    """A chunk from an Arrow array of texts (split at white space, as by `str.split`) or of lists of words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _is_text(documents.type)
    if texts:
        documents = pc.utf8_split_whitespace(documents.fill_null(""))  # pyright: ignore[reportAttributeAccessIssue]
    words = documents.flatten().fill_null("")
    # Each slice is numbered by itself, then Arrow brings the dictionaries together: words keep the order of their first
    # appearance, which is that of the whole text, so ids do not depend on the sizes of slices and chunks.
    slices = [words.slice(i, SLICE).dictionary_encode() for i in range(0, max(len(words), 1), SLICE)]
    slices = pa.chunked_array(slices).unify_dictionaries().chunks
    spelt = slices[0].dictionary.to_numpy(zero_copy_only=False).tolist()
    codes = np.concatenate([part.indices.to_numpy() for part in slices])
    ends = np.cumsum(_lengths(documents))
    if texts and not all(word.strip() for word in spelt):  # Arrow may leave white space at the end of its buffer
        kept = np.array([bool(word.strip()) for word in spelt])
        # Blank words are taken out: ends move back by as many as stood before them, and codes close the gaps.
        ends = np.append(0, np.cumsum(kept[codes]))[ends]
        codes = (np.cumsum(kept) - 1)[codes[kept[codes]]].astype(codes.dtype)
        spelt = [word for word in spelt if word.strip()]
    return Chunk(spelt, codes, ends)


class TextFile:
    """A UTF-8 text file, plain or compressed (see `jaxembed.compression`), with one document per line."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"there is no text file {self.path}")
        if not self.path.is_file():
            raise OSError(f"{self.path} is not a file: give one text file with one document per line")
        named, suffix = SUFFIXES.get(self.path.suffix), self.path.suffix
        if named and compression(self.path) != named:
            raise OSError(f"{self.path} is not a {named} file: drop the {suffix} from its name if it is plain text")

    def digest(self) -> str:
        """Returns BLAKE2b of the bytes on disk."""
        return "file " + file_digest(self.path)

    def texts(self, chunk_bytes: int) -> Iterator[list[str]]:
        """Yields the lines, which must fit into memory, about `chunk_bytes` at a time."""
        try:
            with reading(self.path) as file:
                number = 1
                while lines := file.readlines(chunk_bytes):
                    yield [
                        decoded(line, os.fspath(self.path), i).rstrip("\r\n") for i, line in enumerate(lines, number)
                    ]
                    number += len(lines)
        except ValueError as error:
            if isinstance(error.__cause__, UnicodeDecodeError):
                raise
            raise OSError(str(error)) from error  # the compressed data are damaged

    def chunks(self, chunk_bytes: int) -> Iterator[Chunk]:
        """Yields blocks cut at white space, so that lines longer than memory are possible; see `Source`."""
        import pyarrow as pa

        read_bytes = read_lines = 0
        unfinished = False
        for block in self._blocks(chunk_bytes):
            try:
                block.decode()
            except UnicodeDecodeError as error:
                line = read_lines + block.count(b"\n", 0, error.start) + 1
                raise ValueError(
                    f"{self.path}: line {line} is not UTF-8 (byte {read_bytes + error.start}: {error.reason}). "
                    f"Convert it first, for example with iconv -f latin1 -t utf-8"
                ) from None
            borders = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
            unfinished = not block.endswith(b"\n")  # the last line goes on in the next block
            offsets = np.concatenate([[0], borders, [len(block)] * unfinished]).astype(np.int64)
            lines = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(block))
            chunk = _encode(lines)
            yield chunk._replace(ends=chunk.ends[:-1]) if unfinished else chunk
            read_bytes += len(block)
            read_lines += len(borders)
        if unfinished:
            yield Chunk([], np.zeros(0, np.int32), np.zeros(1, np.int64))

    def _blocks(self, size: int) -> Iterator[bytes]:
        """Yields the text in blocks that end with whole words."""
        rest = b""
        try:
            with reading(self.path) as file:
                start = file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
                while read := start + file.read(size):
                    start = b""
                    # No letter of UTF-8 has these bytes inside, so that neither a word nor a letter is cut. A block without any
                    # is kept, and the next one joined to it.
                    cut = max(read.rfind(b"\n"), read.rfind(b" ")) + 1
                    if cut:
                        yield rest + read[:cut]
                        rest = b""
                    rest += read[cut:]
        except ValueError as error:  # the compressed data are damaged
            raise OSError(str(error)) from error
        if rest:
            yield rest


class TextFolder:
    """The text files of a folder, in the order of their names, with one document per line. Hidden files are left out."""

    def __init__(self, path: str | os.PathLike):
        files = sorted(file for file in Path(path).iterdir() if file.is_file() and not file.name.startswith("."))
        if not files:
            raise FileNotFoundError(f"the folder {path} holds neither parquet nor text files")
        self.files = [TextFile(file) for file in files]

    def digest(self) -> str:
        """Returns a hash of the files' bytes on disk."""
        return "files " + content_digest(*(file.digest() for file in self.files))

    def texts(self, chunk_bytes: int) -> Iterator[list[str]]:
        """Yields the lines of the files, about `chunk_bytes` at a time."""
        for file in self.files:
            yield from file.texts(chunk_bytes)

    def chunks(self, chunk_bytes: int) -> Iterator[Chunk]:
        """See `Source`."""
        for file in self.files:
            yield from file.chunks(chunk_bytes)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


class TextColumn:
    """A column of a `datasets.Dataset`, of texts or of lists of words, with one document per row."""

    def __init__(self, dataset: "datasets.Dataset", column: str):
        fields = {field.name: field.type for field in dataset.features.arrow_schema}
        texts = [name for name, kind in fields.items() if _is_text(getattr(kind, "value_type", kind))]
        if column not in texts:
            problem = f"holds {fields[column]}, not text" if column in fields else "does not exist"
            raise ValueError(
                f"column {column!r} {problem}: the columns with text are {texts}"
                if texts
                else f"column {column!r} {problem}, and no column of {list(fields)} holds text"
            )
        self.column = column
        self.rows = dataset.select_columns([column]).with_format("arrow")

    def _arrays(self, chunk_bytes: int) -> Iterator[Any]:
        import pyarrow as pa

        table = self.rows.data
        rows = max(1, int(chunk_bytes * table.num_rows / max(table.select([self.column]).nbytes, 1)))
        for batch in self.rows.iter(batch_size=rows):
            for array in batch.column(self.column).chunks:  # pyright: ignore[reportAttributeAccessIssue]
                yield array.cast(pa.large_string()) if _is_text(array.type) else array

    def digest(self) -> str:
        """Returns BLAKE2b of the text and of its lengths, independent of chunks, files and selections of rows."""
        import pyarrow as pa

        content, lengths = hasher(), hasher()
        # Content and borders are hashed apart and by their values, not by Arrow's buffers, whose layout depends on how the
        # rows were cut, selected or stored.
        for array in self._arrays(CHUNK_BYTES):
            if not _is_text(array.type):
                lengths.update(_lengths(array).data)
                array = array.flatten().cast(pa.large_string())
            array = array.fill_null("")
            offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
            lengths.update(np.diff(offsets).data)
            if len(offsets) and offsets[-1] > offsets[0]:
                content.update(memoryview(array.buffers()[2])[offsets[0] : offsets[-1]])
        return f"column {content.hexdigest()} {lengths.hexdigest()}"

    def texts(self, chunk_bytes: int) -> Iterator[list[str]]:
        """Yields the texts, about `chunk_bytes` at a time; words of a list are joined by spaces, and a missing text is empty."""
        for array in self._arrays(chunk_bytes):
            yield [text if isinstance(text, str) else " ".join(text or ()) for text in array.to_pylist()]

    def chunks(self, chunk_bytes: int) -> Iterator[Chunk]:
        """See `Source`."""
        yield from map(_encode, self._arrays(chunk_bytes))


class Sentences:
    """Lists of words, as gensim's `sentences`, with one document per list. They are read once, so an iterator is possible."""

    def __init__(self, sentences: Iterable[Sequence[str]]):
        self.sentences = sentences

    def digest(self) -> None:
        """Returns None: the hash is unknown before the words are read."""

    def chunks(self, chunk_bytes: int) -> Iterator[Chunk]:
        """See `Source`."""
        batch: list[Sequence[str]] = []
        words = 0
        for sentence in self.sentences:
            if isinstance(sentence, str) or not isinstance(sentence, Iterable):
                raise ValueError(f"each sentence must be a list of words, not {sentence!r:.60}: split it first")
            batch.append(sentence if isinstance(sentence, Sequence) else list(sentence))
            words += len(batch[-1])
            if 8 * words >= chunk_bytes:
                yield self._chunk(batch)
                batch, words = [], 0
        yield self._chunk(batch)

    def _chunk(self, batch: list[Sequence[str]]) -> Chunk:
        index: defaultdict[str, int] = defaultdict()
        index.default_factory = index.__len__
        codes = np.fromiter(map(index.__getitem__, chain.from_iterable(batch)), np.int32)
        for word in index:
            if not isinstance(word, str):
                raise ValueError(f"each word must be a string, not {word!r:.60} of type {type(word).__name__}")
        return Chunk(list(index), codes, np.cumsum([len(sentence) for sentence in batch], dtype=np.int64))


class Settings(NamedTuple):
    """The settings that token ids depend on besides the text."""

    min_count: int = 5
    max_final_vocab: int | None = None
    lowercase: bool = False
    punctuation: bool = False

    def key(self, digest: str) -> str:
        """Returns a hash of content and settings, 32 hexadecimal digits: the corpus's fingerprint and its name in the cache."""
        later = (
            () if not self.punctuation else ("punctuation",)
        )  # a setting that came later leaves older keys as they are
        return content_digest(repr((FORMAT, digest, *self[:3], *later)))


# What a word with punctuation is cut into: runs of letters, digits and apostrophes, and single other marks. An HTML line break
# holds white space, so that its halves stand in two words; no other tag of plain texts matters.
_PARTS = re.compile(r"<br$|^/>(?:<br$)?|<[^<>]*>|([\w']+|[^\w\s])")


def parts_of(word: str) -> list[str]:
    """Cuts a word that is free of white space at its punctuation, each mark of which is a word; HTML tags are left out."""
    return [part for part in _PARTS.findall(word) if part]


def set_apart(chunk: Chunk) -> Chunk:
    """The same text with punctuation marks as words of their own; each distinct word is cut once."""
    index: dict[str, int] = {}
    cut = [[index.setdefault(part, len(index)) for part in parts_of(word)] for word in chunk.words]
    lengths = np.array([len(parts) for parts in cut], np.int64)
    begin = np.cumsum(lengths) - lengths
    flat = np.array([part for parts in cut for part in parts], np.int32)
    each = lengths[chunk.codes]
    after = np.cumsum(each)
    # The parts of a word stand one after the other, from where its own begin.
    place = np.arange(after[-1] if len(after) else 0) - np.repeat(after - each, each)
    codes = flat[np.repeat(begin[chunk.codes], each) + place] if len(place) else np.zeros(0, np.int32)
    return Chunk(list(index), codes, np.append(0, after)[chunk.ends])


def build(source: Source, settings: Settings, folder: Path, chunk_bytes: int = CHUNK_BYTES) -> None:
    """Writes a corpus into `folder`: tokens.npy (int32), offsets.npy (int64) and corpus.json.

    Raises ValueError for an empty corpus, for one whose words all fall under `min_count`, and for text that is not
    UTF-8; OSError for a file that cannot be read.
    """
    provisional, borders = folder / "provisional", folder / "borders"
    chunks = source.chunks(chunk_bytes)
    chunks = map(set_apart, chunks) if settings.punctuation else chunks
    spellings, spelling_counts = _number(chunks, provisional, borders)
    digest = source.digest() or _digest_of_ids(spellings, provisional, borders)

    # Folding case here, once a distinct word, is exact and free; folding the text would be neither.
    words: dict[str, int] = {}
    merged = [words.setdefault(word.lower() if settings.lowercase else word, len(words)) for word in spellings]
    counts = np.zeros(len(words), np.int64)
    np.add.at(counts, merged, spelling_counts)
    if "" in words:
        counts[words[""]] = 0
    vocabulary = Vocabulary.build(list(words), counts, settings.min_count, settings.max_final_vocab)
    final = np.array([vocabulary.index.get(word, -1) for word in words], np.int32)[merged]
    checksum = _renumber(final, int(vocabulary.counts.sum()), provisional, borders, folder)
    described = {"key": settings.key(digest), "crc32": checksum, "raw_words": int(counts.sum())}
    described |= {"counts": vocabulary.counts.tolist(), "words": vocabulary.words}
    (folder / "corpus.json").write_text(json.dumps(described), encoding="utf-8")
    provisional.unlink()
    borders.unlink()


def _number(chunks: Iterable[Chunk], provisional: Path, borders: Path) -> tuple[list[str], np.ndarray]:
    """First pass: ids by first appearance (int32) and document ends (int64) to files; the words and their counts."""
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    counts = np.zeros(1 << 16, np.int64)
    read = 0
    with open(provisional, "wb") as ids_file, open(borders, "wb") as ends_file:
        for words, codes, ends in chunks:
            ids = np.fromiter(map(index.__getitem__, words), np.int32, len(words))
            if len(index) > len(counts):
                counts = np.concatenate([counts, np.zeros(len(index), np.int64)])
            counts[ids] += np.bincount(codes, minlength=len(words))
            # From the few distinct words of a chunk to ids of the whole by a table, without Python touching each token.
            # Not `tofile`, whose error on a full disk does not say what it is.
            ids_file.write(ids[codes].data)
            ends_file.write((ends + read).data)
            read += len(codes)
    if not read:
        raise ValueError("the corpus is empty: it holds no words")
    return list(index), counts[: len(index)]


def _digest_of_ids(words: list[str], *files: Path) -> str:
    # repr distinguishes ["a b"] from ["a", "b"], and unlike UTF-8 it has an answer for lone surrogates
    return " ".join(["words", content_digest(repr(words)), *map(file_digest, files)])


def _renumber(final: np.ndarray, tokens: int, provisional: Path, borders: Path, folder: Path) -> int:
    """Second pass: final ids in place of provisional ones, without those that are -1; the CRC-32 of both files."""
    ends = np.memmap(borders, np.int64, "r")
    out = mapped_file(folder / "tokens.npy", np.int32, (tokens,))
    offsets = mapped_file(folder / "offsets.npy", np.int64, (len(ends) + 1,))
    checksum = read = written = documents = 0
    with open(provisional, "rb") as ids:
        while len(part := final[np.fromfile(ids, np.int32, CHUNK_BYTES // 4)]):
            kept = part >= 0
            place = np.concatenate([[0], np.cumsum(kept)])
            # Documents that end in this part: their new end is the number of tokens kept up to there.
            done = int(np.searchsorted(ends, read + len(part), side="right"))
            offsets[documents + 1 : done + 1] = written + place[ends[documents:done] - read]
            documents = done
            read += len(part)
            part = part[kept]
            checksum = zlib.crc32(part.data, checksum)
            out[written : written + len(part)] = part
            written += len(part)
    out.flush()
    offsets.flush()
    return zlib.crc32(offsets.data, checksum)
