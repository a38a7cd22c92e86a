"""Sentences as a task: groups of one meaning to train on, and people's scores of pairs by which vectors are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jaxembed.data.pairs import ScoredPairs, Sentences, read_scored_pairs, read_sentences
from jaxembed.data.text import Corpus, read_corpus
from jaxembed.data.tokenized import TokenGroups, text_rows, token_groups
from jaxembed.data.tokens import Tokenizer, start_vectors, tokenizer_for
from jaxembed.evaluation.geometry import alignment, geometry
from jaxembed.evaluation.sts import sts_spearman
from jaxembed.methods.dense import embed
from jaxembed.methods.skipgram import SkipGram
from jaxembed.tasks.images import shape_of_vectors, told
from jaxembed.training.loop import fit
from jaxembed.training.method import Params
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

#: Columns of a table of sentence vectors: the keys of a run's summary.
COLUMNS = {
    "STS-B": "sts/test",
    "STS-B dev": "sts/validation",
    "alignment": "geometry/alignment",
    "uniformity": "geometry/uniformity",
    "effective rank": "geometry/effective_rank",
}

#: Metrics of a run of a sentence encoder that are worth drawing.
CURVES = ("epoch/loss", "geometry/effective_rank", "geometry/uniformity")


_SHOWN = 2000  # sentences that stand for all where there are no pairs


@dataclass(frozen=True)
class Start:
    """Token vectors to start from: Skip-gram on a corpus, with a seed of its own.

    data, max_words: the corpus. vector_size, epochs: of Skip-gram. std: of the vectors as the encoder starts with them.
    words: a tokenizer of whole words also knows so many of the corpus' most frequent ones.
    """

    data: str = "enwik8-text"
    max_words: int = 0
    vector_size: int = 256
    epochs: int = 3
    std: float = 0.02
    words: int = 20_000
    seed: int = 0

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


@dataclass(frozen=True)
class SentenceTask:
    """Sentences to train on, and pairs with people's scores.

    pairs: ScoredPairs by the name of their split. tokenizer, max_length: how texts become ids; longer ones are cut.
    start: what token vectors start from, None for noise. origin: the arguments of `read` that give it again.
    """

    sentences: Sentences
    pairs: Mapping[str, ScoredPairs]
    tokenizer: Tokenizer
    max_length: int = 32
    start: Start | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    unit = "sentences"

    @classmethod
    def read(
        cls, data: str, *, sts: str = "stsb", splits: tuple[str, ...] = ("validation", "test"), max_rows: int = 0,
        tokenizer: str = "wordpiece", vocab_size: int = 8000, max_length: int = 32, start: Any = None, **reading: Any,
    ) -> "SentenceTask":  # fmt: skip
        """Reads sentences as `read_sentences` does with `reading`, and scored pairs.

        tokenizer: wordpiece, bpe or word, trained on the sentences, or a tokenizer.json. start: a Start, or its fields.
        """
        sentences = read_sentences(data, max_rows=max_rows, **reading)
        start = Start(**{k: v for k, v in start.items() if k != "class"}) if isinstance(start, Mapping) else start
        texts = sentences.texts
        if tokenizer == "word" and start:  # words that only Skip-gram has met keep its vectors
            texts = (*texts, *[" ".join(start.corpus().vocabulary.words[: start.words])] * 2)
        made = tokenizer_for(texts, tokenizer, vocab_size)
        known = {"sts": sts, "splits": tuple(splits), "max_rows": max_rows, "tokenizer": tokenizer,
                 "vocab_size": vocab_size, "max_length": max_length, "start": start, **reading}  # fmt: skip
        origin = {"data": data, **{name: value for name, value in known.items() if value is not None}}
        pairs = {split: read_scored_pairs(sts, split=split) for split in splits}
        return cls(sentences, pairs, made, max_length, start, origin)

    @property
    def fingerprint(self) -> str:
        """Of the sentences."""
        return self.sentences.fingerprint

    @property
    def examples(self) -> int:
        """Groups in a pass."""
        return self.sentences.groups

    @cached_property
    def _groups(self) -> TokenGroups:
        start, self.__dict__["known"] = self.start.vectors(self.tokenizer) if self.start else (None, 0)
        return token_groups(self.sentences, self.tokenizer, self.max_length, start)

    def about(self) -> dict[str, Any]:
        """The sentences, for environment.json."""
        more = {"truncated": self._groups.truncated, "tokenizer": self.tokenizer.summary()}
        if self.start:
            more["tokens_that_start_as_words"] = self.__dict__["known"]
        return {**self.sentences.summary(), **more, **{name: pairs.summary() for name, pairs in self.pairs.items()}}

    def data(self, method: Any, held_out: bool = False) -> Any:
        """The sentences as ids; nothing is held out."""
        return None if held_out else self._groups

    def size(self, data: TokenGroups) -> int:
        """Groups in a pass."""
        return len(data.ids)

    def settings(self, method: Any) -> dict[str, Any]:
        """How to read the sentences again."""
        return {"task": {"class": "SentenceTask", **self.origin}}

    def probes(self) -> tuple[Any, Any]:
        """The shape of the watched sentences' vectors, by which a collapse shows."""
        return shape_of_vectors, lambda vectors: {}

    def _texts(self) -> list[str]:
        if not self.pairs:
            return list(self.sentences.texts[:_SHOWN])
        return [text for pairs in self.pairs.values() for side in (pairs.a, pairs.b) for text in side]

    def embed(self, method: Any, params: Params) -> np.ndarray:
        """Vectors of all sentences of the scored pairs, split after split, the first of all pairs and then the second.

        Where there are no pairs, of the first sentences that were trained on.
        """
        return embed(method, params, {"ids": text_rows(self._texts(), self.tokenizer, self.max_length)})

    def product(self, vectors: np.ndarray) -> KeyedVectors:
        """The vectors, named validation/a/0, validation/a/1, ..."""
        if not self.pairs:
            return KeyedVectors([f"train/{i}" for i in range(len(vectors))], vectors)
        keys = [f"{name}/{side}/{i}" for name, pairs in self.pairs.items() for side in "ab" for i in range(len(pairs))]
        return KeyedVectors(keys, vectors)

    def judge(self, vectors: KeyedVectors) -> dict[str, float | None]:
        """`sts/<split>`: Spearman's rho of cosines with the scores; `geometry/...` of the last split's sentences.

        Alignment is that of the pairs that people find most alike, above four fifths of the scale.
        """
        if not self.pairs:
            distinct = np.unique(vectors.vectors, axis=0)
            return {f"geometry/{key}": told(value) for key, value in geometry(distinct).items()}
        found: dict[str, float | None] = {}
        place = 0
        for name, pairs in self.pairs.items():
            a, b = np.split(vectors.vectors[place : place + 2 * len(pairs)], 2)
            place += 2 * len(pairs)
            found[f"sts/{name}"] = told(sts_spearman(a, b, pairs.scores))
            alike = pairs.scores > 0.8 * pairs.scores.max()
            found["geometry/alignment"] = told(alignment(a[alike], b[alike]))
            distinct = np.unique(np.concatenate([a, b]), axis=0)
            found |= {f"geometry/{key}": told(value) for key, value in geometry(distinct).items()}
        return found

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """The sentences of the first pairs, under their own words."""
        shown: dict[str, int] = {}
        for row, text in enumerate(self._texts()[:1000]):
            shown.setdefault(" ".join(text.split()), row)
        return KeyedVectors(list(shown), product.vectors[list(shown.values())])
