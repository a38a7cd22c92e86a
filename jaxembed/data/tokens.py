"""Texts as padded token ids, by the `tokenizers` library: trained on the texts at hand, or any tokenizer.json."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np

from jaxembed.data.cache import cached, content_digest
from jaxembed.data.columns import digest
from jaxembed.naming import unknown

if TYPE_CHECKING:
    import tokenizers

FORMAT = 1  # part of every cache key: increase it when the same settings give another tokenizer
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")  # of tokenizers trained here, ids 0 to 3
RUN = 1 << 14  # texts encoded at a time
MANY = 20_000  # number of texts from which on their ids are cached

#: The usual names of the tokens that pad, begin and end a text.
_NAMES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>"),
    "cls": ("[CLS]", "<s>", "<cls>", "<bos>", "<|startoftext|>"),
    "sep": ("[SEP]", "</s>", "<sep>", "<eos>", "<|endoftext|>"),
}


class WordVectors(Protocol):
    """Keys and their vectors [n, d], such as `jaxembed.KeyedVectors`."""

    index_to_key: list[str]

    @property
    def vectors(self) -> np.ndarray:
        """A row per key."""
        ...


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer of the `tokenizers` library, and the ids of the tokens that pad, begin and end a text.

    pad: an id behind those of the vocabulary where this has no token for it. cls, sep: None where texts begin or end with
    nothing. unk: the id of what is not in the vocabulary, None where everything can be spelt (byte-level BPE).
    buckets: how many ids, the last ones, what is not in the vocabulary shares by a hash of its letters instead; 0 for none.
    fingerprint: 32 hexadecimal digits that depend on the tokenizer alone. origin: how it was made, for a run's record.
    """

    core: "tokenizers.Tokenizer"
    pad: int
    cls: int | None
    sep: int | None
    unk: int | None
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)
    buckets: int = 0

    def __len__(self) -> int:
        """Returns the number of ids: the rows that a table of token vectors needs."""
        return len(vocabulary(self))

    def with_buckets(self, buckets: int) -> Self:
        """Returns the same tokenizer with this many ids for words outside the vocabulary; a word always gets the same one.

        Raises ValueError if no word is outside the vocabulary.
        """
        if not buckets:
            return self
        if self.unk is None:
            raise ValueError("buckets are for words outside the vocabulary, and this tokenizer spells all words")
        key = content_digest(f"{self.fingerprint} {buckets}")
        return replace(self, buckets=buckets, fingerprint=key, origin=self.origin | {"buckets": buckets})

    def save(self, path: str | os.PathLike) -> None:
        """Writes a tokenizer.json, which `read_tokenizer` and other libraries read."""
        self.core.save(os.fspath(path))

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of it."""
        return {**self.origin, "vocabulary": len(self), "fingerprint": self.fingerprint}


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as token ids, each `cls`, tokens, `sep` (as far as there are any), then `pad`.

    ids: int32 [n, L], L the length of the longest. lengths: int32 [n], `cls` and `sep` included. truncated: how many texts
    were longer than allowed. empty: how many hold no token but `cls` and `sep`. unknown: how many tokens are not in the
    vocabulary.
    """

    ids: np.ndarray
    lengths: np.ndarray
    truncated: int
    empty: int
    unknown: int

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def mask(self) -> np.ndarray:
        """True for tokens, False for padding: bool [n, L]."""
        return np.arange(self.ids.shape[1])[None, :] < self.lengths[:, None]

    def summary(self) -> dict[str, Any]:
        """Returns sizes and counts for the record of a run."""
        counts = {"truncated": self.truncated, "empty": self.empty, "unknown": self.unknown}
        return {"texts": len(self), "longest": self.ids.shape[1], "tokens": int(self.lengths.sum()), **counts}


def padding_first(size: int, pad: int) -> np.ndarray:
    """The id that encoders know each of `size` ids by, int32: they mask by 0, so that 0 and `pad` change places.

    The order is its own inverse, and serves for ids as for rows of a table.
    """
    order = np.arange(size, dtype=np.int32)
    order[[0, pad]] = pad, 0
    return order


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int = 8000,
    kind: Literal["wordpiece", "bpe", "word"] = "wordpiece",
    lowercase: bool = True,
    min_count: int = 2,
    cache: bool = True,
) -> Tokenizer:
    """Trains a tokenizer on texts; [PAD], [UNK], [CLS] and [SEP] are the ids 0 to 3.

    kind: "wordpiece" is BERT's (Devlin et al. 2019; accents are dropped with the case), "bpe" byte-level as in GPT-2
    (Radford et al. 2019), "word" whole words (runs of letters and digits), the most frequent ones. At most `vocab_size`
    tokens, special ones included, of parts (or words) that occur `min_count` times.

    The outcome depends on the texts and the settings alone, not on threads or hash seeds. It is kept in the cache (see
    `jaxembed.data.cache`) under a hash of both. Raises ValueError for a text that is no string, texts without a word,
    and a `vocab_size` too small for the characters (or bytes) alone.
    """
    if kind not in _KINDS:
        raise unknown("kind", kind, _KINDS)
    if min_count < 1:
        raise ValueError(f"min_count must be 1 or more, not {min_count}")
    texts = _checked(texts)
    settings = {"kind": kind, "vocab_size": vocab_size, "lowercase": lowercase, "min_count": min_count}
    train = partial(_KINDS[kind], texts, vocab_size, lowercase, min_count)
    if not cache:
        return _tokenizer(_finish(train()), settings)
    place = f"tokenizers/{digest([FORMAT, settings], texts)}"
    write = lambda folder: (folder / "tokenizer.json").write_text(_finish(train()).to_str(), encoding="utf-8")
    return cached(place, lambda folder: _tokenizer(_load(folder / "tokenizer.json"), settings), write, "tokenizer")


def read_tokenizer(
    path: str | os.PathLike, *, pad: str | None = None, cls: str | None = None, sep: str | None = None
) -> Tokenizer:
    """Reads a tokenizer.json (or the folder that holds it) of any maker.

    The tokens that pad, begin and end a text are found under their usual names; `pad`, `cls` and `sep` name others, or are ""
    where there is none.
    Truncation, padding and templates that the file may set are not used: `encode` does that. Raises FileNotFoundError,
    and ValueError for another kind of file and where one of the three tokens is not found.
    """
    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"there is no tokenizer {file}: name a tokenizer.json or its folder")
    return _tokenizer(_load(file), {"file": file.name}, pad=pad, cls=cls, sep=sep)


def tokenizer_for(texts: Iterable[str], kind: str, vocab_size: int) -> Tokenizer:
    """Returns a tokenizer trained on `texts` if `kind` is wordpiece, bpe or word, else the tokenizer.json of that path."""
    if kind in ("wordpiece", "bpe", "word"):
        return train_tokenizer(texts, vocab_size=vocab_size, kind=kind)
    return read_tokenizer(kind)


def encode(tokenizer: Tokenizer, texts: Iterable[str], max_length: int, *, cache: bool = True) -> Tokens:
    """Encodes texts, each cut to its first `max_length` ids, `cls` and `sep` included; 0 leaves them whole.

    A text without a token becomes `cls`, `sep`. What a text spells like a special token is text. Where there are
    20,000 texts or more the outcome is kept in the cache (see `jaxembed.data.cache`). Raises ValueError for a text that
    is no string, no texts at all, and a `max_length` that leaves no room for a token.
    """
    if max_length < 3 and max_length != 0:
        raise ValueError(f"max_length must be 3 or more (the first token, one of the text, the last), not {max_length}")
    texts = _checked(texts)
    if not cache or len(texts) < MANY:
        return _encode(tokenizer, texts, max_length)
    place = f"tokens/{digest([FORMAT, tokenizer.fingerprint, max_length], texts)}"

    def write(folder: Path) -> None:
        np.savez(folder / "tokens.npz", **asdict(_encode(tokenizer, texts, max_length)))

    return cached(place, _read_tokens, write, "tokens")


def _read_tokens(folder: Path) -> Tokens:
    with np.load(folder / "tokens.npz") as found:
        counts = {name: int(found[name]) for name in ("truncated", "empty", "unknown")}
        return Tokens(found["ids"], found["lengths"], **counts)


def _encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Tokens:
    rows: list[list[int]] = []
    truncated = 0
    ends = [i for i in (tokenizer.cls, tokenizer.sep) if i is not None]
    longest = max_length - len(ends) if max_length else None
    for start in range(0, len(texts), RUN):
        for row in _rows(tokenizer, texts[start : start + RUN]):
            rows.append(row[:longest])
            truncated += len(rows[-1]) < len(row)
    counts = np.fromiter(map(len, rows), np.int32, len(rows))
    ids = np.full((len(rows), int(counts.max()) + len(ends)), tokenizer.pad, np.int32)
    first = 0 if tokenizer.cls is None else 1
    place = np.arange(ids.shape[1])[None, :] - first
    flat = np.fromiter(chain.from_iterable(rows), np.int32, int(counts.sum()))
    if tokenizer.cls is not None:
        ids[:, 0] = tokenizer.cls
    ids[(place >= 0) & (place < counts[:, None])] = flat
    if tokenizer.sep is not None:
        ids[np.arange(len(ids)), counts + first] = tokenizer.sep
    unknown = 0 if tokenizer.unk is None else int((flat == tokenizer.unk).sum())
    return Tokens(ids, counts + np.int32(len(ends)), truncated, int((counts == 0).sum()), unknown)


def _rows(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    """Returns the ids of each text, without those at its ends."""
    core = tokenizer.core
    if not tokenizer.buckets:
        yield from (found.ids for found in core.encode_batch_fast(texts, add_special_tokens=False))
        return
    first = len(tokenizer) - tokenizer.buckets
    plain = (lambda word: word) if core.normalizer is None else core.normalizer.normalize_str
    for text, found in zip(texts, core.encode_batch(texts, add_special_tokens=False), strict=True):
        yield [
            first + zlib.crc32(plain(text[slice(*span)]).encode()) % tokenizer.buckets if i == tokenizer.unk else i
            for i, span in zip(found.ids, found.offsets, strict=True)
        ]


def vocabulary(tokenizer: Tokenizer) -> list[str]:
    """Returns the token of each id; "" for ids that a file leaves out, and for buckets."""
    found = tokenizer.core.get_vocab(with_added_tokens=True)
    tokens = [""] * (max(*found.values(), tokenizer.pad) + 1 + tokenizer.buckets)
    for token, i in found.items():
        tokens[i] = token
    return tokens


def start_vectors(
    tokenizer: Tokenizer, keyed_vectors: WordVectors, dim: int, seed: int, std: float = 0.02
) -> tuple[np.ndarray, int]:
    """Token vectors float32 [vocabulary, dim] to begin with, and how many of them are those of words.

    A token that is a whole word among the keys (as spelt, or in lower case) takes its vector; these are scaled by one
    factor to the standard deviation `std`, which keeps their angles and relative lengths. The others are normal with
    mean 0 and `std`. Raises ValueError where the vectors are not of `dim` columns.
    """
    if keyed_vectors.vectors.shape[1] != dim:
        size = keyed_vectors.vectors.shape[1]
        raise ValueError(f"the vectors have {size} columns, the tokens {dim}: train vectors of vector_size={dim}")
    places = {key: row for row, key in enumerate(keyed_vectors.index_to_key)}
    words = words_of(tokenizer)
    rows = np.array([places.get(word, places.get(word.lower(), -1)) for word in words])
    rows[[i for i in (tokenizer.pad, tokenizer.cls, tokenizer.sep) if i is not None]] = -1
    out = np.random.default_rng(seed).normal(0.0, std, (len(rows), dim)).astype(np.float32)
    if (known := rows >= 0).any():
        found = keyed_vectors.vectors[rows[known]].astype(np.float64)
        out[known] = found * (std / max(float(found.std()), np.finfo(np.float32).tiny))
    return out, int(known.sum())


def words_of(tokenizer: Tokenizer) -> list[str]:
    """Returns the word that each token spells, "" for a continuation ("##ing"; "ing" beside "Ġking" or "▁king")."""
    tokens = vocabulary(tokenizer)
    mark = next((mark for mark in "Ġ▁" if any(len(token) > 1 and token.startswith(mark) for token in tokens)), "")
    return ["" if token.startswith("##") or not token.startswith(mark) else token[len(mark) :] for token in tokens]


def _checked(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise ValueError("expected texts, found one: pass it in a list")
    texts = list(texts)
    if not texts:
        raise ValueError("there are no texts")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {row} is {text!r:.40}, not a string: leave it out or write it as text")
    return texts


# -- training


def _train(core: "tokenizers.Tokenizer", trainer: Any, texts: Sequence[str]) -> dict[str, int]:
    """Returns the vocabulary that `trainer` finds."""
    core.train_from_iterator(texts, trainer)
    return core.get_vocab(with_added_tokens=False)


def _wordpiece(texts: Sequence[str], vocab_size: int, lowercase: bool, min_count: int) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def train(size: int, first: Sequence[str]) -> dict[str, int]:
        options: dict[str, Any] = {"min_frequency": min_count, "special_tokens": list(first), "show_progress": False}
        core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        core.normalizer, core.pre_tokenizer = normalizer, splitter
        return _train(core, trainers.WordPieceTrainer(vocab_size=size, **options), texts)

    normalizer, splitter = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
    # The library numbers the "##" letters in the order of a hash table, and breaks ties between merges by number: a first
    # pass finds the letters, the second has them sorted.
    letters = sorted(set(train(0, SPECIAL)) - set(SPECIAL), key=lambda token: (token.startswith("##"), token))
    _room(vocab_size, len(letters), "characters")
    vocab = train(vocab_size, [*SPECIAL, *letters])
    core = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer, core.decoder = normalizer, splitter, decoders.WordPiece()
    return core


def _bpe(texts: Sequence[str], vocab_size: int, lowercase: bool, min_count: int) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _room(vocab_size, len(alphabet), "bytes")
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence([normalizers.NFC(), *[normalizers.Lowercase()] * lowercase])
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    options: dict[str, Any] = {"special_tokens": list(SPECIAL), "initial_alphabet": alphabet, "show_progress": False}
    _train(core, trainers.BpeTrainer(vocab_size=vocab_size, min_frequency=min_count, **options), texts)
    return core


def _whole_words(texts: Sequence[str], vocab_size: int, lowercase: bool, min_count: int) -> "tokenizers.Tokenizer":
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    core = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    core.normalizer = normalizers.Sequence([normalizers.NFC(), *[normalizers.Lowercase()] * lowercase])
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+"), "removed", invert=True)
    options: dict[str, Any] = {"special_tokens": list(SPECIAL), "show_progress": False}
    _room(vocab_size, 1, "words")
    _train(core, trainers.WordLevelTrainer(vocab_size=vocab_size, min_frequency=min_count, **options), texts)
    return core


_KINDS = {"wordpiece": _wordpiece, "bpe": _bpe, "word": _whole_words}


def _room(vocab_size: int, needed: int, what: str) -> None:
    if vocab_size < len(SPECIAL) + needed:
        raise ValueError(
            f"vocab_size={vocab_size} has no room for {needed:,} {what} and {len(SPECIAL)} special tokens: pass "
            f"{len(SPECIAL) + needed} or more"
        )


def _finish(core: "tokenizers.Tokenizer") -> "tokenizers.Tokenizer":
    """Adds the special tokens, and the template that tells other libraries where to place them."""
    from tokenizers.processors import TemplateProcessing

    if core.get_vocab_size() == len(SPECIAL):
        raise ValueError("the texts hold no word that occurs min_count times: pass more texts or a smaller min_count")
    core.add_special_tokens(list(SPECIAL))
    ends = [(token, core.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    core.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return core


def _load(file: Path) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no narrower one
        raise ValueError(f"{file} is not a tokenizer.json of the tokenizers library: {error}") from error


def _tokenizer(core: "tokenizers.Tokenizer", origin: dict[str, Any], **named: str | None) -> Tokenizer:
    core.no_truncation()
    core.no_padding()
    core.encode_special_tokens = True  # "[SEP]" in a text does not end it
    ids: dict[str, Any] = {}
    for role, usual in _NAMES.items():
        if named.get(role) == "":
            ids[role] = max(core.get_vocab(with_added_tokens=True).values()) + 1 if role == "pad" else None
            continue
        candidates = [name for name in (named.get(role),) if name is not None] or usual
        ids[role] = next((i for name in candidates if (i := core.token_to_id(name)) is not None), None)
        if ids[role] is None:
            special = ", ".join(str(token) for token in core.get_added_tokens_decoder().values()) or "none"
            raise ValueError(
                f"the tokenizer has no token {' or '.join(candidates)} for {role}: name one with {role}=…; "
                f"its special tokens are {special}"
            )
    content = core.to_str()
    model = json.loads(content)["model"]
    unknown = model.get("unk_token")
    unk = core.token_to_id(unknown) if isinstance(unknown, str) else model.get("unk_id")
    key = content_digest(f"{content} {ids}")
    return Tokenizer(core, ids["pad"], ids["cls"], ids["sep"], unk, key, origin)
