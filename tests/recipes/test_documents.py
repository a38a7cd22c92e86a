"""The contract of recipes of documents."""

from .contract import *  # noqa: F403

GROUP = "documents"
