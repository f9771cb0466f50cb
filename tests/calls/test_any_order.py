"""Whatever agents, clients and the line do, in any order: the contract holds, nothing is kept."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from calls.conversation import FRAME, SECOND, Conversation, EventEnd, Told, settled
from calls.test_contract import TOOLS, Pieces, message, output
from firsthop._native import Event
from firsthop.call import Call, Message, Sound, SpeechEnded, SpeechStarted
from firsthop.calls.terms import Terms
from firsthop.errors import SessionClosed
from firsthop.realtime.events import new_id

#: What can happen, besides that the line goes on.
ACTIONS = (
    "say",
    "say nothing",
    "stream",
    "feed",
    "finish",
    "fail",
    "interrupt",
    "cancel",
    "clear",
    "ask",
    "write",
    "return",
    "return and ask",
    "truncate",
    "delete",
    "push to talk",
    "speak",
    "fall silent",
    "be silent for long",
    "nonsense",
)
ANSWERS = ("say", "stream", "nothing", "invoke", "invoke and say")


@dataclass
class Utterance:
    """What the line knows of one."""

    number: int
    sound: int = 0
    complete: bool = False
    started: bool = False


class ModelLine:
    """A line that plays one utterance after the other, whenever it is told to go on."""

    paced = True

    def __init__(self) -> None:
        self.queue: deque[Utterance] = deque()
        self.reports: deque[Event] = deque()
        self.texts: list[str] = []

    def play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        queued = next((one for one in self.queue if one.number == utterance), None)
        if queued is None:
            queued = Utterance(utterance)
            self.queue.append(queued)
        queued.sound += len(sound)
        queued.complete |= complete

    def flush(self) -> None:
        for one in self.queue:
            ms = 10 if one.started else 0
            self.reports.append(Event.PlayoutEnded(1, one.number, ms, True))
        self.queue.clear()

    def send(self, text: str) -> None:
        self.texts.append(text)

    def mirror(self, utterance: int) -> None:
        raise AssertionError(utterance)

    async def renegotiate(self, offer: str) -> str:
        raise AssertionError(offer)

    def close(self) -> None:
        self.reports.append(Event.Closed(1, "hung_up"))

    def step(self) -> Event | None:
        """What happens next."""
        if self.reports:
            return self.reports.popleft()
        if self.queue and self.queue[0].sound and not self.queue[0].started:
            self.queue[0].started = True
            return Event.PlayoutStarted(1, self.queue[0].number)
        if self.queue and self.queue[0].complete:
            one = self.queue.popleft()
            return Event.PlayoutEnded(1, one.number, one.sound // 32, False)
        return None


class Scene:
    """One call and all that happens in it."""

    def __init__(self, answers: list[str]) -> None:
        self._answers = deque(answers)
        self._streams: list[Pieces] = []
        self._interrupting: set[asyncio.Task[object]] = set()
        self._asked = 0
        self.turn_item = new_id("item")
        self._line = ModelLine()
        self.conversation = Conversation(self._agent, terms=Terms(session={"tools": TOOLS}))
        self.call = self.conversation.call
        self.call.connect(self._line)
        self.conversation.connect()
        self.end = EventEnd(wants_audio=True)
        self.call.join(self.end)
        #: How much the end had been told when it asked for an answer, by event id.
        self.requests: dict[str, int] = {}

    async def _agent(self, call: Call) -> None:
        async for event in call:
            asked = isinstance(event, Message) and event.event["type"] == "response.create"
            if not asked and not isinstance(event, SpeechEnded):
                continue
            answer = self._answers.popleft() if self._answers else "say"
            if answer.startswith("invoke"):
                await call.invoke("weather", {})
            if answer.endswith("say"):
                call.say(SECOND, text="One two three.")
            if answer == "stream":
                self._stream()

    def _stream(self) -> None:
        self._streams.append(Pieces())
        self.call.say(self._streams[-1], text="One two three.")

    def client(self, kind: str, **fields: object) -> None:
        self.conversation.call.receive(self.end, json.dumps({"type": kind, **fields}))

    def ask(self) -> None:
        self._asked += 1
        event_id = f"evt {self._asked}"
        self.requests[event_id] = len(self.end.events)
        self.client("response.create", event_id=event_id)

    def items(self) -> list[str]:
        return [str(item["id"]) for item in self.call.items]

    def do(self, action: str) -> None:
        match action:
            case "step":
                if (event := self._line.step()) is not None:
                    self.call.handle(event)
            case "say" | "say nothing":
                self.call.say(FRAME if action == "say" else b"", text="Four five six.")
            case "stream":
                self._stream()
            case "feed" if self._streams:
                self._streams[-1].give(FRAME)
            case "finish" if self._streams:
                self._streams.pop(0).give(None)
            case "fail" if self._streams:
                self._streams.pop(0).give(ConnectionError("gone"))
            case "interrupt":
                task = asyncio.ensure_future(self.call.interrupt())
                self._interrupting.add(task)
            case "cancel":
                self.client("response.cancel")
            case "clear":
                self.client("output_audio_buffer.clear")
            case "ask":
                self.ask()
            case "write":
                self.client("conversation.item.create", item=message())
            case "return" | "return and ask":
                self.return_all()
                if action == "return and ask":
                    self.ask()
            case "truncate" if self.items():
                fields = {"content_index": 0, "audio_end_ms": 10}
                self.client("conversation.item.truncate", item_id=self.items()[-1], **fields)
            case "delete" if self.items():
                self.client("conversation.item.delete", item_id=self.items()[-1])
            case "push to talk":
                self.call._turns._listening._turns._keep(SECOND, None)
                self.client("input_audio_buffer.commit")
            case "speak":
                can_interrupt = self.call.speaking
                self.turn_item = new_id("item")
                turn = SpeechStarted(0)
                self.call._turns._begins(turn, self.turn_item, can_interrupt=can_interrupt)
            case "fall silent":
                detection = self.call._session.turn_detection
                self.call._turns._ends(SpeechEnded(10, FRAME, self.turn_item), detection)
                self.turn_item = new_id("item")
            case "be silent for long":
                self.call._turns._missed(5000)
            case "nonsense":
                self.call.receive(self.end, "nonsense")

    def return_all(self) -> None:
        """Return something from every tool that was called."""
        returned = {
            event["item"]["call_id"]
            for event in self.end.all("conversation.item.added")
            if event["item"]["type"] == "function_call_output"
        }
        for event in self.end.all("response.output_item.done"):
            item = event["item"]
            if item["type"] == "function_call" and item["call_id"] not in returned:
                self.client("conversation.item.create", item=output(item["call_id"]))

    async def drain(self) -> None:
        """Let everything come to its end."""
        for _ in range(60):
            while self._streams:
                self._streams.pop().give(None)
            self.return_all()
            await settled()
            while (event := self._line.step()) is not None:
                self.call.handle(event)
        await asyncio.gather(*self._interrupting, return_exceptions=True)

    async def finish(self) -> None:
        self.call.handle(Event.Closed(1, "client_closed"))
        await self.conversation.over.wait()


def check_responses(events: list[Told]) -> None:
    """One at a time, each done once, and what is told of the playout of it in order."""
    under_way: str | None = None
    done: set[str] = set()
    known: set[str] = set()
    playing: dict[str, list[str]] = {}
    for event in events:
        kind = event["type"]
        if kind == "response.created":
            assert under_way is None, "two responses are under way"
            under_way = event["response"]["id"]
            assert under_way not in known
            known.add(under_way)
        elif kind == "response.done":
            assert event["response"]["id"] == under_way
            done.add(event["response"]["id"])
            under_way = None
        elif kind.startswith("output_audio_buffer."):
            assert event["response_id"] in known
            playing.setdefault(event["response_id"], []).append(kind.rpartition(".")[2])
            if kind.endswith("stopped"):
                assert event["response_id"] in done
        elif kind.startswith("response."):
            assert event["response_id"] == under_way
    assert under_way is None, "a response was never done"
    for told in playing.values():
        assert told in (["started", "stopped"], ["started", "cleared"]), told


def check_items(events: list[Told]) -> None:
    """What is said of an item is said while it is there."""
    there: set[str] = set()
    for event in events:
        match event["type"]:
            case "conversation.item.added":
                assert event["previous_item_id"] is None or event["previous_item_id"] in there
                assert event["item"]["id"] not in there
                there.add(event["item"]["id"])
            case "conversation.item.done" | "response.output_item.done":
                assert event["item"]["id"] in there
            case "conversation.item.truncated":
                assert event["item_id"] in there
            case "conversation.item.deleted":
                there.remove(event["item_id"])


def check_requests(events: list[Told], requests: dict[str, int]) -> None:
    """Nobody who asks is left waiting: clients hold back all else until they are answered."""
    for event_id, at in requests.items():
        assert any(
            event["type"] in ("response.created", "response.done")
            or (event["type"] == "error" and event["error"]["event_id"] == event_id)
            for event in events[at:]
        ), f"{event_id} was not answered"


def check_that_nothing_is_kept(scene: Scene) -> None:
    call = scene.call
    conversation = call._conversation
    assert conversation is not None
    tables: list[object] = [
        call._voicing._encoders,
        call._playbacks,
        call._output._places,
        call._output._responses,
        conversation._order,
        conversation.speeches._speeches,
        conversation._tools,
        conversation._requests._owed,
        conversation._requests._due,
    ]
    assert not any(tables), tables


async def play(actions: list[str], answers: list[str], *, settle: bool) -> Scene:
    scene = Scene(answers)
    await settled()
    for action in actions:
        scene.do(action)
        if settle:
            await settled()
            conversation = scene.call._conversation
            assert conversation is not None
            if not conversation.invoking and not conversation._order:
                check_requests(scene.end.events, scene.requests)
        else:
            await asyncio.sleep(0)
    await scene.drain()
    events = scene.end.events
    check_responses(events)
    check_items(events)
    check_requests(events, scene.requests)
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    check_that_nothing_is_kept(scene)
    await scene.finish()
    return scene


SOME_ACTIONS = st.lists(st.sampled_from(ACTIONS) | st.just("step"), max_size=40)


@settings(max_examples=150)
@given(SOME_ACTIONS, st.lists(st.sampled_from(ANSWERS), max_size=10), st.booleans())
def test_the_contract_holds_in_any_order(
    actions: list[str], answers: list[str], settle: bool
) -> None:
    asyncio.run(play(actions, answers, settle=settle))


@given(SOME_ACTIONS, st.lists(st.sampled_from(ANSWERS), max_size=10))
def test_a_call_may_end_at_any_time(actions: list[str], answers: list[str]) -> None:
    async def scenario() -> None:
        scene = Scene(answers)
        await settled()
        for action in actions:
            scene.do(action)
            await asyncio.sleep(0)
        told = len(scene.end.events)
        await scene.finish()
        assert scene.end.closed
        assert len(scene.end.events) == told
        assert not scene.call.speaking
        try:
            scene.call.say(FRAME)
        except SessionClosed:
            return
        raise AssertionError("it may speak after the end")

    asyncio.run(scenario())


async def test_five_hundred_turns_with_interruptions_leave_nothing_behind() -> None:
    turn = ["speak", "fall silent", "ask", "stream", "feed", "say", "step", "step", "speak", "step"]
    scene = await play(turn * 500, ["say", "stream"] * 1000, settle=False)
    conversation = scene.call._conversation
    assert conversation is not None
    assert len(conversation._order._spoken) <= 20
    assert len(scene.call.items) <= 1000
    assert len(scene.call._waiting) <= 500
