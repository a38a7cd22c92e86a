"""`jaxembed recommend RUN USER`: recommends items to a user, or to someone with the given items."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional


@dataclass(frozen=True)
class Recommend:
    """Recommends the best items to a user, without those that the user has; or to somebody new, given a list of items.

    jaxembed recommend runs/mf/seed-1 reader-007 -k 5
    jaxembed recommend runs/sasrec/seed-1 --history book-010 book-011
    """

    run: Positional[Path]  # A run's folder.
    user: Positional[str | None] = None  # Id of a user, as in the data.
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10  # Number of items.
    # Ids of items in order, the latest last, in place of a user; for methods that compute users from their items.
    history: tuple[str, ...] | None = None


def recommend(arguments: Recommend) -> None:
    """Prints items and their scores."""
    import jaxembed
    from jaxembed.recommender import Recommender
    from jaxembed.terminal import show_table

    model = jaxembed.load(arguments.run)
    if not isinstance(model, Recommender):
        raise ValueError(f"{arguments.run} is no recommender: train one, such as jaxembed train mf")
    near = model.recommend(arguments.user, arguments.k, history=arguments.history)
    title = arguments.user if arguments.history is None else ", ".join(arguments.history)
    show_table(title, ["item", "score"], [[item, f"{score:.3f}"] for item, score in near])
