"""Words and how often they occur, the most frequent first."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


def near_matches(word: str, candidates: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` of `candidates` that `word` may be a slip for, the nearest first; case is overlooked."""
    spelt: dict[str, str] = {}
    for candidate in candidates:
        spelt.setdefault(candidate.lower(), candidate)
    return [spelt[match] for match in difflib.get_close_matches(word.lower(), spelt, n)]


class UnknownKeyError(KeyError):
    """A key that is not there; its message names near matches, looked for only when it is shown."""

    def __init__(self, key: object, keys: Sequence[str]):
        super().__init__(key)
        self.key, self.keys = str(key), keys

    def __str__(self) -> str:
        # Comparing a word with 400,000 others takes seconds: only those of its length with its beginning or its end.
        word = self.key.lower()
        likely = (key for key in self.keys if abs(len(key) - len(word)) <= 2)
        alike = [key for key in likely if (low := key.lower())[:1] == word[:1] or low[-3:] == word[-3:]]
        near = near_matches(word, alike)
        hint = f": did you mean {' or '.join(map(repr, near))}?" if near else ""
        return f"{self.key!r} is not among the {len(self.keys):,} keys{hint}"


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
        """The words that occur `min_count` times or more, at most the `max_final_vocab` most frequent of them.

        Words of equal count keep the order in which they are given, so the ids depend on the text alone.
        Raises ValueError when nothing is left, saying which `min_count` would leave something.
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
        """From word to id."""
        return {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.index

    def __getitem__(self, word: str) -> int:
        if (found := self.index.get(word)) is not None:
            return found
        raise UnknownKeyError(word, self.words)
