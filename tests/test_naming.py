from jaxembed.naming import spelled, unknown


def test_an_unknown_name_is_told_with_what_it_may_be_a_slip_for():
    message = "unknown objective 'infonse': did you mean 'infonce'? the objectives are infonce, softmax"
    assert str(unknown("objective", "infonse", ["infonce", "softmax"])) == message
    assert str(unknown("family", 3, ("a", "b"))) == "unknown family 3: the families are a, b"
    assert "did you mean 'InfoNCE'" in str(unknown("class", "infonce", ["InfoNCE"]))


def test_a_dash_is_an_underscore():
    assert spelled("barlow-twins") == "barlow_twins" == spelled("barlow_twins")
