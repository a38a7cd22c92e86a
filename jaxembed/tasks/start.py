"""The start of a text encoder: token vectors of Skip-gram, trained on a corpus, and weights of tokens by frequency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from jaxembed.data.text import Corpus, read_corpus
from jaxembed.data.tokens import Tokenizer, start_vectors, words_of
from jaxembed.methods.skipgram import SkipGram
from jaxembed.ranges import Checked, Count, CountOrZero, NotNegative, Positive, Range
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

_OWN = 0x0B  # a stream of random numbers other than that of the vectors of unknown tokens
_NEXT_TO_NOTHING = -30.0  # the logarithm of a weight: a text of such tokens alone still has a vector


@dataclass(frozen=True)
class Start(Checked):
    """Token vectors to start from: Skip-gram trained on a corpus, with a seed of its own."""

    data: str = "enwik8-text"  # The corpus.
    max_words: CountOrZero = 0  # Number of words of the corpus; 0 takes all.
    # Dimension of Skip-gram's vectors. The encoder's token vectors have this many columns, and `own` more.
    vector_size: Count = 256
    # Number of further columns, in which every token starts with random numbers. A word is then more similar to itself than to
    # any other word, and sentences that share words are similar whatever the words mean.
    own: CountOrZero = 0
    # Lengths of the character n-grams of a word, the shortest and the longest. A word's random numbers are then sums over its
    # n-grams, so that words with common parts ("play", "players") are similar too. None draws them for each word alone.
    grams: tuple[Count, Count] | None = None
    epochs: Count = 3  # Number of Skip-gram's passes.
    std: Positive = 0.02  # Standard deviation of the vectors that the encoder starts with.
    # Number of the corpus' most frequent words that a tokenizer of whole words knows as well.
    words: CountOrZero = 20_000
    # Subtract the mean vector of the corpus' words, which does not help to tell texts apart (Mu and Viswanath 2018).
    centred: bool = False
    # The constant a of the smooth inverse frequency a / (a + p), the weight with which a token of frequency p starts in encoders
    # that weight tokens (Arora et al. 2017). 0 starts all tokens with the same weight.
    smoothing: NotNegative = 0.0
    # Further datasets of texts by whose words tokens are weighted. "you" is rare in an encyclopedia, and frequent in reviews.
    frequencies: tuple[str, ...] = ()
    seed: Annotated[int, Range(least=0, most=2**32 - 1)] = 0  # Seed of Skip-gram.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grams and self.grams[0] > self.grams[1]:
            raise ValueError(f"grams must be the shortest length and then the longest, not {self.grams}")

    def corpus(self) -> Corpus:
        """Returns the corpus that Skip-gram is trained on."""
        corpus = read_corpus(self.data)
        return corpus.head(self.max_words) if self.max_words else corpus

    def vectors(self, tokenizer: Tokenizer) -> tuple[np.ndarray, int]:
        """Returns float32 `[len(tokenizer), vector_size + own]`, and how many tokens are words of Skip-gram."""
        corpus = self.corpus()
        # With more negatives than SkipGram draws by itself: what is recorded started so.
        method = SkipGram(vector_size=self.vector_size, shared_negatives=32, step_tokens=1024)
        result = fit(method, corpus, Training(epochs=self.epochs), seeds=(self.seed,))
        rows = result.vectors[0] - result.vectors[0].mean(0) if self.centred else result.vectors[0]
        vectors = KeyedVectors(corpus.vocabulary.words, rows)
        found, known = start_vectors(tokenizer, vectors, self.vector_size, self.seed, self.std)
        own = np.random.default_rng([self.seed, _OWN]).normal(0, self.std, (len(found), self.own))
        if self.grams and self.own:
            own = self._of_grams(words_of(tokenizer), own)
        return np.concatenate([found, own.astype(np.float32)], axis=1), known

    def _of_grams(self, words: list[str], otherwise: np.ndarray) -> np.ndarray:
        """Returns the own columns of words, `[n, own]`; a token that is no word keeps its row of `otherwise`.

        A row is the weighted sum of the random numbers of the word's n-grams, with the squares of the weights adding up to 1.
        An n-gram weighs the less, the more words have it, as words do in TF-IDF.
        """
        shortest, longest = self.grams or (1, 0)
        columns: dict[str, int] = {}
        rows = []
        for word in words:
            # Punctuation and special tokens, such as [PAD], are no words. Spaces mark a word's start and end.
            spaced = f" {word} " if any(map(str.isalnum, word)) and not word.startswith("[") else ""
            parts = {spaced[at : at + n] for n in range(shortest, longest + 1) for at in range(len(spaced) - n + 1)}
            rows.append([columns.setdefault(part, len(columns)) for part in sorted(parts)])
        counts = np.bincount(np.concatenate(rows).astype(np.int64), minlength=len(columns))
        inverse = 1 + np.log((1 + len(words)) / (1 + counts))
        drawn = np.random.default_rng([self.seed, _OWN, 1]).normal(0, self.std, (len(columns), self.own))
        own = otherwise.copy()
        for token, of in enumerate(rows):
            if of:
                own[token] = inverse[of] / np.linalg.norm(inverse[of]) @ drawn[of]
        return own

    def weights(self, tokenizer: Tokenizer, special: Sequence[int]) -> np.ndarray | None:
        """Returns the logarithm of each token's first weight, float32 `[len(tokenizer)]`; None if all weights are equal.

        The frequency of a token is the mean of its shares in the corpus and in the other corpora of `frequencies`, which
        are alike however long they are. Tokens that are not words, `special`, have almost no weight.
        """
        if not self.smoothing:
            return None
        corpora = (self.corpus(), *(read_corpus(one, lowercase=True) for one in self.frequencies))
        share = np.mean([_shares(tokenizer, corpus) for corpus in corpora], axis=0)
        weights = np.log(self.smoothing / (self.smoothing + share))
        weights[list(special)] = _NEXT_TO_NOTHING
        return weights.astype(np.float32)


def _shares(tokenizer: Tokenizer, corpus: Corpus) -> np.ndarray:
    """Returns the share of each token in a corpus, float64 `[len(tokenizer)]`; each of its words is tokenized once."""
    counts = np.zeros(len(tokenizer))
    words = tokenizer.core.encode_batch(corpus.vocabulary.words, add_special_tokens=False)
    for word, count in zip(words, corpus.vocabulary.counts, strict=True):
        np.add.at(counts, word.ids, count)
    return counts / counts.sum()
