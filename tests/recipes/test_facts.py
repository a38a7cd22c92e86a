"""The contract of recipes of knowledge graphs."""

from .contract import *  # noqa: F403

GROUP = "facts"
