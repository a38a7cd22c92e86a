"""The contract of recipes of sentences."""

from .contract import *  # noqa: F403

GROUP = "sentences"
