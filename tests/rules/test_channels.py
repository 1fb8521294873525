"""Channel names that no chat would take, and those that look like another one misspelt."""

import pytest

from responder.rules.channels import bad_name, lookalikes, near


@pytest.mark.parametrize("name", ["#ops", "ops", "#on-call_2", "C0123ABCD", "#équipe", "#運用"])
def test_a_name_that_a_chat_takes_is_good(name: str) -> None:
    assert bad_name(name) == ""


@pytest.mark.parametrize("name", ["#Ops", "#ops.eu", "#ops!", "#", "##ops"])
def test_a_name_that_no_chat_takes_is_told(name: str) -> None:
    assert bad_name(name)


def test_the_rarer_of_two_alike_is_the_one_misspelt() -> None:
    assert lookalikes({"#payments": 5, "#paymnets": 1, "#other": 1}) == {"#paymnets": "#payments"}
    assert lookalikes({"#team-a": 1, "#team-b": 2, "#shop1": 1, "#shop2": 1, "ops": 1, "#ops": 1}) == {}


@pytest.mark.parametrize(
    ("one", "other", "most", "distance"),
    [
        ("prod", "prod", 2, 0),
        ("prd", "prod", 2, 1),
        ("prdo", "prod", 2, 1),
        ("pxod", "prd", 2, 2),
        ("prod", "staging", 2, None),
        ("abc", "xyz", 2, None),
        ("", "ab", 2, 2),
    ],
)
def test_the_letters_between_two_texts_are_counted(one: str, other: str, most: int, distance: int | None) -> None:
    assert near(one, other, most) == distance
    assert near(other, one, most) == distance
