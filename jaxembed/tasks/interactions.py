"""Interactions as a task: who had what, and what each user comes to next among everything that there is."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np

from jaxembed.data.histories import HistoryInput
from jaxembed.data.interactions import Interactions as Pairs
from jaxembed.data.interactions import Parts, read_features, read_interactions
from jaxembed.evaluation.top_k import Lists, by_vectors, ranking
from jaxembed.ranges import Count, Finite, Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, Trained, measured, shape_of_vectors
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

WATCHED = 2000  # users whose recall is measured after each pass
_SHAPED = 2000  # vectors whose geometry is watched
FEW = 10  # pairs, below which a user has few

USER, ITEM = "user/", "item/"  # what keys of users and items begin with


@dataclass(frozen=True)
class Interactions(Task):
    """A table of who had what: some pairs to train on, others to be found among all items."""

    user: str = "user"  # Column of the users' ids.
    item: str = "item"  # Column of the items' ids.
    rating: str | None = None  # Column of ratings, where only pairs with a high one count.
    least_rating: Finite = 0.0  # Lowest rating with which a pair counts.
    time: str | None = None  # Column of times, by which a user's items have an order.
    train_split: str = "train"  # Split to train on.
    test_split: str | None = "test"  # Split of the items to be found; none cuts them off the other.
    # What is set apart of each user's items, for validation and where there is no test split: a "share" of them, by a hash,
    # or the "last" in time, one for each (leave-one-out).
    hold: Literal["share", "last"] = "share"
    # Share of each user's training items that is not trained on: settings are chosen by the figures on it. 0 sets none apart.
    validation: Annotated[float, Range(least=0, most=0.5)] = 0.1
    # Split of the same dataset that has a row an item with item_features; none for no such table.
    item_split: str | None = None
    # Columns of what is known of an item, such as genres: a text, a number, or a list of them. two_tower learns from it.
    item_features: tuple[str, ...] = ()
    # Split of the same dataset that has a row a user with user_features; none for no such table.
    user_split: str | None = None
    # Columns of what is known of a user, such as a country: as item_features, for two_tower. A user without them has none.
    user_features: tuple[str, ...] = ()
    k: Count = 20  # Length of a list of recommendations.

    unit: ClassVar[str] = "pairs"
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", f"ranking/watched/recall{DEV}")
    unranked: ClassVar[tuple[str, ...]] = ("coverage",)
    select: ClassVar[str] = f"ranking/watched/recall{DEV}"

    @property
    def columns(self) -> Mapping[str, str]:
        """Of a table."""
        names = {f"recall@{self.k}": f"recall@{self.k}", f"nDCG@{self.k}": f"ndcg@{self.k}", "MRR": "mrr"}
        few = {f"recall@{self.k}, few items": f"few/recall@{self.k}"}
        return {header: f"ranking/{name}" for header, name in (names | few | {"coverage": "coverage"}).items()}

    def read(self) -> Read:
        """The table in its parts."""
        columns = {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time}
        parts = read_interactions(
            self.data, split=self.train_split, test_split=self.test_split, least_rating=self.least_rating, hold=self.hold,
            validation=self.validation, **columns, **self.origin,
        )  # fmt: skip
        known: dict[str, Any] = {}
        if self.item_features:
            known["features"], known["feature_names"] = read_features(
                self.data, self.item, self.item_features, parts.train.items, split=self.item_split, **self.origin
            )
        if self.user_features:
            known["user_features"], known["user_feature_names"] = read_features(
                self.data, self.user, self.user_features, parts.train.users, split=self.user_split, **self.origin
            )
        with_ = lambda part: replace(part, **known)
        parts = Parts(with_(parts.train), None if parts.dev is None else with_(parts.dev), with_(parts.test))
        inputs = {"history": HistoryInput(parts.known, np.unique(parts.train.item))}
        return Read(parts.train, len(parts.train), parts.train.fingerprint, parts.train.summary(), dev=parts.dev,
                    inputs=inputs, rest=parts, judged_by=parts.test.fingerprint)  # fmt: skip

    @property
    def _parts(self) -> Parts:
        return self.found.rest

    def unmeasurable(self) -> dict[str, str]:
        """Users with few items may be none; of users without training items none can be served."""
        found = {}
        tested = self._tested(self._parts.test)
        if not len(tested):
            found = dict.fromkeys(self.columns.values(), "no user of the test part has training items")
        elif not (self._few(tested)).any():
            found[f"ranking/few/recall@{self.k}"] = f"every user of the test part has {FEW} training items or more"
        return found

    def _tested(self, wanted: Pairs) -> np.ndarray:
        """Users (rows) who want something and have training items: of the others nothing is known."""
        return np.intersect1d(wanted.user, self._parts.train.user)

    def _few(self, users: np.ndarray) -> np.ndarray:
        return np.diff(self._parts.known.offsets)[users] < FEW

    def probes(self) -> tuple[Any, Any]:
        """The shape of some vectors now and then; recall of the validation items for some users after each pass."""
        parts, n = self._parts, len(self._parts.train.users)
        often = lambda vectors: shape_of_vectors(vectors[:, n : n + _SHAPED])
        dev = parts.dev
        if dev is None:
            return often, lambda vectors: {}
        users = self._tested(dev)
        users = users[np.arange(min(WATCHED, len(users))) * len(users) // min(WATCHED, len(users))]

        def seldom(vectors: jax.Array) -> dict[str, np.ndarray]:
            recall = lambda one: self._ranked(by_vectors(one[:n], one[n:]), users, dev, parts.train).recall.mean()
            return {self.select: np.array([recall(one) for one in vectors])}

        return often, seldom

    def _ranked(self, score: Any, users: np.ndarray, wanted: Pairs, seen: Pairs):
        candidates = self._parts.train.counts > 0  # what nobody has in training is never recommended, and is missed
        lists = lambda part: Lists(part.offsets, part.item)
        return ranking(score, users, lists(wanted), lists(seen), candidates, min(self.k, len(candidates)))

    def product(self, method: Any, params: Params, vectors: np.ndarray) -> KeyedVectors:
        """Users and items with their ids, behind `user/` and `item/`."""
        train = self._parts.train
        keys = [USER + key for key in train.users] + [ITEM + key for key in train.items]
        return KeyedVectors(keys, vectors)

    def parts(self, product: KeyedVectors) -> dict[str, np.ndarray]:
        """The vectors of the users and of the items."""
        users, items = np.split(product.vectors, [len(self._parts.train.users)])
        return {"user": users, "item": items}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """`ranking/...`: recall@k, ndcg@k, mrr and coverage on the test part, and on the validation part, with `-dev`.

        Scores are inner products of the vectors. `ranking/few/...`: of the users with less than 10 items; `ranking/served`: the
        share of the test users who have training items, of whom the others are means.
        """
        score = by_vectors(vectors["user"], vectors["item"])
        return self._judged(lambda known: score)

    def figures(self, trained: Trained) -> Figures:
        """As `judge`; a method that makes users from what they have does so with all that comes before the part."""
        method, params = trained.learned()
        if not method.from_history:
            return self.judge(self.parts(trained.product))
        # What nobody has in training says nothing of who has it: its vector is as it began.
        trained = np.unique(self._parts.train.item)
        return self._judged(lambda known: method.scorer(params, known.among(trained)))

    def _judged(self, scorer: Any) -> Figures:
        parts, figures = self._parts, Figures()
        for wanted, known, end in ((parts.test, parts.known, ""), (parts.dev, parts.train, DEV)):
            if wanted is None:
                continue
            users = self._tested(wanted)

            def figures_of(users=users, wanted=wanted, known=known) -> dict[str, float]:
                found, few = self._ranked(scorer(known), users, wanted, known), self._few(users)
                served = len(users) / len(np.unique(wanted.user))
                own = found.means(self.k) | {"coverage": found.coverage, "served": served}
                return own | (
                    {f"few/{name}": value for name, value in found.means(self.k, few).items()} if few.any() else {}
                )

            names = [key.partition("/")[2] for key in self.columns.values()]
            made = measured(names, figures_of, "ranking/")
            missing = {key: None for key in self.columns.values() if key not in made and not end}
            figures |= {f"{name}{end}": value for name, value in (made | missing).items()}
        return figures

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """The items that most users have, under their ids."""
        train = self._parts.train
        often = np.argsort(-train.counts, kind="stable")[:WATCHED]
        items = self.parts(product)["item"][often]
        return KeyedVectors([train.items[row] for row in often], items, train.counts[often])
