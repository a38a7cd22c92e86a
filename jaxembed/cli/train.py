"""`jaxembed train`: the methods as commands."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class _Data:
    """What is read, how it is trained, and where it is written."""

    # A dataset's name (shipped, under JAXEMBED_DATA, or on the Hugging Face hub), or a text file, .gz too.
    data: str = "enwik8-small"
    config: str | None = None  # Configuration of the dataset, such as wikitext-103-raw-v1.
    split: str | None = None  # Split of the dataset; may be left out where there is only one.
    revision: str | None = None  # Commit or tag of a dataset on the hub; asks the hub even where a name is known here.
    column: str = "text"  # Column of the dataset that holds the text.
    min_count: int = 5  # Words that occur less often are left out.
    lowercase: bool = False  # Fold words to lower case.
    # Share of the documents (0 to 0.5) that is not trained on: the loss on it is measured after each pass.
    held_out: float | None = None
    vector_size: int = 100  # Dimension of the vectors.
    # Step at the start; it falls to 0 linearly. Suits row_adagrad; for adagrad try 0.3, lazy_adam 0.03, sgd 0.01.
    learning_rate: float = 0.3
    optimizer: str = "row_adagrad"  # One of row_adagrad, adagrad, sgd, lazy_adam.
    seeds: tuple[int, ...] = (1,)  # Seeds, all trained at once: 1 2 3.
    output: Path | None = None  # Folder of the runs, one folder a seed; default: runs/METHOD-OBJECTIVE.
    # Train runs anew that are finished already. The old ones are kept until the new ones have finished.
    overwrite: bool = False
    checkpoint_seconds: float = 60  # Time between checkpoints, from which the same command goes on after it was killed.
    mesh: tuple[int, int] | None = None  # Devices for data and for columns of tables: 4 2. Default: one device.
    deterministic: bool = False  # Ask a GPU for the same bits each time, at a cost; a CPU always gives them.
    profile: bool = False  # Write a trace of some steps for TensorBoard's profiler (pip install jaxembed[profile]).


@dataclass(frozen=True)
class _Windows(_Data):
    """What Skip-gram and CBOW share."""

    epochs: int = 5  # Passes over the text.
    window: int = 5  # Farthest neighbour that counts.
    # One of negative_sampling, infonce, softmax, hierarchical_softmax, margin, bpr.
    objective: str = "negative_sampling"
    negative: float = 5  # Negatives that each positive is weighed against.
    ns_exponent: float = 0.75  # Negatives are drawn in proportion to count^ns_exponent.
    sample: float = 1e-3  # Threshold of subsampling of frequent words; 0 keeps all.
    temperature: float | None = None  # Of infonce and softmax: scores are divided by it (default 1).
    margin: float | None = None  # Of margin: the gap that is asked for (default 1).


@dataclass(frozen=True)
class SkipGram(_Windows):
    """Skip-gram: a word predicts its neighbours.

    Writes a folder a seed with the vectors, settings, environment, metrics and TensorBoard events; a run that is
    finished already, with the same settings, is kept.

        jaxembed train skipgram --objective infonce --seeds 1 2 3
        jaxembed train skipgram --data my.txt.gz --min-count 10 --vector-size 300 --epochs 3 --output runs/mine
        jaxembed train skipgram --data Salesforce/wikitext --config wikitext-103-raw-v1 --split train
    """


@dataclass(frozen=True)
class CBOW(_Windows):
    """CBOW: the neighbours' mean predicts the word.

    Options and output are those of `jaxembed train skipgram`.

        jaxembed train cbow --objective hierarchical_softmax --held-out 0.01
    """

    # Step at the start; it falls to 0 linearly. Suits row_adagrad with the neighbours' mean.
    learning_rate: float = 0.6
    cbow_mean: bool = True  # The neighbours' mean; with --no-cbow-mean their sum.


@dataclass(frozen=True)
class GloVe(_Data):
    """GloVe: counts which words meet, then factorises the counts' logarithms.

    Output is that of `jaxembed train skipgram`.

        jaxembed train glove --epochs 10 --x-max 100
    """

    epochs: int = 10  # Passes over the counts.
    window: int = 10  # Farthest neighbour that counts; at distance d it counts 1/d.
    x_max: float = 10.0  # A count weighs min(1, count / x_max)^alpha.
    alpha: float = 0.75  # See --x-max.


def train(asked: SkipGram | CBOW | GloVe) -> None:
    """Trains a run a seed, records them and prints what they came to."""
    from jaxembed.study.plan import Planned, Variant
    from jaxembed.study.train import Options, train_group
    from jaxembed.tasks.words import Words
    from jaxembed.terminal import show_runs
    from jaxembed.training.processes import is_first
    from jaxembed.training.settings import Training

    training = Training(epochs=asked.epochs, learning_rate=asked.learning_rate, optimizer=asked.optimizer)
    if asked.window < 1:
        raise ValueError(f"window must be at least 1, not {asked.window}")
    method, name = _method(asked)
    reading = {key: getattr(asked, key) for key in
               ("data", "column", "split", "config", "revision", "min_count", "lowercase", "held_out", "window")}  # fmt: skip
    task = Words.read(**reading)
    corpus = task.corpus
    print(
        f"{asked.data}: {len(corpus.tokens):,} words of {len(corpus.vocabulary):,} kinds in {corpus.documents:,} documents"
    )
    output = asked.output or Path("runs") / name
    options = Options.of(asked)
    variant = Variant(name, method, training)
    plans = [Planned(output / f"seed-{seed}", variant, seed, asked.data) for seed in asked.seeds]
    runs = train_group(plans, task, options, description=name)
    if not is_first():
        return
    show_runs(runs)
    print(f"TensorBoard: tensorboard --logdir {output}")


def _method(asked: SkipGram | CBOW | GloVe) -> tuple[Any, str]:
    """The method, and its name with the objective's."""
    from jaxembed.methods import cbow, glove, skipgram
    from jaxembed.objectives import pairwise

    if isinstance(asked, GloVe):
        return glove.GloVe(vector_size=asked.vector_size, x_max=asked.x_max, alpha=asked.alpha), "glove"
    known = {field.name for field in fields(pairwise(asked.objective))}
    given = {key: getattr(asked, key) for key in ("temperature", "margin") if getattr(asked, key) is not None}
    for key in given.keys() - known:
        raise ValueError(f"the objective {asked.objective} has no {key}: leave --{key} out")
    shared = ("vector_size", "window", "negative", "ns_exponent", "sample")
    settings = {key: getattr(asked, key) for key in shared} | {"objective": pairwise(asked.objective, **given)}
    if isinstance(asked, CBOW):
        return cbow.CBOW(**settings, cbow_mean=asked.cbow_mean), f"cbow-{asked.objective}"
    return skipgram.SkipGram(**settings), f"skipgram-{asked.objective}"
