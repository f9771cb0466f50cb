"""Functions as tools."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import firsthop
from doubles import Line
from firsthop.agent.tools import ToolContext, ToolError, tool
from firsthop.agent.tools.function import PythonTool, marked
from firsthop.agent.tools.threads import Threads
from firsthop.call import Call


@dataclass
class Address:
    """Where somebody lives."""

    street: str
    number: int = 1


class Guest(BaseModel):
    """Who comes."""

    name: str


@pytest.fixture
async def context() -> AsyncIterator[ToolContext]:
    """The context of a call."""
    context = ToolContext(Line(), lambda _: None)
    yield context
    await context.close()


def tool_of(function: object) -> PythonTool:
    found = marked(function)
    assert found is not None
    return found


def test_the_model_is_told_what_signature_and_docstring_say() -> None:
    @tool
    async def forecast(
        city: str,
        unit: Literal["celsius", "fahrenheit"] = "celsius",
        days: Annotated[int, Field(ge=1, le=7, description="How far ahead.")] = 1,
        street: str | None = None,
    ) -> str:
        """Forecast the
        weather.

        Args:
            city: Where, as Oslo.
            unit: Of temperatures.
            days: This is not told, the annotation is.
            street: Where in the city.
        """  # noqa: D205
        return city

    assert tool_of(forecast).definition() == {
        "type": "function",
        "name": "forecast",
        "description": "Forecast the weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where, as Oslo."},
                "unit": {
                    "type": "string",
                    "enum": ["celsius", "fahrenheit"],
                    "default": "celsius",
                    "description": "Of temperatures.",
                },
                "days": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 7,
                    "default": 1,
                    "description": "How far ahead.",
                },
                "street": {
                    "anyOf": [{"type": "string"}, {"type": "null"}],
                    "default": None,
                    "description": "Where in the city.",
                },
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    }


def test_a_function_without_words_and_parameters_is_told_by_its_name() -> None:
    @tool
    def ring_the_bell() -> None: ...

    assert tool_of(ring_the_bell).definition() == {
        "type": "function",
        "name": "ring_the_bell",
        "description": "ring the bell",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    }


def test_name_and_description_can_be_given() -> None:
    @tool(name="look-up", description="Look it up.")
    def find() -> str:
        """Find."""
        return ""

    assert (tool_of(find).name, tool_of(find).description) == ("look-up", "Look it up.")


def test_the_function_stays_what_it_is() -> None:
    def double(number: int) -> int:
        return 2 * number

    assert firsthop.tool(double) is double
    assert double(2) == 4


async def test_the_call_is_filled_in_and_not_shown(context: ToolContext) -> None:
    @tool
    async def who(call: Call, word: str, context: ToolContext) -> str:
        return f"{word} {call.id} {context.call is call}"

    assert list(tool_of(who).parameters["properties"]) == ["word"]
    assert await tool_of(who).run({"word": "hi"}, context) == "hi rtc_test True"


async def test_arguments_become_what_the_function_is_annotated_with(context: ToolContext) -> None:
    given: list[object] = []

    @tool
    async def invite(
        guest: Guest, address: Address, others: list[Guest], hours: float = 1.5
    ) -> None:
        given.extend([guest, address, others, hours])

    arguments = {
        "guest": {"name": "Ada"},
        "address": {"street": "Main", "number": "7"},
        "others": [{"name": "Bob"}],
    }
    assert await tool_of(invite).run(arguments, context) == "done"
    assert given == [Guest(name="Ada"), Address("Main", 7), [Guest(name="Bob")], 1.5]


async def test_parameters_may_have_any_name(context: ToolContext) -> None:
    @tool
    async def names(
        json: str, copy: str, model_config: str, schema: str, _hidden: str = "e"
    ) -> str:
        return json + copy + model_config + schema + _hidden

    arguments = {"json": "a", "copy": "b", "model_config": "c", "schema": "d"}
    assert await tool_of(names).run(arguments, context) == "abcde"


@tool
async def book(
    city: str,
    nights: Annotated[int, Field(ge=1, le=30)],
    kind: Literal["single", "double"] = "single",
    guests: list[Guest] = [],  # noqa: B006 (it is copied)
    breakfast: bool = True,
    price: float = 1,
) -> str:
    """Book a room."""
    return "booked"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"nights": 1}, "city: is missing"),
        ({"city": 3, "nights": 1}, "city: expected a string"),
        ({"city": "Oslo", "nights": "two"}, "nights: expected a whole number"),
        ({"city": "Oslo", "nights": 1.5}, "nights: expected a whole number"),
        ({"city": "Oslo", "nights": 31}, "nights: must be less than or equal to 30"),
        ({"city": "Oslo", "nights": 1, "kind": "x"}, "kind: must be 'single' or 'double'"),
        ({"city": "Oslo", "nights": 1, "guests": {}}, "guests: expected a list"),
        ({"city": "Oslo", "nights": 1, "guests": [1]}, "guests.0: expected an object"),
        ({"city": "Oslo", "nights": 1, "guests": [{}]}, "guests.0.name: is missing"),
        ({"city": "Oslo", "nights": 1, "breakfast": "eggs"}, "breakfast: expected true or false"),
        ({"city": "Oslo", "nights": 1, "price": "much"}, "price: expected a number"),
        (
            {"city": "Oslo", "nights": 1, "town": "Oslo"},
            "town: there is no such argument; "
            "there are: city, nights, kind, guests, breakfast, price",
        ),
        ({}, "city: is missing; nights: is missing"),
    ],
)
async def test_wrong_arguments_are_refused_in_words_for_the_model(
    arguments: dict[str, object], problem: str, context: ToolContext
) -> None:
    with pytest.raises(ToolError) as error:
        await tool_of(book).run(arguments, context)
    assert str(error.value) == problem


async def test_of_many_mistakes_the_first_are_told(context: ToolContext) -> None:
    with pytest.raises(ToolError, match=r"and 4 more$"):
        await tool_of(book).run({f"x{n}": n for n in range(7)}, context)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("words as they are", "words as they are"),
        (None, "done"),
        (["a", 1, None], '["a",1,null]'),
        (Guest(name="Ada"), '{"name":"Ada"}'),
        (Address("Main"), '{"street":"Main","number":1}'),
        (b"\x00", '"\\u0000"'),
        (ValueError("x"), '"x"'),
        (True, "true"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "plain", "returns an awaitable"])
async def test_results_are_worded_for_the_model(
    result: object, told: str, kind: str, context: ToolContext
) -> None:
    async def later() -> Any:
        return result

    def now() -> Any:
        return result

    def soon() -> Awaitable[Any]:
        return later()

    function: Callable[[], Any] = {"async": later, "plain": now}.get(kind, soon)
    assert await PythonTool(function).run({}, context) == told


async def test_a_plain_function_runs_in_a_thread_of_its_own(context: ToolContext) -> None:
    @tool
    def where() -> str:
        return threading.current_thread().name

    assert await tool_of(where).run({}, context) == "firsthop-tool"
    assert threading.current_thread().name != "firsthop-tool"


async def test_what_a_thread_raises_is_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Threads().run(fail)


async def test_stuck_threads_are_bounded_and_their_results_dropped() -> None:
    threads, begun, free = Threads(limit=1), threading.Event(), threading.Event()
    ended = threading.Event()

    def stuck() -> str:
        begun.set()
        free.wait()
        ended.set()
        return "too late"

    waiting = asyncio.create_task(threads.run(stuck))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    with pytest.raises(ToolError, match="too many tools are still at work"):
        await threads.run(lambda: "no room")

    free.set()
    await asyncio.to_thread(ended.wait)
    while True:
        # The thread gives its place back a moment after its function returned.
        try:
            assert await threads.run(lambda: "room again") == "room again"
            break
        except ToolError:
            await asyncio.sleep(0)


def no_annotation(x) -> None: ...  # type: ignore[no-untyped-def]
def any_number(*args: str) -> None: ...
def any_name(**kwargs: str) -> None: ...
def by_position(x: str, /) -> None: ...
def field_as_default(x: str = Field("a")) -> None: ...
def no_json(x: Callable[[], None]) -> None: ...
def not_found(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_annotation, "parameter x has no annotation; write what it takes, as x: str"),
        (any_number, "parameter args takes any number of values"),
        (any_name, "parameter kwargs takes any name"),
        (by_position, "parameter x can be given by position only"),
        (field_as_default, r"write x: Annotated\[..., Field\(...\)\] = value"),
        (no_json, "a parameter's type has no JSON form"),
        (not_found, "'Nowhere' is not defined.*not under TYPE_CHECKING only"),
        (generator, "it yields; return one value instead"),
        (async_generator, "it yields; return one value instead"),
        (lambda: None, "'<lambda>' is none; give one as @tool"),
        (partial(book, "Oslo"), "expected a function, got partial"),
        (Guest, "expected a function, got ModelMetaclass"),
        (print, "expected a function, got builtin"),
        ("book", "expected a function, got str"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_where_it_is_marked(
    function: Callable[..., Any], problem: str
) -> None:
    with pytest.raises(TypeError, match=problem):
        tool(function)


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "caf\u00e9", "a.b"])
def test_names_that_models_do_not_take_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match="models take names of 1 to 64"):
        tool(name=name)(no_words)


def no_words() -> None: ...


def test_a_wrapper_around_a_marked_function_is_refused() -> None:
    @wraps(book)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await book(*args, **kwargs)

    with pytest.raises(TypeError, match="put @tool above the other decorators"):
        marked(wrapper)


def test_schemas_are_json() -> None:
    assert json.loads(json.dumps(tool_of(book).definition()))["name"] == "book"
