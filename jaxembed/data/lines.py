"""Text files as sentences, lists of words: gensim's `LineSentence` and `PathLineSentences`."""

import codecs
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

from jaxembed.compression import reading

MOST_WORDS = 10_000  # words of a sentence, as in gensim


class LineSentence:
    """The lines of a file as lists of words, split at white space; empty lines are left out.

    source: a path (UTF-8, plain or compressed: see `jaxembed.compression`), or an open file with `seek`, of text or bytes.
    max_sentence_length: a longer line is cut into several sentences. limit: read only so many lines; None reads all.

    It can be read again and again, and holds one line in memory. `corpus_file=` reads a whole file several times faster.
    Raises ValueError, naming the line, for text that is not UTF-8, and what `open` raises.
    """

    def __init__(
        self, source: str | os.PathLike | IO, max_sentence_length: int = MOST_WORDS, limit: int | None = None
    ) -> None:
        self.source, self.max_sentence_length, self.limit = source, _length(max_sentence_length), limit

    def __iter__(self) -> Iterator[list[str]]:
        if isinstance(self.source, str | os.PathLike):
            yield from _sentences_of(self.source, self.max_sentence_length, self.limit)
            return
        self.source.seek(0)
        yield from _sentences("the file", self.source, self.max_sentence_length, self.limit)


class PathLineSentences:
    """All files of a folder, in the order of their names, as `LineSentence` reads them; or one file.

    Folders inside it are left alone; `limit` is that of each file. Raises ValueError where there is neither file nor folder.
    """

    def __init__(
        self, source: str | os.PathLike, max_sentence_length: int = MOST_WORDS, limit: int | None = None
    ) -> None:
        self.source, self.max_sentence_length, self.limit = source, _length(max_sentence_length), limit
        folder = Path(source)
        if not folder.exists():
            raise ValueError(f"{folder} is neither a file nor a folder of text files")
        files = [folder] if folder.is_file() else sorted(path for path in folder.iterdir() if path.is_file())
        self.input_files = [str(path) for path in files]

    def __iter__(self) -> Iterator[list[str]]:
        for file in self.input_files:
            yield from _sentences_of(file, self.max_sentence_length, self.limit)


def _length(words: int) -> int:
    if words < 1:
        raise ValueError(f"max_sentence_length must be at least 1, not {words}")
    return words


def _sentences_of(path: str | os.PathLike, most: int, limit: int | None) -> Iterator[list[str]]:
    with reading(path) as file:
        yield from _sentences(os.fspath(path), file, most, limit)


def _sentences(name: str, lines: Iterable[str | bytes], most: int, limit: int | None) -> Iterator[list[str]]:
    for number, line in enumerate(islice(lines, limit), 1):
        words = (line if isinstance(line, str) else decoded(line, name, number)).split()
        for start in range(0, len(words), most):
            yield words[start : start + most]


def decoded(line: bytes, name: str, number: int) -> str:
    """Returns line `number` of a file as text. Raises ValueError, naming both, if it is not UTF-8."""
    try:
        return (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name}: line {number} is not UTF-8 ({error.reason}). Convert it first, for example with iconv -f latin1 -t utf-8"
        ) from error
