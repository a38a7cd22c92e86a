"""Use of what was trained on interactions or clicks: `recommend` for users or lists of items, `predict` for rows of fields."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxembed.data.fields import FieldsInput
from jaxembed.data.histories import HistoryInput
from jaxembed.evaluation.top_k import best_unseen
from jaxembed.methods.clicks import logits_of_many
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors


class Recommender:
    """A trained recommender: `recommend` orders items for a user, or for a list of items.

    vectors: of users and items, under `user/ID` and `item/ID`. users, items: the ids.
    """

    def __init__(self, method: Any, params: Params, history: HistoryInput, vectors: KeyedVectors):
        self.method, self.params, self.vectors = method, params, vectors
        self._history = history
        known = history.known
        self.users, self.items = known.users, known.items
        self._seen = known.offsets
        self._never = np.setdiff1d(np.arange(len(self.items)), history.trained)

    def __repr__(self) -> str:
        return f"Recommender<{type(self.method).__name__}, {len(self.users):,} users, {len(self.items):,} items>"

    def recommend(
        self, user: str | int | None = None, k: int = 10, *, history: Sequence[str | int] | None = None
    ) -> list[tuple[str, float]]:
        """The `k` best items with their scores, without those that the user has, or that stand in `history`.

        user: an id. history: ids of items in their order, the latest last, for someone who was not in the training data. Nothing
        else is known of such a one: features of users, where a method reads them, count as zeros. Items that nobody had in
        training are not recommended, and say nothing of who has them.
        Raises KeyError with near matches for an unknown id; ValueError where not one of the two is given, for k below 1, and
        where a method knows its own users alone, or nothing is known of a user.
        """
        if user is not None and not isinstance(user, str | int | np.integer):
            raise ValueError(f"a user is one id, not a {type(user).__name__}: give items as history=[...]")
        if (user is None) == (history is None):
            raise ValueError("give a user, or a history of items, and not both")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if history is not None and isinstance(history, str):
            raise ValueError(f"a history is a list of items, not {history!r}")
        seen = self._rows(user) if history is None else self._history.examples([list(history)])["items"][0]
        seen = seen[seen >= 0]
        if not len(seen) and user is None:
            raise ValueError("the history is empty")
        if not len(seen):
            instead = ": give a history" if self.method.from_history else f", and {self.method.needs_user()}"
            raise ValueError(f"the user {user} has no item in the training data{instead}")
        if history is not None and not self.method.from_history:
            raise self.method.needs_user()
        if self.method.from_history:
            scores = self._of_history(seen, user)
        else:
            users, items = np.split(self.vectors.vectors, [len(self.users)])
            scores = items @ users[self._history.users[user]]
        best = best_unseen(scores, np.concatenate([seen, self._never]), k)
        return [(self.items[row], score) for row, score in best]

    def _rows(self, user: Any) -> np.ndarray:
        """What a user has, by time."""
        row = self._history.users[user]
        return self._history.known.item[self._seen[row] : self._seen[row + 1]]

    def _of_history(self, items: np.ndarray, user: Any) -> np.ndarray:
        # Somebody alone, among the same items.
        features = self._history.known.user_features
        if features is not None:
            features = np.full_like(features[:1], -1) if user is None else features[[self._history.users[user]]]
        one = replace(
            self._history.known, users=("",), user=np.zeros(len(items), np.int32), item=items, time=None,
            user_features=features,
        )  # fmt: skip
        one = one.among(self._history.trained)
        if not len(one):
            raise ValueError("nobody had these items in training: give a history with some that were trained")
        return np.asarray(self.method.scorer(self.params, one)(np.zeros(1, np.int64)))[0]


class ClickModel:
    """A trained model of clicks: `predict` gives probabilities of rows of fields. vectors: under `field/value`."""

    def __init__(self, method: Any, params: Params, fields: FieldsInput, vectors: KeyedVectors):
        self.method, self.params, self.vectors = method, jax.device_put(params), vectors
        self._fields = fields

    def __repr__(self) -> str:
        return f"ClickModel<{type(self.method).__name__}, fields: {', '.join(self._fields.fields)}>"

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Probabilities of a click, float32 [n]. Values that were not met in training count as unknown.

        Raises ValueError for no rows, and for one that lacks a field.
        """
        if isinstance(rows, Mapping) or not len(rows):
            raise ValueError("give a list of rows, {field: value} each, at least one")
        logits = logits_of_many(self.method, self.params, self._fields.examples(rows)["ids"])
        return np.asarray(jax.nn.sigmoid(logits), np.float32)
