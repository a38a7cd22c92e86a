"""Sentences and image texts as token ids, as methods take them; 0 is padding whatever the tokenizer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxembed.data.pairs import ImageTexts, Sentences, row_ids
from jaxembed.data.tokens import Tokenizer, Tokens, encode, padding_first


@dataclass(frozen=True, eq=False)
class TokenGroups:
    """Sentences in groups with one meaning.

    ids: int32 `[n, g, l]`, 0 is padding. sizes: the number of sentences of each group, int32 `[n]`. texts: int32 `[n,
    g]`, equal for equal token ids, negative for a sentence that equals no other. negatives: `[n, l]`, a hard negative
    for each group, or None. negative_texts: their numbers, int32 `[n]`, or None if they equal no other. start: float32
    `[vocabulary_size, d]`, token vectors to start from, or None. weights: `[vocabulary_size]`, logarithms of the
    initial weights of tokens. truncated: the number of texts that were cut. max_length: the length that they were cut
    to. special: ids that are not words (padding, ends, unknown). judged: `[m, l]`, ids of the texts that vectors are
    judged by, for methods that are fitted to them without training; None if there are none.
    """

    ids: np.ndarray
    sizes: np.ndarray
    texts: np.ndarray
    vocabulary_size: int
    negatives: np.ndarray | None = None
    start: np.ndarray | None = None
    truncated: int = 0
    max_length: int = 0
    special: tuple[int, ...] = (0, 1, 2, 3)
    negative_texts: np.ndarray | None = None
    weights: np.ndarray | None = None
    judged: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TokenizedTexts:
    """Texts with classes: ids int32 `[n, l]`, 0 is padding; labels int32 `[n]`, and the number of classes.

    max_length: the length that texts were cut to.
    """

    ids: np.ndarray
    labels: np.ndarray
    classes: int
    vocabulary_size: int
    max_length: int = 0


@dataclass(frozen=True, eq=False)
class TokenizedImages:
    """Images and their texts: uint8 `[n, h, w, c]`, ids int32 `[n, l]`.

    texts: int32 `[n]`, equal for equal token ids. pictures: int32 `[n]`, equal for the same picture, or None if each
    picture occurs once.
    """

    images: np.ndarray
    ids: np.ndarray
    texts: np.ndarray
    vocabulary_size: int
    truncated: int = 0
    max_length: int = 0
    pictures: np.ndarray | None = None


def token_groups(
    sentences: Sentences, tokenizer: Tokenizer, max_length: int, start: np.ndarray | None = None
) -> TokenGroups:
    """Returns groups of sentences as ids, each cut to `max_length`; for `start [len(tokenizer), d]` see TokenGroups.

    Sentences are numbered by their ids and not by their letters: two that an encoder cannot distinguish ("café" and
    "cafe" if accents are dropped, texts that are equal up to `max_length`, texts of unknown words only) have the same
    number.
    """
    tokens = encode(tokenizer, [*sentences.texts, *sentences.negatives], max_length)
    ids = padded_by_zero(tokens, tokenizer)
    sizes = np.bincount(sentences.group).astype(np.int32)
    place = np.arange(len(sentences)) - (np.cumsum(sizes) - sizes)[sentences.group]
    shape = (len(sizes), int(sizes.max()))
    packed, numbers = np.zeros((*shape, ids.shape[1]), np.int32), np.full(shape, -1, np.int32)
    packed[sentences.group, place] = ids[: len(sentences)]
    told_apart = row_ids(ids)
    numbers[sentences.group, place] = told_apart[: len(sentences)]
    negatives, hard = (x[len(sentences) :] if sentences.negatives else None for x in (ids, told_apart))
    named = {tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.unk} - {None}
    special = tuple(sorted(padding_first(len(tokenizer), tokenizer.pad)[list(named)].tolist()))
    return TokenGroups(
        packed, sizes, numbers, len(tokenizer), negatives, start, tokens.truncated, max_length, special, hard
    )


def tokenized_images(pairs: ImageTexts, tokenizer: Tokenizer, max_length: int) -> TokenizedImages:
    """Returns images with the ids of their texts, each cut to `max_length`; texts are numbered as in `token_groups`."""
    tokens = encode(tokenizer, pairs.texts, max_length)
    ids = padded_by_zero(tokens, tokenizer)
    images, texts = pairs.images.images, row_ids(ids)
    return TokenizedImages(images, ids, texts, len(tokenizer), tokens.truncated, max_length, pairs.pictures)


def text_rows(texts: Iterable[str], tokenizer: Tokenizer, max_length: int) -> np.ndarray:
    """Returns the ids of texts, int32 `[n, l]`."""
    return padded_by_zero(encode(tokenizer, texts, max_length), tokenizer)


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks rows of ids of different lengths, int32 `[n, l]`."""
    longest = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, longest - part.shape[1]))) for part in parts])


def padded_by_zero(tokens: Tokens, tokenizer: Tokenizer) -> np.ndarray:
    """Returns ids `[n, l]` in which 0 is padding, since encoders mask by 0; the id 0 and the padding's change places."""
    return padding_first(len(tokenizer), tokenizer.pad)[tokens.ids]
