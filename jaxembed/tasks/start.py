"""What an encoder of texts starts from: token vectors of Skip-gram, trained on a corpus, and weights of tokens by frequency."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from jaxembed.data.text import Corpus, read_corpus
from jaxembed.data.tokenized import TokenGroups
from jaxembed.data.tokens import Tokenizer, start_vectors
from jaxembed.methods.skipgram import SkipGram
from jaxembed.ranges import Checked, Count, CountOrZero, NotNegative, Positive, Range
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

_OWN = 0x0B  # a stream of random numbers beside that of the vectors of unknown tokens
_NEXT_TO_NOTHING = -30.0  # as the logarithm of a weight: a text of nothing else still has a vector


@dataclass(frozen=True)
class Start(Checked):
    """Token vectors to start from: Skip-gram on a corpus, with a seed of its own."""

    data: str = "enwik8-text"  # The corpus.
    max_words: CountOrZero = 0  # Only so many words of it; 0 takes all.
    vector_size: Count = 256  # Of Skip-gram. The encoder's token vectors have as many columns, and `own` more.
    # Further columns, in which every token starts with random numbers: words are then more like themselves than like any other,
    # and sentences that share words are alike whatever the words mean.
    own: CountOrZero = 0
    epochs: Count = 3  # Of Skip-gram.
    std: Positive = 0.02  # Standard deviation of the vectors as the encoder starts with them.
    words: CountOrZero = 20_000  # A tokenizer of whole words also knows so many of the corpus' most frequent ones.
    # Without the mean vector of the corpus' words, which tells nothing apart (Mu and Viswanath 2018).
    centred: bool = False
    # A token of frequency p starts with the weight a / (a + p), the smooth inverse frequency of Arora et al. (2017), in encoders
    # that weigh tokens; this is a, and 0 lets all tokens count alike.
    smoothing: NotNegative = 0.0
    seed: Annotated[int, Range(least=0, most=2**32 - 1)] = 0  # Of Skip-gram.

    def corpus(self) -> Corpus:
        """What Skip-gram is trained on."""
        corpus = read_corpus(self.data)
        return corpus.head(self.max_words) if self.max_words else corpus

    def vectors(self, tokenizer: Tokenizer) -> tuple[np.ndarray, int]:
        """Float32 `[len(tokenizer), vector_size + own]`, and how many tokens are words that Skip-gram knows."""
        corpus = self.corpus()
        # With more negatives than SkipGram draws by itself: what is recorded started so.
        method = SkipGram(vector_size=self.vector_size, shared_negatives=32, step_tokens=1024)
        result = fit(method, corpus, Training(epochs=self.epochs), seeds=(self.seed,))
        rows = result.vectors[0] - result.vectors[0].mean(0) if self.centred else result.vectors[0]
        vectors = KeyedVectors(corpus.vocabulary.words, rows)
        found, known = start_vectors(tokenizer, vectors, self.vector_size, self.seed, self.std)
        own = np.random.default_rng([self.seed, _OWN]).normal(0, self.std, (len(found), self.own))
        return np.concatenate([found, own.astype(np.float32)], axis=1), known

    def weights(self, tokenizer: Tokenizer, groups: TokenGroups) -> np.ndarray | None:
        """Logarithms of what each token counts at first, by its frequency in the corpus and in the groups together.

        Tokens that are no words hardly count. Float32 `[len(tokenizer)]`, or None where all count alike.
        """
        if not self.smoothing:
            return None
        vocabulary = self.corpus().vocabulary
        counts = np.bincount(groups.ids.ravel(), minlength=len(tokenizer)).astype(np.float64)
        for word, count in zip(vocabulary.words, vocabulary.counts, strict=True):
            if (token := tokenizer.core.token_to_id(word)) is not None:
                counts[token] += count
        special = list(groups.special)
        counts[special] = 0
        weights = np.log(self.smoothing / (self.smoothing + counts / counts.sum()))
        weights[special] = _NEXT_TO_NOTHING
        return weights.astype(np.float32)
