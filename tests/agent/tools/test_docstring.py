"""Docstrings in Google's style."""

from __future__ import annotations

import pytest

from firsthop.agent.tools.docstring import Docstring


def test_the_summary_is_the_first_paragraph_as_one_line() -> None:
    text = """Order pizza,
    and have it baked.

    More that the model is not told.
    """
    assert Docstring.of(text).summary == "Order pizza, and have it baked."


def test_arguments_may_have_types_and_several_lines() -> None:
    text = """Order.

    Args:
        pizza (str): Which one,
            as on the menu: margherita.
        count: How many.

            At most twenty.
        *rest: What else.

    Returns:
        count: This is no argument.
    """
    assert Docstring.of(text).parameters == {
        "pizza": "Which one, as on the menu: margherita.",
        "count": "How many. At most twenty.",
        "rest": "What else.",
    }


@pytest.mark.parametrize("text", [None, "", "   \n", "\n\n"])
def test_no_docstring_says_nothing(text: str | None) -> None:
    assert Docstring.of(text) == Docstring()


@pytest.mark.parametrize("text", ["Args:\n", "Args:\n    nothing with a colon in front", "Args:"])
def test_a_section_without_arguments_says_nothing(text: str) -> None:
    assert Docstring.of(text) == Docstring()
