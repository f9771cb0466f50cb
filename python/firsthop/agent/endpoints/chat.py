"""A model behind ``/chat/completions``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from firsthop.agent.endpoints.completion import Completion
from firsthop.agent.endpoints.endpoint import Answer, Endpoint, as_json
from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.stages import Model, Prompt, Thought
from firsthop.config import ChatSettings

_PATH: Final = "/chat/completions"
#: So long what a finished answer took, or the end of the body, may keep its last words waiting.
_FAREWELL_SECONDS: Final = 0.5
#: What is passed on of a tool.
_FUNCTION: Final = ("name", "description", "parameters", "strict")


class EndpointModel(Model):
    """Asks an OpenAI-compatible endpoint.

    Args:
        settings: Where it is and what it is asked for.

    Raises:
        ConfigError: It has no URL.
    """

    def __init__(self, settings: ChatSettings) -> None:
        self._endpoint = Endpoint("chat", settings)
        self._settings = settings
        # Some servers refuse to be asked what an answer took; they may tell it all the same.
        self._asks_usage = True

    async def prepare(self) -> None:
        """Open a connection, if there is somebody to answer."""
        await self._endpoint.prepare()

    async def close(self) -> None:
        """Close all connections."""
        await self._endpoint.close()

    @asynccontextmanager
    async def think(self, prompt: Prompt) -> AsyncGenerator[AsyncIterator[Thought]]:
        """Answer; see `Model.think`."""
        body = self._body(prompt)
        bodies = [body]
        if self._asks_usage:
            bodies.insert(0, {"stream_options": {"include_usage": True}} | body)
        requests = (as_json(each) for each in bodies)
        async with self._endpoint.post(_PATH, *requests) as answer:
            if answer.taken:
                self._asks_usage = False
            async with aclosing(self._thoughts(answer)) as thoughts:
                yield thoughts

    async def _thoughts(self, answer: Answer) -> AsyncGenerator[Thought]:
        completion = Completion()
        with self._endpoint.sense():
            if answer.content_type == "text/html":
                raise GarbageError("answered with a page: check agent.chat.url")
            events = 0
            async with aclosing(answer.parts()) as parts:
                async for part in parts:
                    for thought in completion.feed(part):
                        yield thought
                    if completion.over:
                        answer.spare()
                        return
                    if completion.finished:
                        answer.conclude(_FAREWELL_SECONDS)
                    elif completion.events > events:
                        # Comments show that a server is alive; but what its user hears is silence.
                        events = completion.events
                        answer.advanced()
            for thought in completion.finish():
                yield thought
            if not completion.finished:
                raise self._endpoint.cut_off()

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": list(prompt.messages),
            "stream": True,
        }
        tools = [_nested(tool, _FUNCTION) for tool in prompt.tools if _is_function(tool)]
        if tools:
            body["tools"] = tools
            body["tool_choice"] = (
                prompt.tool_choice
                if isinstance(prompt.tool_choice, str)
                else _nested(prompt.tool_choice, ("name",))
            )
        if prompt.max_output_tokens is not None:
            body[self._limit] = prompt.max_output_tokens
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        return body | dict(prompt.extra)

    @property
    def _limit(self) -> str:
        """What a limit of the answer is called: the new name where the old one is refused."""
        new = self._endpoint.host.endswith((".openai.com", ".azure.com"))
        return "max_completion_tokens" if new else "max_tokens"


def _is_function(tool: Mapping[str, Any]) -> bool:
    return bool(tool.get("type", "function") == "function")


def _nested(tool: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A tool, or the choice of one, as chat has it; the Realtime API has it flat."""
    function = tool.get("function")
    fields = function if isinstance(function, Mapping) else tool
    return {
        "type": "function",
        "function": {name: fields[name] for name in names if name in fields},
    }
