"""Sentences and image texts as token ids, as methods take them; 0 is padding whatever the tokenizer."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jaxembed.data.pairs import ImageTexts, Sentences
from jaxembed.data.tokens import Tokenizer, Tokens, encode


@dataclass(frozen=True, eq=False)
class TokenGroups:
    """Sentences in groups of one meaning.

    ids: int32 `[n, g, l]`, 0 is padding; sizes: how many sentences each group has, int32 `[n]`; texts: int32 `[n, g]`, the
    same number for the same text. negatives: `[n, l]`, a hard negative for each group, or None.
    start: float32 `[vocabulary_size, d]`, token vectors to start from, or None. truncated: texts that were cut.
    max_length: what they were cut to, and others will be. special: ids that are no words (padding, ends, unknown).
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


@dataclass(frozen=True, eq=False)
class TokenizedImages:
    """Images and their texts: uint8 `[n, h, w, c]`, ids int32 `[n, l]`; texts int32 `[n]`, the same number for the same."""

    images: np.ndarray
    ids: np.ndarray
    texts: np.ndarray
    vocabulary_size: int
    truncated: int = 0
    max_length: int = 0


def token_groups(
    sentences: Sentences, tokenizer: Tokenizer, max_length: int, start: np.ndarray | None = None
) -> TokenGroups:
    """Groups of sentences as ids, each cut to `max_length`; `start [len(tokenizer), d]` as TokenGroups has it."""
    tokens = encode(tokenizer, [*sentences.texts, *sentences.negatives], max_length)
    ids = padded_by_zero(tokens, tokenizer)
    sizes = np.bincount(sentences.group).astype(np.int32)
    place = np.arange(len(sentences)) - (np.cumsum(sizes) - sizes)[sentences.group]
    shape = (len(sizes), int(sizes.max()))
    packed, numbers = np.zeros((*shape, ids.shape[1]), np.int32), np.full(shape, -1, np.int32)
    packed[sentences.group, place] = ids[: len(sentences)]
    numbers[sentences.group, place] = sentences.ids
    negatives = ids[len(sentences) :] if sentences.negatives else None
    swapped = {0: tokenizer.pad, tokenizer.pad: 0}  # as `padded_by_zero` does
    named = (tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.unk)
    special = tuple(sorted({swapped.get(i, i) for i in named if i is not None}))
    return TokenGroups(packed, sizes, numbers, len(tokenizer), negatives, start, tokens.truncated, max_length, special)


def tokenized_images(pairs: ImageTexts, tokenizer: Tokenizer, max_length: int) -> TokenizedImages:
    """Images with the ids of their texts, each cut to `max_length`."""
    tokens = encode(tokenizer, pairs.texts, max_length)
    ids = padded_by_zero(tokens, tokenizer)
    return TokenizedImages(pairs.images.images, ids, pairs.ids, len(tokenizer), tokens.truncated, max_length)


def text_rows(texts: Iterable[str], tokenizer: Tokenizer, max_length: int) -> np.ndarray:
    """Ids of texts, int32 `[n, l]`."""
    return padded_by_zero(encode(tokenizer, texts, max_length), tokenizer)


def padded_by_zero(tokens: Tokens, tokenizer: Tokenizer) -> np.ndarray:
    """Ids `[n, l]` in which 0 is padding and what was 0 has the padding's old number, since encoders mask by 0."""
    if tokenizer.pad == 0:
        return tokens.ids
    swapped = np.where(tokens.ids == 0, tokenizer.pad, np.where(tokens.ids == tokenizer.pad, 0, tokens.ids))
    return swapped.astype(np.int32)
