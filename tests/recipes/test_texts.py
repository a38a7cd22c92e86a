"""The contract of recipes of texts."""

from .contract import *  # noqa: F403

GROUP = "texts"
