"""Experiments: one short script each; `python -m experiments.NAME --help` tells what it does."""
