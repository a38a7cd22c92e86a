"""Texts as a task: a stream of tokens to train a language model on, and texts that it has not met, to be predicted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.hub import has_part, is_dataset, splits_of
from jaxembed.data.inputs import TextInput
from jaxembed.data.streams import (
    MADE,
    TokenStream,
    open_stream,
    read_stream,
    stream_tokenizer,
    with_ends,
    without_end,
)
from jaxembed.evaluation.language import Prediction, predict
from jaxembed.methods.dense import embed
from jaxembed.methods.language import LanguageModel
from jaxembed.naming import unknown
from jaxembed.pretrained import Parts, tokenizer_for
from jaxembed.pretrained.files import on_hub
from jaxembed.ranges import Count, CountOrZero, Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, Trained, Unmeasured, measured, named_by_text
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

_SHOWN = 500  # number of texts of the test part whose vectors a run keeps
_FEW = 0.01  # share of unknown tokens up to which words are distinguished well enough to count their perplexity
PERPLEXITY, OF_WORDS, ACCURACY, LIKELIHOOD, UNKNOWN, PAIRS = (
    f"language/{name}"
    for name in ("perplexity", "word_perplexity", "accuracy", "log_likelihood", "unknown", "pair_accuracy")
)


@dataclass(frozen=True)
class Texts(Task):
    """The texts of a dataset, or the lines of a text file, to be predicted token by token."""

    split: str | None = "train"  # Split to train on.
    column: str = "text"  # Column of the texts.
    dev_split: str = "validation"  # Split to choose settings on, if the dataset has it; else texts are set apart.
    test_split: str = "test"  # Split that results are of, if the dataset has it; else texts are set apart.
    # Share of the texts, the last ones, that is set apart for each of the two that has no split.
    held_out: Annotated[float, Range(above=0, most=0.25)] = 0.01
    # wordpiece, bpe or word (as white space parts them), which are made from the texts, a tokenizer.json, or a checkpoint or run
    # whose tokenizer it is.
    tokenizer: str = "bpe"
    vocab_size: Count = 8000  # Maximum size of the vocabulary of a tokenizer that is made.
    # Whether the texts are parts of one longer text, so that a model may attend across their borders.
    consecutive: bool = False
    max_tokens: CountOrZero = 0  # Number of tokens that are trained on, those of the first texts; 0 takes all.
    # When the finished model is judged, its windows begin so many tokens apart; 0 is a quarter of a row. The smaller this number
    # is, the more tokens does each prediction rest on, and the longer does it take. Masked models have no windows.
    stride: CountOrZero = 0
    # Lengths of rows in which a causal model predicts the test part as well, such as rows longer than those of training.
    longer: tuple[Count, ...] = ()

    unit: ClassVar[str] = "tokens"
    shown: ClassVar[str] = "texts"
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", f"{LIKELIHOOD}{DEV}", f"{ACCURACY}{DEV}")
    spread: ClassVar[bool] = False  # those of language models lie in a narrow cone (Ethayarajh 2019)
    select: ClassVar[str] = f"{LIKELIHOOD}{DEV}"

    def __post_init__(self):
        super().__post_init__()
        if self.tokenizer == "words":  # its earlier name, which runs have recorded
            object.__setattr__(self, "tokenizer", "word")

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns of a table."""
        longer = {f"perplexity at {length}": f"{PERPLEXITY}@{length}" for length in self.longer}
        return {
            "perplexity": PERPLEXITY, **longer, "perplexity per word": OF_WORDS, "accuracy": ACCURACY,
            "dev perplexity": f"{PERPLEXITY}{DEV}",
        }  # fmt: skip

    @property
    def lower_is_better(self) -> tuple[str, ...]:
        """All columns but the accuracy."""
        return tuple(name for name in self.columns if name != "accuracy")

    def started(self, parts: Parts) -> Self:
        """Returns the task with the tokenizer of a checkpoint."""
        return replace(self, tokenizer=parts.pinned)

    def read(self) -> Read:
        """Reads the texts, makes the tokenizer, and sets texts apart where the dataset has no splits to judge on."""
        others_own = self.tokenizer not in MADE and Path(self.tokenizer).suffix != ".json"
        if others_own and not (Path(self.tokenizer).exists() or on_hub(self.tokenizer)):
            raise unknown("tokenizer", self.tokenizer, (*MADE, "a tokenizer.json", "a checkpoint or run that has one"))
        where: dict[str, Any] = {"column": self.column, **self.origin}
        texts = open_stream(self.data, split=self.split, **where)
        there = splits_of(self.data, self.config, self.revision) if is_dataset(self.data) else ()
        others = {"dev": (self.dev_split, "validation"), "test": (self.test_split, "test")}
        splits = {
            part: open_stream(self.data, split=name, **where)
            for part, (name, usual) in others.items()
            if has_part(self.data, name, usual, there)
        }
        apart = [part for part in others if part not in splits]
        n = len(texts)
        some = max(1, round(self.held_out * n))
        left = n - some * len(apart)
        if left < 1:
            raise ValueError(
                f"{self.data} has {n} texts that are not blank: training, and each of {' and '.join(apart)}, needs one"
            )
        tokenizer = (
            with_ends(tokenizer_for((), self.tokenizer, self.vocab_size))
            if others_own
            else stream_tokenizer(replace(texts, most=left), self.tokenizer, self.vocab_size)
        )
        whole = read_stream(texts, tokenizer, self.consecutive)
        streams = {part: read_stream(of, tokenizer, self.consecutive) for part, of in splits.items()}
        streams |= {part: whole.part(left + i * some, left + (i + 1) * some) for i, part in enumerate(apart)}
        last = int(np.searchsorted(whole.offsets[: left + 1], self.max_tokens)) if self.max_tokens else left
        train = whole.part(0, min(max(last, 1), left))
        begin = left + apart.index("test") * some if "test" in apart else 0
        shown = list(islice(splits.get("test", texts), begin, begin + min(_SHOWN, streams["test"].texts)))
        text = TextInput(tokenizer, 0)  # `inputs_of` knows how much of it a method reads
        about = train.summary() | {"tokenizer": tokenizer.summary()}
        about |= {part: stream.summary() for part, stream in streams.items()}
        return Read(
            train, len(train.tokens), train.fingerprint, about, inputs={"text": text}, judged={"test": text.examples(shown)},
            rest=(streams, {"test": shown}), judged_by=content_digest(*(streams[part].fingerprint for part in others)),
        )  # fmt: skip

    def inputs_of(self, method: LanguageModel) -> Mapping[str, TextInput]:
        """Returns what turns texts into ids, as far as the model reads. Those of a causal model have no token at the end.

        What follows the end of a text is another one, or nothing, so that a causal model has not learned to say anything about
        the text there; its state at the last word is what predicts the text's end.
        """
        tokenizer = self.found.inputs["text"].tokenizer  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer = without_end(tokenizer) if method.causal else tokenizer
        return {"text": TextInput(tokenizer, max(3, method.encoder.longest or 0))}

    def product(self, method: LanguageModel, params: Params, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors of the first texts of the test part, named test/0, test/1, ..., each as far as the model reads."""
        examples = self.inputs_of(method)["text"].examples(self.found.rest[1]["test"])
        rows = embed(method, params, examples)
        return KeyedVectors([f"test/{i}" for i in range(len(rows))], rows)

    def examine(self, method: Any, params: Params) -> dict[str, float]:
        """Measures `language/log_likelihood-dev` and others on the texts to choose by, in windows that do not overlap."""
        streams, _ = self.found.rest
        found = predict(method, params, streams["dev"])
        figures = {LIKELIHOOD: found.log_likelihood, PERPLEXITY: found.perplexity(), ACCURACY: found.accuracy}
        figures |= _of_pairs(found)
        return {f"{name}{DEV}": value for name, value in figures.items()}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Not supported: vectors alone do not tell which token comes next."""
        raise ValueError("texts are judged by the method's own predictions, not by vectors")

    def figures(self, trained: Trained) -> Figures:
        """Returns `language/perplexity` of a token of the test part, and of a word, `language/accuracy`, and all with `-dev`.

        The perplexity of a masked model is that of the hidden tokens by both sides of the text, and compares with no other
        model's. Where it is trained on pairs, `language/pair_accuracy` is the share for which it predicts rightly whether the
        second piece of text follows the first. The perplexity of a word is `exp(loss / words)` of all tokens of the texts, where
        the end of each text counts as a word, as in Penn Treebank. How words are cut into tokens makes no difference to what it
        means, as long as the tokens spell them: it is not measured if more than 1% of the tokens stand for what the tokenizer
        does not know, whose share is `language/unknown`. A text's own `<unk>` is a word like others.
        """
        method, params = trained.learned()
        streams, _ = self.found.rest
        figures = Figures()
        for part, end in (("test", ""), ("dev", DEV)):
            found = lambda of=streams[part]: _figures(
                predict(method, params, of, self.stride or max(1, method.length // 4)), of
            )
            names = (PERPLEXITY, OF_WORDS, ACCURACY, LIKELIHOOD)
            figures |= {f"{name}{end}": value for name, value in measured(names, found).items()}
            share = figures[f"{UNKNOWN}{end}"] = streams[part].unknown_share
            if share > _FEW:
                figures[f"{OF_WORDS}{end}"] = Unmeasured(
                    f"{share:.1%} of the tokens stand for words that the tokenizer does not know: give a larger vocab_size, or "
                    "choose bpe"
                )
            if not method.causal:
                figures[f"{OF_WORDS}{end}"] = Unmeasured(
                    "a masked model predicts some tokens only, by both sides of them"
                )
        for length in self.longer:
            name = f"{PERPLEXITY}@{length}"
            at = lambda length=length, name=name: {
                name: predict(lengthened(method, length), params, streams["test"], max(1, length // 4)).perplexity()
            }
            figures |= measured([name], at)
        return figures

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns the texts of the test part, named by themselves."""
        return named_by_text(self.found.rest[1]["test"], product.vectors)


def lengthened(method: LanguageModel, length: int) -> LanguageModel:
    """Returns a causal model that reads rows of another length, with the parameters that it has.

    Raises ValueError for a masked model, and for rows with more places than a model has learned vectors of.
    """
    net = method.encoder
    if not method.causal:
        raise ValueError("only causal models are judged in rows of other lengths")
    if net["positions"] == "learned" and length > net["max_length"]:
        raise ValueError(
            f"there are vectors of {net['max_length']} places only, fewer than the {length} to judge: train with "
            f"--encoder.max-length {length}"
        )
    return replace(method, length=length, encoder=net.with_(max_length=max(length, net["max_length"])))


def _figures(found: Prediction, stream: TokenStream) -> dict[str, float]:
    words = float(stream.words.sum() + stream.texts)
    return {
        PERPLEXITY: found.perplexity(), OF_WORDS: found.perplexity(words), ACCURACY: found.accuracy,
        LIKELIHOOD: found.log_likelihood, **_of_pairs(found),
    }  # fmt: skip


def _of_pairs(found: Prediction) -> dict[str, float]:
    return {} if found.pair_accuracy is None else {PAIRS: found.pair_accuracy}
