"""Experiments: one short script each; `python -m experiments.NAME --help` explains what it does."""

import sys

if sys.argv[:1] == [
    "-m"
]:  # Python is looking for the module of `python -m experiments.NAME`, and has imported nothing yet.
    from jaxembed.cli.interrupt import guard

    guard(next((word.rpartition(".")[2] for word in sys.orig_argv if "experiments." in word), "experiments"))
