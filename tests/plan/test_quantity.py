"""Numbers that know what they rest on."""

from __future__ import annotations

from firsthop.plan.quantity import Quantity, least, most, total

TWO, SIX = Quantity.of("two", 2), Quantity.of("six", 6)
UNKNOWN = Quantity.of("unknown", None)


def test_what_is_computed_rests_on_all_that_it_was_computed_from_each_once() -> None:
    assert (SIX / TWO + TWO * 3).rests_on == ("six", "two")
    assert (SIX / TWO + TWO * 3).value == 9


def test_what_rests_on_something_unknown_is_unknown_and_says_of_what() -> None:
    for figure in (UNKNOWN + TWO, TWO * UNKNOWN, total([TWO, UNKNOWN]), most([UNKNOWN, SIX])):
        assert figure.value is None
        assert figure.missing == ("unknown",)
        assert (figure / 2).whole().missing == ("unknown",)


def test_nothing_of_something_unknown_is_nothing() -> None:
    nothing = Quantity.of("nothing", 0)
    assert nothing * UNKNOWN == Quantity(0, ("nothing", "unknown"))
    assert UNKNOWN.where(nothing) == Quantity(0, ("unknown", "nothing"))


def test_the_largest_rests_on_those_that_might_have_been_it() -> None:
    assert most([TWO, SIX]) == Quantity(6, ("two", "six"))
    assert least([TWO, SIX]) == Quantity(2, ("two", "six"))


def test_a_part_of_a_machine_is_a_machine_but_what_floats_round_is_none() -> None:
    assert Quantity(2.1, ()).whole().value == 3
    assert Quantity(0.1 + 0.2, ()).value != 0.3
    assert (Quantity(0.1 + 0.2, ()) * 10).whole().value == 3
