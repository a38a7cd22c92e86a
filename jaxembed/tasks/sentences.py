"""Sentences as a task: groups of one meaning to train on, and pairs with human scores to judge vectors by."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.inputs import TextInput
from jaxembed.data.pairs import read_scored_pairs, read_sentences, text_ids
from jaxembed.data.tokenized import stacked, token_groups
from jaxembed.evaluation.geometry import alignment, geometry
from jaxembed.evaluation.retrieval import retrieval
from jaxembed.evaluation.sts import check_scores, sts_spearman
from jaxembed.pretrained import Parts, tokenizer_for
from jaxembed.ranges import Count, CountOrZero, Range
from jaxembed.tasks.base import GEOMETRY, Figures, Read, Task, measured, named_by_text, refusal
from jaxembed.tasks.start import Start
from jaxembed.vectors import KeyedVectors

WHOLE = "all"  # the name of a set of scored pairs that has no splits
_FOUND = "retrieval/recall@1"
_SHOWN = 2000  # number of sentences that are judged if there are no pairs


@dataclass(frozen=True)
class Sentences(Task):
    """Groups of sentences that mean the same, or single sentences; vectors are judged on pairs with human scores."""

    split: str | None = "train"  # Split to train on.
    column: str = "captions"  # Column of texts, or of lists of texts that mean the same.
    pair: tuple[str, str] | None = None  # Two columns whose texts mean the same, in place of `column`.
    negative: str | None = None  # Column of texts that mean something else, as hard negatives.
    max_rows: CountOrZero = 0  # Number of rows, the first of the split; 0 takes all.
    # wordpiece, bpe or word, which are trained on the texts, or a tokenizer.json, or a checkpoint or run that has one.
    tokenizer: str = "wordpiece"
    vocab_size: Count = 8000  # Size of the vocabulary of a tokenizer that is trained.
    # Number of ids that words outside the vocabulary share by a hash of their letters; 0 gives them all one id.
    buckets: CountOrZero = 0
    # Maximum number of tokens of a text, including those at its ends. Longer texts are cut, and counted.
    max_length: Annotated[int, Range(least=3, why="the ends of a text take two")] = 32
    # Cut only the training texts to max_length. Other texts are then cut only by encoders that do not take texts of any length.
    whole: bool = False
    start: Start | None = None  # Token vectors to start from; None starts from random ones.
    sts: str = "stsb"  # Dataset of pairs with human scores; "" for none.
    # Splits of these pairs: results are reported on the last split, and settings are chosen on those before it. `--splits`
    # without names takes the whole dataset.
    splits: tuple[str, ...] = ("validation", "test")

    unit: ClassVar[str] = "sentences"
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank", "geometry/uniformity")
    unranked: ClassVar[tuple[str, ...]] = ("effective rank",)
    lower_is_better: ClassVar[tuple[str, ...]] = ("alignment", "uniformity")

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns of a table: the splits of the scored pairs, the last first, and the geometry of the vectors."""
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
        """Returns "dev" for the splits of the scored pairs before the last, by which settings are chosen."""
        kind, _, split = figure.rpartition("/")
        return "dev" if kind in ("sts", _FOUND) and split in self.splits[:-1] else super().half(figure)

    def started(self, parts: Parts) -> Self:
        """Returns the task with the tokenizer of a checkpoint, in place of one of its own and of token vectors of Skip-gram."""
        return replace(self, tokenizer=parts.pinned, max_length=parts.most(self.max_length), buckets=0, start=None)

    def read(self) -> Read:
        """Reads the sentences and the scored pairs, and makes the tokenizer and the token vectors to start from."""
        columns = {"split": self.split, "column": self.column, "pair": self.pair, "negative": self.negative}
        sentences = read_sentences(self.data, max_rows=self.max_rows, **columns, **self.origin)
        texts = sentences.texts
        if self.tokenizer == "word" and self.start:  # words that only Skip-gram has seen keep its vectors
            texts = (*texts, *[" ".join(self.start.corpus().vocabulary.words[: self.start.words])] * 2)
        tokenizer = tokenizer_for(texts, self.tokenizer, self.vocab_size).with_buckets(self.buckets)
        start, known = self.start.vectors(tokenizer) if self.start else (None, 0)
        groups = token_groups(sentences, tokenizer, self.max_length, start)
        groups = replace(groups, weights=self.start.weights(tokenizer, groups.special) if self.start else None)
        about = sentences.summary() | {"truncated": groups.truncated, "tokenizer": tokenizer.summary()}
        about |= {"tokens_that_start_as_words": known} if self.start else {}
        splits = dict(zip(self.splits, self.splits, strict=True)) or {WHOLE: None}
        pairs = {name: read_scored_pairs(self.sts, split=one) for name, one in splits.items()} if self.sts else {}
        about |= {name: scored.summary() for name, scored in pairs.items()}
        scored_texts = {f"{name}/{side}": getattr(scored, side) for name, scored in pairs.items() for side in "ab"}
        parts = scored_texts or {"train": sentences.texts[:_SHOWN]}
        text = TextInput(tokenizer, 0 if self.whole else self.max_length)
        # The first text of a pair is the query, for methods that encode queries differently from what they find.
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
        """A single pair, or pairs that all have the same score, have no correlation."""
        pairs, _ = self.found.rest
        found = {f"sts/{name}": refusal(lambda of=scored.scores: check_scores(of)) for name, scored in pairs.items()}
        return {name: why for name, why in found.items() if why}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `sts/<split>`, Spearman's rho of cosines with the scores, and `geometry/...` of the last split's sentences.

        The alignment is that of the pairs that people find most alike, with scores above four fifths of the scale.
        `retrieval/recall@1/<split>` is the share of these pairs whose first sentence finds the second before all other
        second sentences of the split.
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
        """Returns the sentences of the first pairs, named by their text."""
        _, parts = self.found.rest
        texts = [text for one in parts.values() for text in one][:1000]
        return named_by_text(texts, product.vectors)


def _distinct(vectors: np.ndarray) -> np.ndarray:
    """Returns the distinct vectors, since sentences may occur several times. Raises ValueError if all are equal."""
    rows = np.unique(vectors, axis=0)
    if len(rows) < 2:
        raise ValueError("all vectors are equal")
    return rows
