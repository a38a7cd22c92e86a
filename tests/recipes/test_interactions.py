"""The contract of recipes of interactions."""

from .contract import *  # noqa: F403

GROUP = "interactions"
