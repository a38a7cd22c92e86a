"""Texts as one long stream of token ids, memory-mapped from the cache: what language models are trained on.

Every text is the tokenizer's first token, its own tokens and the last token; where the tokenizer has one token for both, such as
`<eos>`, it stands once between two texts, and once before the first.
"""

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.data.cache import cached, content_digest
from jaxembed.data.text import open_texts
from jaxembed.data.tokenise import CHUNK_BYTES, TextColumn, TextFile, TextFolder
from jaxembed.data.tokens import Tokenizer, padding_first, read_tokenizer, train_tokenizer

if TYPE_CHECKING:
    import datasets

FORMAT = 2  # part of every cache key: increase it when the same settings give another stream
_SAMPLE = 64 << 20  # characters of the first texts that a tokenizer is trained on
_PART = 1 << 22  # number of tokens processed together
_MASKS = ("[MASK]", "<mask>")
_ENDS = ("[SEP]", "</s>", "<eos>")
MADE = ("word", "wordpiece", "bpe")  # tokenizers that are made from the texts


@dataclass(frozen=True)
class Marks:
    """The ids of tokens that are no words.

    mask: -1 where a tokenizer has no token that stands for a hidden word. consecutive: whether the texts are parts of one longer
    text, so that a model may see across their borders.
    """

    cls: int
    sep: int
    mask: int
    consecutive: bool = False

    @property
    def apart(self) -> tuple[int, ...]:
        """The ids that are never masked: padding and both ends of a text."""
        return tuple(sorted({0, self.cls, self.sep}))


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Texts one after the other as token ids; 0 is padding and does not occur.

    tokens: uint16 or int32 [n]. offsets: int64 [texts + 1]; text i is `tokens[offsets[i]:offsets[i + 1]]`, its ends included.
    words: int64 [texts], the words of each text, as white space parts them. fingerprint: 32 hexadecimal digits that depend on the
    texts alone. origin: where the texts came from, for the record of a run (JSON-ready). unknown: int64 [texts], how many tokens
    of each stand for something that the tokenizer cannot spell; a word of the text that is written like that token is none. None
    where nobody has counted them.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    words: np.ndarray
    vocabulary_size: int
    marks: Marks
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)
    unknown: np.ndarray | None = None

    @property
    def texts(self) -> int:
        """The number of texts."""
        return len(self.words)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each token occurs, int64 [vocabulary_size]. Raises ValueError for one outside the vocabulary."""
        found = np.zeros(self.vocabulary_size, np.int64)
        for at in range(0, len(self.tokens), _PART):  # there may be more than memory
            some = self.tokens[at : at + _PART]
            if (largest := int(some.max())) >= self.vocabulary_size:
                raise ValueError(
                    f"a token has the id {largest}, outside the vocabulary of {self.vocabulary_size:,}: read the texts with the "
                    "tokenizer of the model"
                )
            found += np.bincount(some, minlength=self.vocabulary_size)
        return found

    def part(self, first: int, last: int) -> "TokenStream":
        """Returns the texts `first` to `last - 1`."""
        begin, end = self.offsets[first], self.offsets[last]
        # The token that ends the text before begins this one, if one token does both.
        begin -= int(begin > 0 and self.marks.cls == self.marks.sep)
        offsets = np.concatenate([[0], self.offsets[first + 1 : last + 1] - begin])
        key = content_digest(f"{self.fingerprint} {first} {last}")
        unknown = None if self.unknown is None else self.unknown[first:last]
        return replace(
            self,
            tokens=self.tokens[begin:end],
            offsets=offsets,
            words=self.words[first:last],
            unknown=unknown,
            fingerprint=key,
        )

    @property
    def unknown_share(self) -> float:
        """The share of tokens that stand for something that the tokenizer cannot spell; 0 where nobody has counted them."""
        return 0.0 if self.unknown is None else float(self.unknown.sum() / len(self.tokens))

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {"documents": self.texts, "tokens": len(self.tokens), "words": int(self.words.sum())}
        sizes |= {} if self.unknown is None else {"unknown": int(self.unknown.sum())}
        return {**self.origin, **sizes, "vocabulary": self.vocabulary_size, "fingerprint": self.fingerprint}


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of a column or file that are not blank; they are read again for each use, and never held at once.

    most: how many are read, the first; None reads all.
    """

    source: "TextColumn | TextFile | TextFolder"
    origin: dict[str, Any]
    most: int | None = None

    def __iter__(self) -> Iterator[str]:
        for some in self.chunks():
            yield from some

    def chunks(self) -> Iterator[list[str]]:
        """Yields some texts at a time."""
        left = self.most
        for some in self.source.texts(CHUNK_BYTES):
            found = [text for text in some if text and not text.isspace()]
            found = found if left is None else found[:left]
            left = None if left is None else left - len(found)
            yield found
            if left == 0:
                return

    def __len__(self) -> int:
        return sum(map(len, self.chunks()))


def open_stream(
    data: "str | os.PathLike | datasets.Dataset", column: str = "text", *, split: str | None = None,
    config: str | None = None, revision: str | None = None,
) -> Texts:  # fmt: skip
    """Finds texts as `read_corpus` does: a text file, whose lines are texts, a folder of such files, or a column of a dataset."""
    source, origin = open_texts(data, column, split, config, revision)
    if not isinstance(source, TextColumn | TextFile | TextFolder):
        raise ValueError("expected a file or a dataset of texts")
    return Texts(source, origin)


def read_stream(texts: Texts, tokenizer: Tokenizer, consecutive: bool = False) -> TokenStream:
    """Tokenises texts once; the ids are kept in the cache (see `jaxembed.data.cache`) and memory-mapped.

    The tokenizer must have tokens for both ends of a text (`with_ends`). The id 0 and that of padding change places. Raises
    ValueError without any text, and for a word that the tokenizer reads as padding, a mask or an end.
    """
    if tokenizer.cls is None or tokenizer.sep is None:
        raise ValueError("the tokenizer has no tokens at both ends of a text: choose them by with_ends(tokenizer)")
    order, named = padding_first(len(tokenizer), tokenizer.pad), (tokenizer.cls, tokenizer.sep, mask_of(tokenizer))
    cls, sep, mask = (-1 if i is None else int(order[i]) for i in named)
    source = f"{texts.source.digest()} {texts.most}"
    key = content_digest(repr((FORMAT, source, tokenizer.fingerprint)))
    of: dict[str, Any] = {
        "marks": Marks(cls, sep, mask, consecutive),
        "fingerprint": content_digest(source),
        "origin": texts.origin,
    }
    read = partial(_read, size=len(tokenizer), **of)
    return cached(f"streams/{key}", read, partial(_write, texts, tokenizer), "token ids")


def _write(texts: Texts, tokenizer: Tokenizer, folder: Path) -> None:
    dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
    ends: Any = (tokenizer.cls, tokenizer.sep)
    one_end, order = ends[0] == ends[1], padding_first(len(tokenizer), tokenizer.pad).astype(dtype)
    marks, spelt = {*ends, tokenizer.pad, mask_of(tokenizer)} - {tokenizer.unk}, _spelt_unknown(tokenizer)
    checksum, lengths, words, unknown = 0, [1] if one_end else [0], [], []
    with open(folder / "tokens", "wb") as file:

        def write(ids: Sequence[int]) -> None:
            nonlocal checksum
            part = order[np.asarray(ids, np.int64)]
            file.write(part.data)
            checksum = zlib.crc32(part.data, checksum)

        if one_end:
            write(ends[:1])
        for some in texts.chunks():
            flat: list[int] = []
            for text, found in zip(some, tokenizer.core.encode_batch_fast(some, add_special_tokens=False), strict=True):
                ids = found.ids
                if wrong := marks.intersection(ids):
                    word = tokenizer.core.id_to_token(wrong.pop())
                    raise ValueError(
                        f"a text holds {word!r}, by which this tokenizer pads, hides or ends texts: remove the word, or choose "
                        f"another tokenizer (the text begins with {text[:40]!r})"
                    )
                literal = text.split().count(spelt) if spelt else 0
                unknown.append(0 if tokenizer.unk is None else ids.count(tokenizer.unk) - literal)
                before = len(flat)
                flat += [ends[0], *ids, ends[1]][int(one_end) :]
                lengths.append(len(flat) - before)
            words += [len(text.split()) for text in some]
            write(flat)
    if not words:
        raise ValueError("there are no texts: all are empty or blank")
    # One end stands before the first text, and belongs to it.
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)[1:]])
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "words.npy", np.array(words, np.int64))
    np.save(folder / "unknown.npy", np.array(unknown, np.int64))
    (folder / "stream.json").write_text(json.dumps({"dtype": np.dtype(dtype).name, "crc32": checksum}))


def _spelt_unknown(tokenizer: Tokenizer) -> str | None:
    """The word that texts may hold and that is the tokenizer's own for what it cannot spell, such as Penn Treebank's <unk>."""
    name = None if tokenizer.unk is None else tokenizer.core.id_to_token(tokenizer.unk)
    return name if name and tokenizer.core.encode(name, add_special_tokens=False).ids == [tokenizer.unk] else None


def _read(folder: Path, size: int, **of: Any) -> TokenStream:
    described = json.loads((folder / "stream.json").read_text())
    tokens = np.memmap(folder / "tokens", described["dtype"], "r")
    if zlib.crc32(tokens.data) != described["crc32"]:
        raise ValueError("the token ids are not those that were written")
    offsets, words, unknown = (np.load(folder / f"{name}.npy") for name in ("offsets", "words", "unknown"))
    if len(offsets) != len(words) + 1 or offsets[-1] != len(tokens):
        raise ValueError("the borders of texts are not those that were written")
    return TokenStream(tokens, offsets, words, size, unknown=unknown, **of)


def mask_of(tokenizer: Tokenizer) -> int | None:
    """Returns the id of the token that stands for a hidden word, None if there is none."""
    return next((i for name in _MASKS if (i := tokenizer.core.token_to_id(name)) is not None), None)


def with_mask(tokenizer: Tokenizer) -> Tokenizer:
    """Returns the same tokenizer with a token [MASK], its last one, if it has none and its padding is a token."""
    if mask_of(tokenizer) is not None or tokenizer.core.id_to_token(tokenizer.pad) is None:
        return tokenizer
    from tokenizers import Tokenizer as Core

    core = Core.from_str(tokenizer.core.to_str())
    core.add_special_tokens([_MASKS[0]])
    core.encode_special_tokens = True
    return replace(tokenizer, core=core, fingerprint=content_digest(f"{tokenizer.fingerprint} {_MASKS[0]}"))


def with_ends(tokenizer: Tokenizer) -> Tokenizer:
    """Returns the same tokenizer with tokens at both ends of a text: where one is missing, the other, or <|endoftext|>, is both.

    Where it is the last one, a token with the usual name, such as [SEP], comes before the first one. Raises ValueError if there
    is none of them.
    """
    if tokenizer.cls is not None and tokenizer.sep is not None:
        return tokenizer
    usual = next((i for name in _ENDS if (i := tokenizer.core.token_to_id(name)) is not None), None)
    if tokenizer.cls is not None and usual is not None:  # that of a causal model, for instance (`without_end`)
        return replace(
            tokenizer, sep=usual, fingerprint=content_digest(f"{tokenizer.fingerprint} ends {tokenizer.cls} {usual}")
        )
    one = tokenizer.sep if tokenizer.cls is None else tokenizer.cls
    one = tokenizer.core.token_to_id("<|endoftext|>") if one is None else one
    if one is None:
        raise ValueError(
            "the tokenizer has no token that ends a text, such as <|endoftext|>: texts could not be told apart"
        )
    return replace(tokenizer, cls=one, sep=one, fingerprint=content_digest(f"{tokenizer.fingerprint} ends {one}"))


def without_end(tokenizer: Tokenizer) -> Tokenizer:
    """Returns the same tokenizer without a token behind a text's last word."""
    return replace(tokenizer, sep=None, fingerprint=content_digest(f"{tokenizer.fingerprint} without end"))


def stream_tokenizer(texts: Iterable[str], kind: str, vocab_size: int) -> Tokenizer:
    """Returns a tokenizer with a mask: wordpiece or bpe, trained on the first 64 million characters of the texts, or word.

    "word" is one of words as white space parts them, with `<unk>` for others and `<eos>` at both ends of a text; all texts are
    read. Anything else is the path of a tokenizer.json, which gets a mask if it has none.
    """
    if kind == "word":
        return with_mask(word_tokenizer(texts, vocab_size))
    if kind in ("wordpiece", "bpe"):
        return with_mask(train_tokenizer(_first(texts), vocab_size=vocab_size, kind=kind))
    return with_mask(with_ends(read_tokenizer(kind)))


def _first(texts: Iterable[str]) -> list[str]:
    found, size = [], 0
    for text in texts:
        found.append(text)
        size += len(text)
        if size > _SAMPLE:
            break
    return found


def word_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Returns a tokenizer of the `vocab_size - 3` most frequent words, as white space parts them; the ids follow the frequencies.

    [PAD], `<unk>` (for other words) and `<eos>` (at both ends of a text) are the ids 0 to 2. A word of a text that is written
    like the first or the last is read as `<unk>`. Raises ValueError if there is no word or no room for one.
    """
    from tokenizers import Regex, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Core

    special = ("[PAD]", "<unk>", "<eos>")
    if vocab_size <= len(special):
        raise ValueError(f"vocab_size={vocab_size} has no room for words beside {', '.join(special)}: pass more")
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.split())
    words = [word for word, _ in counts.most_common() if word not in special][: vocab_size - len(special)]
    if not words:
        raise ValueError("the texts hold no word")
    core = Core(models.WordLevel({word: i for i, word in enumerate((*special, *words))}, unk_token="<unk>"))
    marks: Any = Regex(r"(?<!\S)(\[PAD\]|<eos>)(?!\S)")
    core.normalizer = normalizers.Replace(marks, "<unk>")  # pyright: ignore[reportAttributeAccessIssue]
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    core.add_special_tokens(["[PAD]", "<eos>"])
    content = core.to_str()
    write = lambda folder: (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    found = cached(
        f"tokenizers/{content_digest(content)}", lambda folder: read_tokenizer(folder, **WORD_ENDS), write, "tokenizer"
    )
    return replace(found, origin={"kind": "word", "vocab_size": vocab_size})


WORD_ENDS = {"pad": "[PAD]", "cls": "<eos>", "sep": "<eos>"}  # the ends of texts for tokenizers of whole words
