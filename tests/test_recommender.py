"""Recommendations for odd users and items, from methods that need no training."""

import numpy as np
import pytest

import jaxembed
from jaxembed.data.fields import FieldsInput
from jaxembed.data.histories import HistoryInput
from jaxembed.data.interactions import Interactions
from jaxembed.methods.clicks import LogisticRegression
from jaxembed.methods.closed_form import ItemCosine, Popularity
from jaxembed.methods.recommend import MF
from jaxembed.sampling.random import key_of
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

IDS = (("ann", "ben", "dan", "zoe"), ("apple", "bread", "cheese", "new"))
TRAIN = Interactions(*IDS, np.int32([0, 0, 1, 1, 2]), np.int32([0, 1, 1, 2, 1]))
#: Besides, dan has what nobody has in training; of zoe nothing is known.
KNOWN = TRAIN.joined(Interactions(*IDS, np.int32([2]), np.int32([3])))


def model(method):
    constants = method.source(TRAIN).constants
    params = method.init(key_of(0), constants)
    keys = [f"user/{one}" for one in TRAIN.users] + [f"item/{one}" for one in TRAIN.items]
    vectors = KeyedVectors(keys, np.asarray(method.vectors(params, constants)))
    return jaxembed.Recommender(method, params, HistoryInput(KNOWN, np.unique(TRAIN.item)), vectors)


@pytest.mark.parametrize("method", [Popularity(), ItemCosine(vector_size=2)])
def test_an_item_never_seen_is_not_recommended(method):
    found = model(method)
    assert [item for item, _ in found.recommend("ann", 4)] == ["cheese"]
    assert {item for item, _ in found.recommend("dan", 4)} == {"apple", "cheese"}


def test_an_item_never_seen_says_nothing_of_who_has_it():
    found = model(ItemCosine(vector_size=2))
    assert found.recommend(history=["bread", "new"]) == found.recommend(history=["bread"])
    with pytest.raises(ValueError, match="nobody had these items in training"):
        found.recommend(history=["new"])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"user": "zoe"}, ValueError, "the user zoe has no item in the training data: give a history"),
        ({"history": []}, ValueError, "the history is empty"),
        ({"user": ["apple"]}, ValueError, r"a user is one id, not a list: give items as history="),
        ({"user": "an"}, KeyError, "'an' is not among the 4 keys: did you mean 'ann'"),
        ({"history": ["aple"]}, KeyError, "'aple' is not among the 4 keys: did you mean 'apple'"),
        ({"user": "ann", "history": ["apple"]}, ValueError, "give a user, or a history of items, and not both"),
    ],
)
def test_users_and_items_that_are_not_known_are_told(given, error, message):
    with pytest.raises(error, match=message):
        model(ItemCosine(vector_size=2)).recommend(**given)


def test_who_has_nothing_is_not_sent_for_a_history_that_would_be_refused():
    params = Params(dict.fromkeys(("user", "item"), np.zeros((4, 4), np.float32)))
    keys = [*(f"user/{one}" for one in IDS[0]), *(f"item/{one}" for one in IDS[1])]
    vectors = KeyedVectors(keys, np.zeros((8, 4)))
    found = jaxembed.Recommender(MF(), params, HistoryInput(KNOWN, np.unique(TRAIN.item)), vectors)
    with pytest.raises(
        ValueError, match="zoe has no item in the training data, and MF knows the users of its training data"
    ):
        found.recommend("zoe")


def test_a_value_never_seen_counts_as_unknown_in_clicks():
    rows = np.float32([[0, 0], [2, 0], [-1, 0]])
    params = Params({"fields": rows}, {"bias": np.float32(0)})
    inputs = FieldsInput(("city",), (("a", "b"),))
    found = jaxembed.ClickModel(LogisticRegression(), params, inputs, KeyedVectors(["x"], np.zeros((1, 1))))
    given = found.predict([{"city": "a"}, {"city": "c"}, {"city": ""}])
    np.testing.assert_allclose(given, 1 / (1 + np.exp([-2, 0, 0])), rtol=1e-6)
    with pytest.raises(ValueError, match="row 1 has no 'city'"):
        found.predict([{"city": "a"}, {"town": "a"}])
