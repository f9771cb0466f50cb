"""The voice agent: hears a turn, thinks, uses tools, speaks.

It is a `Backend` like others: it knows calls, and neither WebRTC nor WebSockets. What a call is
told of its work is `Call`'s matter; how a stage does its work is the stage's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from firsthop.agent.answer import Answer
from firsthop.agent.apologies import Apologies
from firsthop.agent.ears import Ears
from firsthop.agent.stages import RATE, Model, StageError, Synthesiser, Transcriber
from firsthop.agent.times import TurnTimes
from firsthop.agent.tools.base import ToolContext
from firsthop.agent.tools.toolbox import Toolbox
from firsthop.backends.base import Backend, Traits
from firsthop.call import (
    AudioFrame,
    Call,
    CallerIdle,
    CallEvent,
    Message,
    Reply,
    SpeechEnded,
    SpeechStarted,
)
from firsthop.config import AgentSettings
from firsthop.errors import SessionClosed
from firsthop.tasks import cancel
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: What a model is told when the caller says nothing.
_IDLE: Final = "The caller has said nothing for a while. Ask briefly whether they are still there."
#: So long at most does an announcement wait for a caller who speaks.
_LONGEST_TURN_SECONDS: Final = 20.0
#: How often an announcement is begun again when the caller interrupts it.
_MAX_ANNOUNCEMENTS: Final = 3


class VoiceAgent(Backend):
    """Answers calls with three stages and tools.

    Args:
        settings: What it says by itself, and its limits.
        transcriber: Hears.
        model: Thinks.
        synthesiser: Speaks.
        toolbox: What the model may use.
        metrics: What turns count into.
        watch: Told of every turn that was answered.
    """

    traits = Traits(sample_rate=RATE)

    def __init__(
        self,
        settings: AgentSettings,
        transcriber: Transcriber,
        model: Model,
        synthesiser: Synthesiser,
        toolbox: Toolbox,
        metrics: Metrics,
        watch: Callable[[TurnTimes], None] | None = None,
    ) -> None:
        self.settings = settings
        self.transcriber = transcriber
        self.model = model
        self.synthesiser = synthesiser
        self.toolbox = toolbox
        self.metrics = metrics
        self.apologies = Apologies(synthesiser)
        self.watch = watch

    @property
    def greeting(self) -> str:
        """What is said when a call begins that goes on with no other; empty if nothing is."""
        given = self.settings.greeting
        return given if given is not None else self.model.greeting or ""

    async def prepare(self) -> None:
        """Let the stages and the tools get ready, all at the same time."""
        parts = (self.transcriber, self.model, self.synthesiser, self.toolbox)
        work = [asyncio.create_task(part.prepare()) for part in parts]
        try:
            await asyncio.gather(*work)
        finally:
            # Where one cannot, the others are not needed.
            await cancel(*work)
        self.apologies.prepare()

    async def close(self) -> None:
        """Let go of connections and processes."""
        await self.apologies.close()
        await asyncio.gather(
            self.transcriber.close(),
            self.model.close(),
            self.synthesiser.close(),
            self.toolbox.close(),
        )

    async def serve(self, call: Call) -> None:
        """Answer one caller until the call ends."""
        await _Conversation(self, call).run()


class _Conversation:
    """The agent with one caller."""

    def __init__(self, agent: VoiceAgent, call: Call) -> None:
        self._agent = agent
        self._call = call
        self._ears = Ears(call, agent.transcriber, agent.settings.transcription.language)
        self._context = ToolContext(call, self._announce)
        #: Set while the caller is not speaking.
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def run(self) -> None:
        try:
            if (greeting := self._agent.greeting) and not self._call.continued:
                self._call.reply(partial(self._say, greeting))
            async for event in self._call:
                self._told(event)
        finally:
            await self._ears.close()
            await self._context.close()

    def _told(self, event: CallEvent) -> None:
        match event:
            case AudioFrame(pcm=pcm):
                self._ears.hear(pcm)
            case SpeechStarted():
                self._quiet.clear()
                self._ears.begin()
            case SpeechEnded(item_id=item_id):
                self._quiet.set()
                times = TurnTimes(item_id)
                transcript = self._ears.end(event, times)
                self._call.reply(partial(self._answer_turn, transcript, times), to=event)
            case CallerIdle():
                self._call.reply(partial(self._answer, TurnTimes(), _IDLE), to=event)
            case Message(event={"type": "response.create"}):
                self._call.reply(partial(self._answer, TurnTimes(), None), to=event)
            case Message(event={"type": "input_audio_buffer.clear"}):
                self._ears.forget()

    async def _answer_turn(
        self, transcript: asyncio.Task[str | None], times: TurnTimes, reply: Reply
    ) -> None:
        await self._ears.settled()
        if transcript.cancelled():
            return
        text = transcript.result()
        if text is None:
            await self._agent.apologies.say("hearing", reply)
        elif text:
            await self._answer(times, None, reply)

    async def _answer(self, times: TurnTimes, hint: str | None, reply: Reply) -> None:
        await self._ears.settled()
        try:
            await self._making(times, reply).make(hint)
        except StageError as error:
            reply.fail(error.code, str(error))
            await self._agent.apologies.say("answer", reply)
        finally:
            self._finish(times)

    async def _say(self, text: str, reply: Reply) -> None:
        try:
            await self._making(TurnTimes(), reply).say(text)
        except StageError as error:
            reply.fail(error.code, str(error))

    def _making(self, times: TurnTimes, reply: Reply) -> Answer:
        agent = self._agent
        return Answer(
            reply,
            agent.model,
            agent.synthesiser,
            agent.toolbox,
            self._context,
            instructions=agent.settings.instructions,
            tool_timeout=agent.settings.tool_timeout_seconds,
            times=times,
        )

    def _finish(self, times: TurnTimes) -> None:
        for stage, at in times.reached.items():
            self._agent.metrics.agent_stage_seconds.labels(stage).observe(at - times.decided)
        log.info("turn.answered", call=self._call.id, **times.ms())
        if self._agent.watch is not None:
            self._agent.watch(times)

    def _announce(self, text: str) -> None:
        """Say something of one's own accord, when nobody speaks."""
        self._context.spawn(self._insist(text))

    async def _insist(self, text: str) -> None:
        for _ in range(_MAX_ANNOUNCEMENTS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_TURN_SECONDS):
                    await self._quiet.wait()
            try:
                reply = self._call.reply(partial(self._say, text))
            except SessionClosed:
                return
            await reply
            if not reply.cancelled:
                return
