"""The commands, and how their errors are printed."""

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tyro.conf import FlagCreatePairsOff
from tyro.extras import SubcommandApp

from jaxembed.cli import classify, embed, export, predict, recommend, study, vectors
from jaxembed.naming import spelled, unknown
from jaxembed.terminal import write_any_letter

ABOUT = """Trains, compares and questions embeddings.

    jaxembed train skipgram                         (on the text that is shipped: about a minute)
    jaxembed train simclr                           (on the images that are shipped: about a minute)
    jaxembed evaluate runs/skipgram-negative_sampling/seed-1
    jaxembed neighbors runs/skipgram-negative_sampling/seed-1 king
    jaxembed embed runs/simclr/seed-1 pictures/
    jaxembed export runs/simcse/seed-1 FOLDER       (for sentence-transformers)
    jaxembed classify runs/classifier/seed-1 "A film to see twice."
    jaxembed predict runs/complex/seed-1 Beijing capital_of ?
    jaxembed analogy glove.6B.100d.txt king - man + woman
    jaxembed recommend runs/mf/seed-1 reader-007
    jaxembed report results/compare_objectives
    jaxembed reproduce results/compare_objectives/runs/glove/seed-1
    jaxembed --version

VECTORS is a run's folder or a file: safetensors, word2vec (text or binary), GloVe, also compressed (gzip, bzip2, xz, zstd). What
it is, is found from its content. A command that fails says why in one line; with JAXEMBED_TRACEBACK=1 it shows where."""


def run(argv: list[str]) -> int:
    """Runs the command line `argv` and returns the exit status: 0, 1 or 2. KeyboardInterrupt is passed on."""
    write_any_letter()
    if argv == ["--version"]:
        from jaxembed import __version__

        print(f"jaxembed {__version__}")
        return 0
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # they would break into ours
    try:
        app = _app(argv)
        arguments = app.cli(prog="jaxembed", description=ABOUT, args=_parted(argv), config=(FlagCreatePairsOff,))
        # Importing JAX takes a second, which the manual and mistyped commands do not wait for.
        from jaxembed.training.host import start
        from jaxembed.training.processes import initialize

        start(deterministic="--deterministic" in argv)
        with _plain_warnings():
            initialize()
            status = _run(arguments)
            sys.stdout.flush()
        return status or 0
    except SystemExit as stopped:  # --help, or a line that could not be parsed
        return int(stopped.code or 0)
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, KeyError, OSError, FloatingPointError) as error:
        if os.environ.get("JAXEMBED_TRACEBACK"):
            raise
        message = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"jaxembed: {' '.join(message.split())}", file=sys.stderr)
        return 1


def _app(argv: list[str]) -> SubcommandApp:
    """Returns the commands. Only the help of a command that `argv` names is longer than a line."""
    app: Any = SubcommandApp()
    if argv[:1] == ["train"]:
        app.command(_methods(argv), name="train")
    else:
        app.command(_nothing, name="train", help="Train a method; jaxembed train --help lists the methods.")
    for name, command in _COMMANDS.items():
        brief = (command.__doc__ or "").partition("\n")[0]
        app.command(command, name=name, help=None if name in argv[:1] else brief)
    return app


def _methods(argv: list[str]) -> SubcommandApp:
    """Returns one command for each recipe; only the one that was typed has its options."""
    from jaxembed.cli.train import brief, command, switched_off
    from jaxembed.fields import settings
    from jaxembed.recipes import RECIPES

    chosen = spelled(argv[1]) if len(argv) > 1 else ""
    if len(argv) > 1 and not chosen.startswith("_") and chosen not in RECIPES:
        raise unknown("recipe", argv[1], RECIPES)
    if chosen in RECIPES:
        argv[1:] = [chosen, *switched_off(argv[2:], settings(RECIPES[chosen]))]
    methods: Any = SubcommandApp()
    for name in RECIPES:
        if name == chosen:
            methods.command(command(name, argv[2:]), name=name)
        else:
            methods.command(_nothing, name=name, help=brief(name))
    return methods


def _nothing() -> None:
    """Stands for a command that was not typed."""


def _run(arguments: Any) -> int | None:
    from jaxembed.cli import train

    if isinstance(arguments, train.Train):
        return train.train(arguments)
    return getattr(sys.modules[type(arguments).__module__], type(arguments).__name__.lower())(arguments)


def _parted(argv: list[str]) -> list[str]:
    """Splits `-man +woman` of an analogy into `- man + woman`, up to a lone --, after which everything stays as it is."""
    if argv[:1] != ["analogy"]:
        return argv
    end = argv.index("--") if "--" in argv else len(argv)
    parted = [re.fullmatch(r"([-+])([^-].*)", word) if word != "-h" else None for word in argv[:end]]
    pairs = [match.groups() if match else (word,) for word, match in zip(argv, parted, strict=False)]
    return [part for pair in pairs for part in pair] + argv[end:]


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Prints warnings as one line each, without their place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"jaxembed: warning: {message}", file=sys.stderr)
        yield


_COMMANDS: dict[str, type] = {
    "embed": embed.Embed, "export": export.Export, "neighbors": vectors.Neighbors, "analogy": vectors.Analogy,
    "evaluate": vectors.Evaluate,
    "classify": classify.Classify,
    "predict": predict.Predict, "recommend": recommend.Recommend, "report": study.Report, "reproduce": study.Reproduce,
}  # fmt: skip
