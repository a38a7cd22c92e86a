"""Words and their counts, the most frequent first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxembed.naming import UnknownKeyError


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words by descending count; a word's place is its token id.

    `words[i]` occurs `counts[i]` times (int64 [words]). `vocabulary[word]` is the id of a word; one that is not in it
    raises a KeyError that names near matches.
    """

    words: list[str]
    counts: np.ndarray

    @classmethod
    def build(
        cls, words: Sequence[str], counts: np.ndarray, min_count: int = 5, max_final_vocab: int | None = None
    ) -> "Vocabulary":
        """Returns the words that occur at least `min_count` times, at most the `max_final_vocab` most frequent of them.

        Words with equal counts keep the order in which they are given, so the ids depend only on the text. Raises
        ValueError if no word is left, with a `min_count` that would leave one.
        """
        if min_count < 0:
            raise ValueError(f"min_count must be 0 or more, not {min_count}")
        if max_final_vocab is not None and max_final_vocab < 1:
            raise ValueError(f"max_final_vocab must be 1 or more, not {max_final_vocab}")
        counts = np.asarray(counts, np.int64)
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] >= max(min_count, 1)][:max_final_vocab]
        if not len(order):
            if not counts.any():
                raise ValueError("the corpus is empty: it holds no words")
            top = int(np.argmax(counts))
            raise ValueError(
                f"no word occurs min_count={min_count} times: the most frequent, {words[top]!r}, occurs {counts[top]} "
                f"times. Pass min_count={counts[top]} or less, or a larger corpus"
            )
        kept: list[int] = order.tolist()
        return cls([words[i] for i in kept], counts[order])

    @cached_property
    def index(self) -> dict[str, int]:
        """Ids by word."""
        return {word: i for i, word in enumerate(self.words)}

    def check_savable(self) -> None:
        """Raises ValueError for a word that no file of vectors can hold: one with a line break, or half of a surrogate pair."""
        try:
            whole = "\n".join(self.words).encode()
        except UnicodeEncodeError:
            bad = next(word for word in self.words if any("\ud800" <= letter <= "\udfff" for letter in word))
            problem = "half of a surrogate pair, which is no text: read the text with errors='replace'"
        else:
            if whole.count(b"\n") <= max(len(self.words) - 1, 0):
                return
            bad = next(word for word in self.words if "\n" in word)
            problem = "a line break: cut texts into words by split(), not by split(' ')"
        raise ValueError(
            f"vectors of the word {bad!r} could not be saved, as it holds {problem}, or leave the word out"
        )

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> int:
        if (found := self.index.get(word)) is not None:
            return found
        raise UnknownKeyError(word, self.words)
