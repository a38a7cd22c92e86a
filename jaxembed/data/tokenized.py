"""Sentences and image texts as token ids, as methods take them; 0 is padding whatever the tokenizer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxembed.data.pairs import ImageTexts, Sentences, row_ids
from jaxembed.data.tokens import Tokenizer, Tokens, encode


@dataclass(frozen=True, eq=False)
class TokenGroups:
    """Sentences in groups of one meaning.

    ids: int32 `[n, g, l]`, 0 is padding; sizes: how many sentences each group has, int32 `[n]`; texts: int32 `[n, g]`, the
    same number for the same token ids, below zero for a sentence that is like no other. negatives: `[n, l]`, a hard negative
    for each group, or None; negative_texts: their numbers, int32 `[n]`, or None where they are like no other.
    start: float32 `[vocabulary_size, d]`, token vectors to start from, or None; weights: `[vocabulary_size]`, logarithms of
    what each token then counts. truncated: texts that were cut. max_length: what they were cut to. special: ids that are no
    words (padding, ends, unknown). judged: `[m, l]`, ids of the texts that vectors are judged by, for what is not trained but
    fitted to them; None where there are none.
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
class TokenizedImages:
    """Images and their texts: uint8 `[n, h, w, c]`, ids int32 `[n, l]`.

    texts: int32 `[n]`, the same number for the same token ids. pictures: int32 `[n]`, the same number for the same picture,
    or None where each stands once.
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
    """Groups of sentences as ids, each cut to `max_length`; `start [len(tokenizer), d]` as TokenGroups has it.

    Sentences are numbered by their ids and not by their letters: two that an encoder cannot tell apart ("café" and "cafe"
    where accents are dropped, texts that are alike up to `max_length`, texts of unknown words alone) are one.
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
    swapped = {0: tokenizer.pad, tokenizer.pad: 0}  # as `padded_by_zero` does
    named = (tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.unk)
    special = tuple(sorted({swapped.get(i, i) for i in named if i is not None}))
    return TokenGroups(
        packed, sizes, numbers, len(tokenizer), negatives, start, tokens.truncated, max_length, special, hard
    )


def tokenized_images(pairs: ImageTexts, tokenizer: Tokenizer, max_length: int) -> TokenizedImages:
    """Images with the ids of their texts, each cut to `max_length`; texts are numbered as in `token_groups`."""
    tokens = encode(tokenizer, pairs.texts, max_length)
    ids = padded_by_zero(tokens, tokenizer)
    images, texts = pairs.images.images, row_ids(ids)
    return TokenizedImages(images, ids, texts, len(tokenizer), tokens.truncated, max_length, pairs.pictures)


def text_rows(texts: Iterable[str], tokenizer: Tokenizer, max_length: int) -> np.ndarray:
    """Ids of texts, int32 `[n, l]`."""
    return padded_by_zero(encode(tokenizer, texts, max_length), tokenizer)


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of ids of unlike lengths under each other, int32 `[n, l]`."""
    longest = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, longest - part.shape[1]))) for part in parts])


def padded_by_zero(tokens: Tokens, tokenizer: Tokenizer) -> np.ndarray:
    """Ids `[n, l]` in which 0 is padding and what was 0 has the padding's old number, since encoders mask by 0."""
    if tokenizer.pad == 0:
        return tokens.ids
    swapped = np.where(tokens.ids == 0, tokenizer.pad, np.where(tokens.ids == tokenizer.pad, 0, tokens.ids))
    return swapped.astype(np.int32)
