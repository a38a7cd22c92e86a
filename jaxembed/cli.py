"""The command line: parse, call, print. `jaxembed --help` is its manual."""

import csv
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from tyro.conf import FlagCreatePairsOff, Positional
from tyro.extras import SubcommandApp

if TYPE_CHECKING:
    from jaxembed.data.text import Corpus

ABOUT = """Trains, compares and questions word vectors.

    jaxembed train skipgram                         (on the text that is shipped: about a minute)
    jaxembed evaluate runs/skipgram-negative_sampling/seed-1
    jaxembed neighbors runs/skipgram-negative_sampling/seed-1 king
    jaxembed analogy glove.6B.100d.txt king - man + woman
    jaxembed --version

VECTORS is a run's folder or a file: safetensors, word2vec (text or binary), GloVe; .gz too. What it is, is told by its
content. A command that fails says why in one line; with JAXEMBED_TRACEBACK=1 it shows where."""


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


@dataclass(frozen=True)
class Neighbors:
    """The nearest words by cosine.

    jaxembed neighbors vectors.bin king queen --topn 5
    """

    vectors: Positional[Path]  # A run's folder or a vector file.
    words: Positional[tuple[str, ...]]  # Words to look around.
    topn: int = 10  # How many neighbours of each word.


@dataclass(frozen=True)
class Analogy:
    """The words nearest to a sum of words, each scaled to length 1, by cosine (3CosAdd).

    Signs may stand apart or before a word. A word that begins with a sign itself stands after one that stands apart,
    behind a lone --:

        jaxembed analogy vectors.bin king - man + woman
        jaxembed analogy vectors.bin paris -france +italy --topn 3
        jaxembed analogy --topn 3 vectors.bin -- kindly - kind + -ness
    """

    vectors: Positional[Path]  # A run's folder or a vector file.
    terms: Positional[tuple[str, ...]]  # Words with + or - between them.
    topn: int = 10  # How many answers.


@dataclass(frozen=True)
class Evaluate:
    """Benchmarks of word vectors: similarity (Spearman's correlation) and analogies (accuracy).

    Items with a word that has no vector are left out and counted as oov; case is overlooked.

        jaxembed evaluate GoogleNews-vectors-negative300.bin.gz --csv google-news.csv
        jaxembed evaluate runs/glove/seed-1 --split dev --method 3cosmul --categories
    """

    vectors: Positional[Path]  # A run's folder or a vector file.
    # Whole benchmarks, or a half: dev to choose settings on, test to confirm results on.
    split: Literal["all", "dev", "test"] = "all"
    # Analogies ask and answer with the first so many words of the file, the most frequent in most files.
    restrict_vocab: int = 30_000
    # How an analogy is answered: by a sum of cosines, or by their product (Levy and Goldberg 2014).
    method: Literal["3cosadd", "3cosmul"] = "3cosadd"
    categories: bool = False  # Also show the analogies category by category.
    csv: Path | None = None  # Also write the figures to this file.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv`, by default the process' own: the exit status, 0, 1, 2 or 130."""
    from jaxembed.training.host import start

    start()
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv == ["--version"]:
        from jaxembed import __version__

        print(f"jaxembed {__version__}")
        return 0
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # they would break into ours
    try:
        asked = _app(argv).cli(prog="jaxembed", description=ABOUT, args=_parted(argv), config=(FlagCreatePairsOff,))
    except SystemExit as stopped:  # --help, or a line that could not be parsed
        return int(stopped.code or 0)
    try:
        with _plain_warnings():
            _COMMANDS[type(asked)](asked)
            sys.stdout.flush()
        return 0
    except KeyboardInterrupt as stopped:  # Interrupted says how to go on
        print(f"jaxembed: {str(stopped) or 'interrupted; what was finished before stands as it was'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, KeyError, OSError, FloatingPointError) as error:
        if os.environ.get("JAXEMBED_TRACEBACK"):
            raise
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"jaxembed: {' '.join(told.split())}", file=sys.stderr)
        return 1


def _app(argv: list[str]) -> SubcommandApp:
    """The commands; only the help of one that is named in `argv` is more than a line."""
    methods, app = SubcommandApp(), SubcommandApp()
    app.command(methods, name="train", help="Train word vectors: skipgram, cbow or glove.")
    for of, name, command in (
        (methods, "skipgram", SkipGram),
        (methods, "cbow", CBOW),
        (methods, "glove", GloVe),
        (app, "neighbors", Neighbors),
        (app, "analogy", Analogy),
        (app, "evaluate", Evaluate),
    ):
        brief = (command.__doc__ or "").partition("\n")[0]
        of.command(cast("Any", command), name=name, help=None if name in argv[:2] else brief)
    return app


def _parted(argv: list[str]) -> list[str]:
    """`-man +woman` of an analogy as `- man + woman`, up to a lone --, behind which all stands as it is."""
    if argv[:1] != ["analogy"]:
        return argv
    end = argv.index("--") if "--" in argv else len(argv)
    parted = [re.fullmatch(r"([-+])([^-].*)", word) if word != "-h" else None for word in argv[:end]]
    pairs = [match.groups() if match else (word,) for word, match in zip(argv, parted, strict=False)]
    return [part for pair in pairs for part in pair] + argv[end:]


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"jaxembed: warning: {message}", file=sys.stderr)
        yield


def _train(asked: SkipGram | CBOW | GloVe) -> None:
    from jaxembed.data.text import hold_out, read_corpus
    from jaxembed.study.plan import Planned, Variant
    from jaxembed.study.train import Options, train_group
    from jaxembed.study.words import Words
    from jaxembed.terminal import show_runs
    from jaxembed.training.loop import Training

    training = Training(epochs=asked.epochs, learning_rate=asked.learning_rate, optimizer=asked.optimizer)
    if asked.window < 1:
        raise ValueError(f"window must be at least 1, not {asked.window}")
    method, name = _method(asked)
    corpus = read_corpus(
        asked.data,
        asked.column,
        split=asked.split,
        config=asked.config,
        revision=asked.revision,
        min_count=asked.min_count,
        lowercase=asked.lowercase,
    )
    kinds, documents = len(corpus.vocabulary), corpus.documents
    print(f"{asked.data}: {len(corpus.tokens):,} words of {kinds:,} kinds in {documents:,} documents")
    train, held = hold_out(corpus, asked.held_out) if asked.held_out is not None else (corpus, None)
    output = asked.output or Path("runs") / name
    runs = train_group(
        [Planned(output / f"seed-{seed}", Variant(name, method, training), seed, asked.data) for seed in asked.seeds],
        Words(train, held, window=asked.window),
        Options(overwrite=asked.overwrite),
        settings={key: getattr(asked, key) for key in ("config", "split", "held_out")},
        description=name,
    )
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


def _neighbors(asked: Neighbors) -> None:
    from jaxembed.evaluation import neighbours
    from jaxembed.terminal import show_near
    from jaxembed.vectors import load_vectors

    if not asked.words:
        raise ValueError("give at least one word: jaxembed neighbors VECTORS king")
    topn = _positive(asked.topn)
    for word, near in neighbours(load_vectors(asked.vectors), asked.words, topn).items():
        show_near(word, "neighbour", near)


def _analogy(asked: Analogy) -> None:
    from jaxembed.terminal import show_near
    from jaxembed.vectors import load_vectors

    positive, negative = _sides(asked.terms)
    near = load_vectors(asked.vectors).most_similar(positive, negative, topn=_positive(asked.topn))
    show_near(" ".join(asked.terms), "word", near)


def _sides(terms: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are added and those that are taken away; behind a sign anything is a word."""
    sides: dict[str, list[str]] = {"+": [], "-": []}
    sign = None
    for term in terms:
        if sign is None and term in sides:
            sign = term
        else:
            sides[sign or "+"].append(term)
            sign = None
    if sign is not None or not terms:
        problem = f"{' '.join(terms)!r} ends with a sign" if terms else "there are no words"
        raise ValueError(f"{problem}: write jaxembed analogy VECTORS king - man + woman")
    return sides["+"], sides["-"]


def _positive(topn: int) -> int:
    if topn < 1:
        raise ValueError(f"topn must be at least 1, not {topn}")
    return topn


def _evaluate(asked: Evaluate) -> None:
    from jaxembed.evaluation import evaluate
    from jaxembed.files import write_text
    from jaxembed.terminal import show_figures
    from jaxembed.vectors import load_vectors

    vectors = load_vectors(asked.vectors)
    options = {key: getattr(asked, key) for key in ("split", "restrict_vocab", "method", "categories")}
    rows = evaluate(vectors, **options)
    size = f"{len(vectors):,} words, {vectors.vector_size} dimensions"
    print(f"{asked.vectors}: {size}; benchmarks: {asked.split}; analogies by {asked.method}")
    show_figures(rows)
    if asked.csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, ["vectors", *rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"vectors": str(asked.vectors), **row} for row in rows)
        write_text(asked.csv, text.getvalue())
        print(f"written to {asked.csv}")


_COMMANDS: dict[type, Any] = {
    SkipGram: _train,
    CBOW: _train,
    GloVe: _train,
    Neighbors: _neighbors,
    Analogy: _analogy,
    Evaluate: _evaluate,
}
