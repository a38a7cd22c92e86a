"""Sentences as a task: groups of one meaning to train on, and people's scores of pairs by which vectors are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.inputs import TextInput
from jaxembed.data.pairs import read_scored_pairs, read_sentences, text_ids
from jaxembed.data.tokenized import stacked, token_groups
from jaxembed.data.tokens import tokenizer_for
from jaxembed.evaluation.geometry import alignment, geometry
from jaxembed.evaluation.retrieval import retrieval
from jaxembed.evaluation.sts import check_scores, sts_spearman
from jaxembed.ranges import Count, CountOrZero, Range
from jaxembed.tasks.base import GEOMETRY, Figures, Read, Task, measured, refusal
from jaxembed.tasks.start import Start
from jaxembed.vectors import KeyedVectors

WHOLE = "all"  # what a set of scored pairs is called that is not split
_FOUND = "retrieval/recall@1"
_SHOWN = 2000  # sentences that stand for all where there are no pairs


@dataclass(frozen=True)
class Sentences(Task):
    """Sentences in groups that mean the same, or each alone; judged on pairs with people's scores."""

    split: str | None = "train"  # What is trained on.
    column: str = "captions"  # Column of texts, or of lists of texts that mean the same.
    pair: tuple[str, str] | None = None  # Two columns whose texts mean the same, instead.
    negative: str | None = None  # Column of texts that mean something else.
    max_rows: CountOrZero = 0  # Only so many rows; 0 takes all.
    tokenizer: str = "wordpiece"  # wordpiece, bpe or word, trained on the texts, or a tokenizer.json.
    vocab_size: Count = 8000  # Of a tokenizer that is trained.
    # Ids that words outside the vocabulary share by a hash of their letters; 0 is one id for all of them.
    buckets: CountOrZero = 0
    # Tokens of a text, those at its ends included; longer texts are cut, and counted.
    max_length: Annotated[int, Range(least=3, why="the ends of a text take two")] = 32
    # Only texts to train on are cut to max_length; others are cut by encoders that do not take texts of any length.
    whole: bool = False
    start: Start | None = None  # Token vectors to start from; none is noise.
    sts: str = "stsb"  # Pairs with people's scores; "" for none.
    # Splits of these pairs: results are reported on the last, and settings are chosen on those before it. Without any
    # (--splits alone) the set is taken whole.
    splits: tuple[str, ...] = ("validation", "test")

    unit: ClassVar[str] = "sentences"
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank", "geometry/uniformity")
    unranked: ClassVar[tuple[str, ...]] = ("effective rank",)
    lower_is_better: ClassVar[tuple[str, ...]] = ("alignment", "uniformity")

    @property
    def columns(self) -> Mapping[str, str]:
        """Of a table: the splits of the scored pairs, the last first, and the shape of the vectors."""
        title = "STS-B" if self.sts == "stsb" else self.sts
        headers = {"test": title, WHOLE: title, "validation": f"{title} dev"}
        splits = (self.splits or (WHOLE,))[::-1] if self.sts else ()
        shape = ("alignment", "uniformity", "effective rank")
        found = {headers.get(split, f"{title} {split}"): f"{_FOUND}/{split}" for split in splits[:1]}
        return (
            {headers.get(split, f"{title} {split}"): f"sts/{split}" for split in splits}
            | {f"{header} R@1": key for header, key in found.items()}
            | {header: f"geometry/{header.replace(' ', '_')}" for header in shape}
        )

    def half(self, figure: str) -> str:
        """ "dev" for the splits of the scored pairs before the last, by which settings are chosen."""
        kind, _, split = figure.rpartition("/")
        return "dev" if kind in ("sts", _FOUND) and split in self.splits[:-1] else super().half(figure)

    def read(self) -> Read:
        """The sentences, their tokenizer and the vectors that tokens start from, and the scored pairs."""
        how = {"split": self.split, "column": self.column, "pair": self.pair, "negative": self.negative}
        sentences = read_sentences(self.data, max_rows=self.max_rows, **how, **self.origin)
        texts = sentences.texts
        if self.tokenizer == "word" and self.start:  # words that only Skip-gram has met keep its vectors
            texts = (*texts, *[" ".join(self.start.corpus().vocabulary.words[: self.start.words])] * 2)
        tokenizer = tokenizer_for(texts, self.tokenizer, self.vocab_size).with_buckets(self.buckets)
        start, known = self.start.vectors(tokenizer) if self.start else (None, 0)
        groups = token_groups(sentences, tokenizer, self.max_length, start)
        groups = replace(groups, weights=self.start.weights(tokenizer, groups) if self.start else None)
        about = sentences.summary() | {"truncated": groups.truncated, "tokenizer": tokenizer.summary()}
        about |= {"tokens_that_start_as_words": known} if self.start else {}
        splits = dict(zip(self.splits, self.splits, strict=True)) or {WHOLE: None}
        pairs = {name: read_scored_pairs(self.sts, split=one) for name, one in splits.items()} if self.sts else {}
        about |= {name: scored.summary() for name, scored in pairs.items()}
        sides = {f"{name}/{side}": getattr(scored, side) for name, scored in pairs.items() for side in "ab"}
        parts = sides or {"train": sentences.texts[:_SHOWN]}
        text = TextInput(tokenizer, 0 if self.whole else self.max_length)
        # The first of two texts asks for the second, where a method treats a query otherwise than what it finds.
        judged = {
            name: text.examples(texts) | {"query": np.full(len(texts), name.endswith("/a"))}
            for name, texts in parts.items()
        }
        groups = replace(groups, judged=stacked([one["ids"] for one in judged.values()]))
        return Read(
            groups, sentences.groups, sentences.fingerprint, about, inputs={"text": text}, judged=judged, rest=(pairs, parts),
            judged_by=content_digest(*(scored.fingerprint for scored in pairs.values())) if pairs else "",
        )  # fmt: skip

    def unmeasurable(self) -> dict[str, str]:
        """Of a single pair, or of pairs that all have one score, there is no correlation."""
        pairs, _ = self.found.rest
        found = {f"sts/{name}": refusal(lambda of=scored.scores: check_scores(of)) for name, scored in pairs.items()}
        return {name: why for name, why in found.items() if why}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """`sts/<split>`: Spearman's rho of cosines with the scores; `geometry/...` of the last split's sentences.

        Alignment is that of the pairs that people find most alike, above four fifths of the scale. `retrieval/recall@1/<split>`
        is the share of these whose first sentence finds the second before all other second sentences of the split.
        """
        pairs, _ = self.found.rest
        shape = lambda rows: measured(GEOMETRY, lambda: geometry(_distinct(rows)), "geometry/")
        figures: Figures = {} if pairs else shape(vectors["train"])
        for name, scored in pairs.items():
            a, b = vectors[f"{name}/a"], vectors[f"{name}/b"]
            alike = scored.scores > 0.8 * scored.scores.max()
            rho = lambda name=name, a=a, b=b, of=scored.scores: {name: sts_spearman(a, b, of)}
            near = lambda a=a[alike], b=b[alike]: {"alignment": alignment(a, b)}
            same = text_ids(scored.b)
            found = lambda name=name, a=a, b=b, at=alike, same=same: {
                name: retrieval(a[at], b, (same[at], same), ks=(1,))["recall@1"]
            }
            figures |= measured([name], rho, "sts/", why="all cosines, or all scores, are equal")
            figures |= measured([name], found, f"{_FOUND}/")
            figures |= measured(["alignment"], near, "geometry/") | shape(np.concatenate([a, b]))
        return figures

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """The sentences of the first pairs, under their own words."""
        _, parts = self.found.rest
        texts = [text for one in parts.values() for text in one][:1000]
        shown: dict[str, int] = {}
        for row, text in enumerate(texts):
            shown.setdefault(" ".join(text.split()), row)
        return KeyedVectors(list(shown), product.vectors[list(shown.values())])


def _distinct(vectors: np.ndarray) -> np.ndarray:
    """The different ones of some vectors: sentences come several times. Raises ValueError where all are equal."""
    rows = np.unique(vectors, axis=0)
    if len(rows) < 2:
        raise ValueError("all vectors are equal")
    return rows
