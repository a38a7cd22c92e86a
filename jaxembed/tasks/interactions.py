"""Interactions as a task: which items each user has, and which of all items a user comes to next."""

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

WATCHED = 2000  # number of users whose recall is measured after each pass
_SHAPED = 2000  # number of vectors whose geometry is watched
FEW = 10  # users with fewer known pairs count as users with few items

USER, ITEM = "user/", "item/"  # prefixes of the keys of users and of items


@dataclass(frozen=True)
class Interactions(Task):
    """A table of pairs of a user and an item: some are trained on, the others are to be found among all items."""

    user: str = "user"  # Column of the users' ids.
    item: str = "item"  # Column of the items' ids.
    rating: str | None = None  # Column of ratings, if only pairs with a high rating count.
    least_rating: Finite = 0.0  # Lowest rating of a pair that counts.
    time: str | None = None  # Column of times, by which the items of a user are ordered.
    train_split: str = "train"  # Split to train on.
    test_split: str | None = "test"  # Split with the items to be found; None takes them from the split to train on.
    # How items of each user are set apart for validation, and for the test if there is no test split: "share" takes a share
    # of them by a hash, and "last" takes the last in time, one for each (leave-one-out).
    hold: Literal["share", "last"] = "share"
    # Share of each user's training items that is not trained on; settings are chosen by the figures on it. 0 sets none apart.
    validation: Annotated[float, Range(least=0, most=0.5)] = 0.1
    # Split of the same dataset that has one row per item with the item_features; None if there is no such table.
    item_split: str | None = None
    # Columns that describe an item, such as genres: a text, a number, or a list of these. two_tower learns from them.
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
        """The columns of a table."""
        names = {f"recall@{self.k}": f"recall@{self.k}", f"nDCG@{self.k}": f"ndcg@{self.k}", "MRR": "mrr"}
        few = {f"recall@{self.k}, few items": f"few/recall@{self.k}"}
        return {header: f"ranking/{name}" for header, name in (names | few | {"coverage": "coverage"}).items()}

    def read(self) -> Read:
        """Reads the table and divides it into its parts."""
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
        """Says whether there are no users with few items, or no users with training items."""
        found = {}
        tested = self._tested(self._parts.test)
        if not len(tested):
            found = dict.fromkeys(self.columns.values(), "no user of the test part has training items")
        elif not (self._few(tested)).any():
            found[f"ranking/few/recall@{self.k}"] = f"every user of the test part has {FEW} training items or more"
        return found

    def _tested(self, wanted: Pairs) -> np.ndarray:
        """Returns the users (rows) who have both training items and items to be found; nothing is known of the others."""
        return np.intersect1d(wanted.user, self._parts.train.user)

    def _few(self, users: np.ndarray) -> np.ndarray:
        return np.diff(self._parts.known.offsets)[users] < FEW

    def probes(self) -> tuple[Any, Any]:
        """Measures the geometry of some vectors now and then, and the recall of some users after each pass."""
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
        # an item that nobody has in training is never recommended, and counts as missed
        candidates = self._parts.train.counts > 0
        lists = lambda part: Lists(part.offsets, part.item)
        return ranking(score, users, lists(wanted), lists(seen), candidates, min(self.k, len(candidates)))

    def product(self, method: Any, params: Params, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors of users and items, named by their ids with the prefixes `user/` and `item/`."""
        train = self._parts.train
        keys = [USER + key for key in train.users] + [ITEM + key for key in train.items]
        return KeyedVectors(keys, vectors)

    def parts(self, product: KeyedVectors) -> dict[str, np.ndarray]:
        """Returns the vectors of the users and of the items."""
        users, items = np.split(product.vectors, [len(self._parts.train.users)])
        return {"user": users, "item": items}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `ranking/...`: recall@k, ndcg@k, mrr and coverage on the test part and, with `-dev`, on the validation part.

        Scores are inner products of the vectors. `ranking/few/...` are the means over the users with fewer than 10
        items, and `ranking/served` is the share of the test users who have training items. The other figures are means
        over these users.
        """
        score = by_vectors(vectors["user"], vectors["item"])
        return self._judged(lambda known: score)

    def figures(self, trained: Trained) -> Figures:
        """Like `judge`; a method that makes users from their items does so from all items before the part."""
        method, params = trained.learned()
        if not method.from_history:
            return self.judge(self.parts(trained.product))
        # What nobody has in training says nothing of who has it: its vector is as it began.
        had = np.unique(self._parts.train.item)
        return self._judged(lambda known: method.scorer(params, known.among(had)))

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
            measures = measured(names, figures_of, "ranking/")
            missing = {key: None for key in self.columns.values() if key not in measures and not end}
            figures |= {f"{name}{end}": value for name, value in (measures | missing).items()}
        return figures

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns the items that most users have, named by their ids."""
        train = self._parts.train
        often = np.argsort(-train.counts, kind="stable")[:WATCHED]
        items = self.parts(product)["item"][often]
        return KeyedVectors([train.items[row] for row in often], items, train.counts[often])
