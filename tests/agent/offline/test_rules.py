"""The offline model: what it says, and which tool it uses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.offline.model import RuleModel
from firsthop.agent.offline.rules import ABILITIES, GREETING, HOW_LONG, answer
from firsthop.agent.stages import Prompt, Text, ToolRequest
from firsthop.agent.tools.builtin import calculate, cancel_timer, current_time, set_timer
from firsthop.agent.tools.function import marked

BUILT_IN = [
    tool.definition()
    for function in (current_time, set_timer, cancel_timer, calculate)
    if (tool := marked(function)) is not None
]
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "required": ["city"]},
}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def agent(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def said(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = BUILT_IN) -> str:
    """What it says."""
    [thought] = answer(messages, tools)
    assert isinstance(thought, Text)
    return thought.text


def used(text: str, *before: Mapping[str, Any], tools: Sequence[Any] = BUILT_IN) -> tuple[str, Any]:
    """The tool that it uses, and its arguments."""
    [thought] = answer([*before, user(text)], tools)
    assert isinstance(thought, ToolRequest), thought
    return thought.name, json.loads(thought.arguments)


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("What time is it?", "current_time", {}),
        ("what dime is it", "current_time", {}),
        ("what is the time in new york please", "current_time", {"timezone": "New York"}),
        ("can you tell me the date", "current_time", {}),
        ("is it monday", "current_time", {}),
        ("what is twelve times twelve", "calculate", {"expression": "12 * 12"}),
        ("set a timer for five minutes", "set_timer", {"seconds": 300}),
        ("set a time or for five minutes", "set_timer", {"seconds": 300}),
        ("wake me up in half an hour", "set_timer", {"seconds": 1800}),
        (
            "set a timer called pasta for nine minutes",
            "set_timer",
            {"seconds": 540, "label": "pasta"},
        ),
        ("start a tea timer for 3 minutes", "set_timer", {"seconds": 180, "label": "tea"}),
        ("cancel the timer", "cancel_timer", {}),
        ("stop the pasta timer", "cancel_timer", {"label": "pasta"}),
    ],
)
def test_tools_are_used_where_they_fit(text: str, tool: str, arguments: object) -> None:
    assert used(text) == (tool, arguments)


def test_a_timer_without_a_length_is_asked_about() -> None:
    assert said([user("set a timer")]) == HOW_LONG
    before = user("set a timer"), agent(HOW_LONG)
    assert used("five minutes", *before) == ("set_timer", {"seconds": 300})
    assert said([*before, user("never mind")]) == "All right."


@pytest.mark.parametrize(
    ("tool", "output", "words"),
    [
        ("current_time", "14:05 on Monday, 2 March 2026", "It is 14:05 on Monday, 2 March 2026."),
        ("calculate", "144", "That makes 144."),
        (
            "set_timer",
            "a timer is set; it rings in 5 minutes",
            "A timer is set; it rings in 5 minutes.",
        ),
        ("cancel_timer", "The tool failed: no timer is set", "That did not work: no timer is set."),
        ("get_weather", "", "Done."),
    ],
)
def test_what_a_tool_says_is_put_into_words(tool: str, output: str, words: str) -> None:
    function = {"name": tool, "arguments": "{}"}
    call = {"id": "c1", "type": "function", "function": function}
    messages = [
        user("please"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": output},
    ]
    assert said(messages) == words


def test_what_it_has_no_tool_for_it_says() -> None:
    assert said([user("what time is it")], tools=()) == (
        "I have no tool for that here: it would be current time."
    )


def test_tools_of_the_client_are_used_by_their_names() -> None:
    tools = [*BUILT_IN, WEATHER]
    assert used("what is the weather in oslo", tools=tools) == ("get_weather", {"city": "Oslo"})
    plain = {"type": "function", "name": "lights_off"}
    assert used("turn the lights off", tools=[plain]) == ("lights_off", {})


def test_it_remembers_a_name_for_the_call() -> None:
    assert said([user("my name is anna")]) == "Nice to meet you, Anna."
    before = [user("my name is anna"), agent("Nice to meet you, Anna.")]
    assert said([*before, user("do you know my name")]) == "Your name is Anna."
    assert said([user("what is my name")]) == "You have not told me yet."


def test_it_says_again_what_it_said() -> None:
    assert said([user("hello"), agent("Good day."), user("say that again")]) == "Good day."


def test_what_it_does_not_understand_it_quotes_and_says_what_it_is() -> None:
    words = said([user("I have lost my keys.")])
    assert words.startswith("I heard: I have lost my keys. I am only a few rules")


def test_who_says_nothing_is_asked() -> None:
    hint = {"role": "system", "content": "Ask briefly whether they are still there."}
    assert said([user("hello"), agent("Hello."), hint]) == "Are you still there?"


async def test_it_is_a_model_like_others() -> None:
    model = RuleModel()
    assert model.greeting == GREETING
    async with model.think(Prompt(messages=[user("what can you do")])) as thoughts:
        assert [thought async for thought in thoughts] == [Text(ABILITIES)]
    prompt = Prompt(messages=[user("what time is it")], tools=BUILT_IN, tool_choice="none")
    async with model.think(prompt) as thoughts:
        [thought] = [thought async for thought in thoughts]
    assert isinstance(thought, Text), "tools were forbidden"


@given(st.text(max_size=300))
def test_there_is_an_answer_to_everything(text: str) -> None:
    [thought] = answer([user(text)], [*BUILT_IN, WEATHER])
    assert isinstance(thought, Text | ToolRequest)
