"""Which words make up a vocabulary, by gensim's rules."""

from collections.abc import Callable

import numpy as np

from jaxembed.data.vocabulary import Vocabulary

Rule = Callable[[str, int, int], int]

_DISCARD, _KEEP = 1, 2  # gensim.utils.RULE_DISCARD and RULE_KEEP; all else leaves it to min_count


def trimmed(whole: Vocabulary, rule: Rule | None, min_count: int, most: int | None) -> Vocabulary:
    """The words that a rule keeps, or that it leaves to `min_count` and that occur so often; the `most` frequent of them.

    Raises ValueError where nothing is left.
    """
    if rule is None:
        return Vocabulary.build(whole.words, whole.counts, min_count, most)
    verdicts = [rule(word, count, min_count) for word, count in zip(whole.words, whole.counts.tolist(), strict=True)]
    kept = [
        row
        for row, verdict in enumerate(verdicts)
        if verdict == _KEEP or (verdict != _DISCARD and whole.counts[row] >= min_count)
    ]
    if not kept:
        raise ValueError(
            f"trim_rule and min_count={min_count} leave none of the {len(whole):,} words: let some of them stay"
        )
    return Vocabulary.build([whole.words[row] for row in kept], whole.counts[kept], 1, most)


def extended(known: Vocabulary, whole: Vocabulary, kept: Vocabulary) -> Vocabulary:
    """The known words in their order, then the new ones of `kept`; counts are those of both texts, `whole` the second."""
    new = [word for word in kept.words if word not in known]
    more = [int(whole.counts[whole.index[word]]) if word in whole else 0 for word in known.words]
    of_new = [int(kept.counts[kept.index[word]]) for word in new]
    return Vocabulary(
        [*known.words, *new], np.concatenate([known.counts + np.array(more, np.int64), np.array(of_new, np.int64)])
    )
