import numpy as np
import pytest

from jaxembed.naming import Places, UnknownKeyError, as_key, spelled, unknown


def test_an_unknown_name_is_told_with_what_it_may_be_a_slip_for():
    message = "unknown objective 'infonse': did you mean 'infonce'? the objectives are infonce, softmax"
    assert str(unknown("objective", "infonse", ["infonce", "softmax"])) == message
    assert str(unknown("family", 3, ("a", "b"))) == "unknown family 3: the families are a, b"
    assert "did you mean 'InfoNCE'" in str(unknown("class", "infonce", ["InfoNCE"]))


def test_a_dash_is_an_underscore():
    assert spelled("barlow-twins") == "barlow_twins" == spelled("barlow_twins")


def test_places_tell_what_an_unknown_key_may_be_a_slip_for():
    places = Places(("7", "apple", "08"))
    assert [places[key] for key in ("apple", "7", 7, 7.0, np.int32(7), np.float32(7))] == [1, 0, 0, 0, 0, 0]
    with pytest.raises(UnknownKeyError, match="'aple' is not among the 3 keys: did you mean 'apple'"):
        places["aple"]
    with pytest.raises(UnknownKeyError, match="'8' is not among"):
        places[8]
    assert [as_key(one) for one in (True, 0.5, 2**70, None)] == ["true", "0.5", str(2**70), "None"]
