"""The making of one answer: the model thinks, tools are used, and what it says is said.

Each stage streams into the next. All of it is one task, which is cancelled when the caller
interrupts; then every stage lets go of what it has open.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from firsthop.agent.history import Message, call_of_tool, messages
from firsthop.agent.mouth import Mouth
from firsthop.agent.stages import (
    Cut,
    Model,
    Prompt,
    StageError,
    Synthesiser,
    Text,
    ToolRequest,
    Usage,
)
from firsthop.agent.times import TurnTimes
from firsthop.agent.tools.base import ToolContext, ToolError
from firsthop.agent.tools.toolbox import Toolbox
from firsthop.call import Playback, Reply
from firsthop.errors import BackendError

#: How often one answer may go back to the model with what tools said.
_MAX_ROUNDS: Final = 8
#: Tools that a model may ask for at once.
_MAX_REQUESTS: Final = 16
#: The longest text that is said in one go, in characters: four minutes.
_MAX_TEXT: Final = 4000


class Answer:
    """One answer.

    Args:
        reply: Where it is said.
        model: Thinks.
        synthesiser: Speaks.
        toolbox: The agent's own tools.
        context: What they are given.
        instructions: What the model is told where the session has no instructions.
        tool_timeout: How long the client's tools may take, in seconds.
        times: Takes note of when things happen.
    """

    def __init__(
        self,
        reply: Reply,
        model: Model,
        synthesiser: Synthesiser,
        toolbox: Toolbox,
        context: ToolContext,
        *,
        instructions: str,
        tool_timeout: float,
        times: TurnTimes,
    ) -> None:
        self._reply = reply
        self._model = model
        self._synthesiser = synthesiser
        self._toolbox = toolbox
        self._context = context
        self._instructions = instructions
        self._tool_timeout = tool_timeout
        self._times = times

    async def make(self, hint: str | None = None) -> None:
        """Make it, to its last sound; it may be heard for long after.

        Args:
            hint: Something that the model is told besides the conversation.

        Raises:
            StageError: It could not be made; what was said before stands.
        """
        told = messages(
            self._reply.items, self._reply.session["instructions"] or self._instructions
        )
        if hint is not None:
            told.append({"role": "system", "content": hint})
        for number in range(_MAX_ROUNDS):
            requests, text = await self._think(self._prompt(told, number))
            if text:
                told.append({"role": "assistant", "content": text})
            if not requests:
                return
            told += await self._use(requests)

    async def say(self, text: str) -> None:
        """Say something that needs no thought."""
        mouth = self._mouth()
        mouth.add(text)
        mouth.finish()
        await self._reply.say(mouth.speech()).made()
        self._check(mouth)

    def _prompt(self, told: Sequence[Message], number: int) -> Prompt:
        """What the model is asked the first time, and again after tools were used."""
        session = self._reply.session
        most = session["max_output_tokens"]
        tools = number < _MAX_ROUNDS - 1
        choice = session["tool_choice"] if tools else "none"
        if number and choice != "none":
            # What had to be called was called.
            choice = "auto"
        return Prompt(
            messages=list(told),
            tools=self._definitions() if tools else (),
            tool_choice=choice,
            max_output_tokens=most if isinstance(most, int) else None,
        )

    def _definitions(self) -> list[Mapping[str, Any]]:
        """The client's tools, then ours; where names are the same, the client's."""
        theirs = [tool for tool in self._reply.session["tools"] if tool.get("type") == "function"]
        taken = {tool.get("name") for tool in theirs}
        return [
            *theirs,
            *(tool for tool in self._toolbox.definitions() if tool["name"] not in taken),
        ]

    def _mouth(self) -> Mouth:
        voice = self._reply.session["audio"]["output"].get("voice")
        return Mouth(
            self._synthesiser,
            voice if isinstance(voice, str) and voice != "default" else None,
            heard=self._reply.speaks,
            sounded=lambda: self._times.reach("audio"),
        )

    async def _think(self, prompt: Prompt) -> tuple[list[ToolRequest], str]:
        """Let the model answer, and say what it says as it comes.

        Returns:
            The tools that it wants, and what it said.
        """
        mouth = self._mouth()
        playback: Playback | None = None
        requests: list[ToolRequest] = []
        said: list[str] = []
        length = 0
        try:
            async with self._model.think(prompt) as thoughts:
                async for thought in thoughts:
                    match thought:
                        case Text(text=text) if text:
                            self._times.reach("token")
                            if playback is None:
                                playback = self._reply.say(mouth.speech())
                            mouth.add(text)
                            said.append(text)
                            length += len(text)
                        case ToolRequest():
                            requests.append(thought)
                        case Usage():
                            self._reply.count(thought)
                        case Cut(reason=reason):
                            self._reply.cut(reason)
                    if length > _MAX_TEXT or len(requests) > _MAX_REQUESTS:
                        self._reply.cut("max_output_tokens")
                        break
        except StageError:
            # What it had said by then is said to its end.
            mouth.finish()
            if playback is not None:
                await playback.made()
            raise
        mouth.finish()
        # Before tools are used: what is said of them comes first for the client, too.
        if playback is not None:
            await playback.made()
        self._check(mouth)
        return requests[:_MAX_REQUESTS], "".join(said)

    def _check(self, mouth: Mouth) -> None:
        if mouth.failure is not None:
            raise mouth.failure

    # Tools.

    async def _use(self, requests: Sequence[ToolRequest]) -> list[Message]:
        """Use tools; return what the model is told of it."""
        names = {tool.get("name") for tool in self._reply.session["tools"]}
        theirs = [request for request in requests if request.name in names]
        ours = [request for request in requests if request.name not in names]
        results = await asyncio.gather(*(self._run(request) for request in ours))
        outputs = {request.call_id: result for request, result in zip(ours, results, strict=True)}
        # The client answers once the response is done, so its tools come last.
        outputs |= await self._invoke(theirs)
        return [
            message
            for request in requests
            for message in call_of_tool(
                request.call_id, request.name, request.arguments, outputs[request.call_id]
            )
        ]

    async def _run(self, request: ToolRequest) -> str:
        """Use a tool of ours."""
        server = self._toolbox.owner(request.name) or "none"
        run = self._reply.use(server, request.name, request.arguments)
        try:
            output = await self._toolbox.run(request.name, request.arguments, self._context)
        except ToolError as error:
            run.failed(str(error))
            return f"The tool failed: {error}"
        run.done(output)
        return output

    async def _invoke(self, requests: Sequence[ToolRequest]) -> dict[str, str]:
        """Let the client use tools of its own."""
        outputs: dict[str, str] = {}
        good: list[tuple[str, str, Mapping[str, Any]]] = []
        for request in requests:
            try:
                arguments = json.loads(request.arguments or "{}")
                if not isinstance(arguments, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                outputs[request.call_id] = "The arguments are not a JSON object; call it again."
            else:
                good.append((request.call_id, request.name, arguments))
        if not good:
            return outputs
        try:
            async with asyncio.timeout(self._tool_timeout):
                answers = await self._reply.invoke([(name, given) for _, name, given in good])
        except TimeoutError:
            answers = [f"No answer within {self._tool_timeout:g} s."] * len(good)
        except BackendError as error:
            answers = [f"The tool failed: {error}"] * len(good)
        return outputs | {
            call_id: answer for (call_id, _, _), answer in zip(good, answers, strict=True)
        }
