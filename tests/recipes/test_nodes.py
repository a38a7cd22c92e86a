"""The contract of recipes of graphs."""

from .contract import *  # noqa: F403

GROUP = "nodes"
