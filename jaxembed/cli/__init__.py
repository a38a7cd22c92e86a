"""The command line: parse, call, print. `jaxembed --help` is its manual."""

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from tyro.conf import FlagCreatePairsOff
from tyro.extras import SubcommandApp

from jaxembed.cli import encoders, study, train, vectors

ABOUT = """Trains, compares and questions embeddings.

    jaxembed train skipgram                         (on the text that is shipped: about a minute)
    jaxembed train simclr                           (on the images that are shipped: about a minute)
    jaxembed evaluate runs/skipgram-negative_sampling/seed-1
    jaxembed neighbors runs/skipgram-negative_sampling/seed-1 king
    jaxembed analogy glove.6B.100d.txt king - man + woman
    jaxembed report results/compare_objectives
    jaxembed reproduce results/compare_objectives/runs/glove/seed-1
    jaxembed --version

VECTORS is a run's folder or a file: safetensors, word2vec (text or binary), GloVe; .gz too. What it is, is told by its
content. A command that fails says why in one line; with JAXEMBED_TRACEBACK=1 it shows where."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv`, by default the process' own: the exit status, 0, 1, 2 or 130."""
    from jaxembed.training.host import start
    from jaxembed.training.processes import initialize

    argv = list(sys.argv[1:] if argv is None else argv)
    if argv == ["--version"]:
        from jaxembed import __version__

        print(f"jaxembed {__version__}")
        return 0
    start(deterministic="--deterministic" in argv)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # they would break into ours
    try:
        asked = _app(argv).cli(prog="jaxembed", description=ABOUT, args=_parted(argv), config=(FlagCreatePairsOff,))
    except SystemExit as stopped:  # --help, or a line that could not be parsed
        return int(stopped.code or 0)
    try:
        with _plain_warnings():
            initialize()
            status = _COMMANDS[type(asked)](asked)
            sys.stdout.flush()
        return status or 0
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
    app.command(methods, name="train", help=f"Train vectors: skipgram, cbow, glove, {', '.join(encoders.COMMANDS)}.")
    for of, name, command in (
        (methods, "skipgram", train.SkipGram),
        (methods, "cbow", train.CBOW),
        (methods, "glove", train.GloVe),
        *((methods, name, command) for name, command in encoders.COMMANDS.items()),
        (app, "neighbors", vectors.Neighbors),
        (app, "analogy", vectors.Analogy),
        (app, "evaluate", vectors.Evaluate),
        (app, "report", study.Report),
        (app, "reproduce", study.Reproduce),
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


_COMMANDS: dict[type, Any] = {
    train.SkipGram: train.train,
    train.CBOW: train.train,
    train.GloVe: train.train,
    **dict.fromkeys(encoders.COMMANDS.values(), encoders.train),
    vectors.Neighbors: vectors.neighbors,
    vectors.Analogy: vectors.analogy,
    vectors.Evaluate: vectors.evaluate,
    study.Report: study.report,
    study.Reproduce: study.reproduce,
}
