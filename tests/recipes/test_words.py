"""The contract of recipes of words."""

from .contract import *  # noqa: F403

GROUP = "words"
