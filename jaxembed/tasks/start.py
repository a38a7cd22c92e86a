"""Token vectors for an encoder to start from: those of Skip-gram, trained on a corpus."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from jaxembed.data.text import Corpus, read_corpus
from jaxembed.data.tokens import Tokenizer, start_vectors
from jaxembed.methods.skipgram import SkipGram
from jaxembed.ranges import Checked, Count, CountOrZero, Positive, Range
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors


@dataclass(frozen=True)
class Start(Checked):
    """Token vectors to start from: Skip-gram on a corpus, with a seed of its own."""

    data: str = "enwik8-text"  # The corpus.
    max_words: CountOrZero = 0  # Only so many words of it; 0 takes all.
    vector_size: Count = 256  # Of Skip-gram, and so of the encoder's token vectors.
    epochs: Count = 3  # Of Skip-gram.
    std: Positive = 0.02  # Standard deviation of the vectors as the encoder starts with them.
    words: CountOrZero = 20_000  # A tokenizer of whole words also knows so many of the corpus' most frequent ones.
    seed: Annotated[int, Range(least=0, most=2**32 - 1)] = 0  # Of Skip-gram.

    def corpus(self) -> Corpus:
        """What Skip-gram is trained on."""
        corpus = read_corpus(self.data)
        return corpus.head(self.max_words) if self.max_words else corpus

    def vectors(self, tokenizer: Tokenizer) -> tuple[np.ndarray, int]:
        """Float32 `[len(tokenizer), vector_size]`, and how many tokens are words that Skip-gram knows."""
        corpus = self.corpus()
        result = fit(SkipGram(vector_size=self.vector_size), corpus, Training(epochs=self.epochs), seeds=(self.seed,))
        vectors = KeyedVectors(corpus.vocabulary.words, result.vectors[0])
        return start_vectors(tokenizer, vectors, self.vector_size, self.seed, self.std)
