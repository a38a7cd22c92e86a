"""Texts with classes: a classifier learns from some, is chosen by others, and predicts the classes of the test split."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.inputs import TextInput
from jaxembed.data.labelled import DEV, TEST, TRAIN, read_labelled_parts
from jaxembed.data.tokenized import TokenizedTexts
from jaxembed.methods.dense import embed
from jaxembed.pretrained import Parts, tokenizer_for
from jaxembed.ranges import Count, Range
from jaxembed.tasks.base import DEV as OF_DEV
from jaxembed.tasks.base import Figures, Read, Task, Trained, measured, named_by_text
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

ACCURACY = "classes/accuracy"
_SHOWN = 2000  # number of texts in the projector


@dataclass(frozen=True)
class Labelled(Task):
    """Texts with classes."""

    # Column of the texts; None takes "text", or else "sentence". Several, joined by +, are read one after the other.
    column: str | None = None
    label: str = "label"  # Column of the classes.
    train_split: str = "train"  # Split to train on.
    dev_split: str = "validation"  # Split to choose by, if the dataset has it; else texts are set apart.
    test_split: str = "test"  # Split that results are of, if the dataset has it; else texts are set apart.
    # Share of the training split that is set apart for each of the two that has no split.
    dev: Annotated[float, Range(above=0, most=0.5)] = 0.1
    # wordpiece, bpe or word, which are made from the texts, or a tokenizer.json, or a checkpoint or run that has one.
    tokenizer: str = "wordpiece"
    vocab_size: Count = 8000  # Maximum size of the vocabulary of a tokenizer that is made.
    # Maximum number of tokens of a text, including those at its ends. Longer texts are cut.
    max_length: Annotated[int, Range(least=3, why="the ends of a text take two")] = 128

    unit: ClassVar[str] = "texts"
    columns: ClassVar[Mapping[str, str]] = {"accuracy": ACCURACY, "dev accuracy": f"{ACCURACY}{OF_DEV}"}
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", f"{ACCURACY}{OF_DEV}")
    spread: ClassVar[bool] = False  # vectors of a class may well be alike
    select: ClassVar[str] = f"{ACCURACY}{OF_DEV}"

    def started(self, parts: Parts) -> Self:
        """Returns the task with the tokenizer of a checkpoint."""
        return replace(self, tokenizer=parts.pinned, max_length=parts.most(self.max_length))

    def read(self) -> Read:
        """Reads the three parts, and makes the tokenizer."""
        splits = {TRAIN: self.train_split, DEV: self.dev_split, TEST: self.test_split}
        parts = read_labelled_parts(self.data, self.column, self.label, splits, self.dev, **self.origin)
        tokenizer = tokenizer_for(parts[TRAIN].texts, self.tokenizer, self.vocab_size)
        text = TextInput(tokenizer, self.max_length, parts[TRAIN].names)
        ids = {part: text.examples(of.texts) for part, of in parts.items()}
        train = parts[TRAIN]
        data = TokenizedTexts(ids[TRAIN]["ids"], train.labels, len(train.names), len(tokenizer), self.max_length)
        about = train.summary() | {"tokenizer": tokenizer.summary()}
        about |= {part: parts[part].summary() for part in (DEV, TEST)}
        judged = {part: ids[part] for part in (DEV, TEST)}
        texts = {part: parts[part].texts for part in judged}
        return Read(
            data, len(train), train.fingerprint, about, inputs={"text": text}, judged=judged, rest=(parts, texts),
            judged_by=content_digest(*(parts[part].fingerprint for part in judged)),
        )  # fmt: skip

    def accuracy(self, method: Any, params: Params, part: str) -> float:
        """Returns the share of the texts of a part whose class the method predicts."""
        scores = embed(method, params, self.found.judged[part], encode=method.logits)
        return float(np.mean(scores.argmax(1) == self.found.rest[0][part].labels))

    def examine(self, method: Any, params: Params) -> dict[str, float]:
        """Returns `classes/accuracy-dev`."""
        return {self.select: self.accuracy(method, params, DEV)}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Not supported: vectors alone do not tell which class the method takes them for."""
        raise ValueError("texts with classes are judged by the method's own classes, not by vectors")

    def figures(self, trained: Trained) -> Figures:
        """Returns `classes/accuracy` on the test part, and `classes/accuracy-dev`."""
        method, params = trained.learned()
        figures = Figures()
        for name, part in ((ACCURACY, TEST), (self.select, DEV)):
            figures |= measured([name], lambda name=name, part=part: {name: self.accuracy(method, params, part)})
        return figures

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns texts of the test part, named by themselves."""
        texts = self.found.rest[1][TEST][:_SHOWN]
        return named_by_text(texts, self.parts(product)[TEST][:_SHOWN])
