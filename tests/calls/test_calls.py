"""All calls of a transceiver, on an engine without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from calls.conversation import EventEnd, OwnBackend, idle, settled
from calls.fake_engine import FakeEngine
from firsthop._native import Event
from firsthop.backends.function import FunctionBackend
from firsthop.call import Call
from firsthop.calls.callid import CallIds
from firsthop.calls.calls import Calls
from firsthop.calls.terms import Terms
from firsthop.config import Settings, TransceiverSettings
from firsthop.errors import DrainingError, OverloadedError, SignalingError, UnknownCallError
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver import engine as module
from firsthop.transceiver.engine import EngineLoop

SETTINGS = Settings(keys={0: "ab" * 32})


class Exchange:
    """Calls, and the engine below them."""

    def __init__(self) -> None:
        self.loop = EngineLoop(SETTINGS)
        self.loop.start()
        self.engine = cast(FakeEngine, self.loop.engine)
        self.metrics = Metrics()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        ids = CallIds.of(SETTINGS)
        self.calls = Calls(SETTINGS, FunctionBackend(self._agent), self.metrics, ids, self.loop)

    async def _agent(self, call: Call) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
async def exchange(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Exchange]:
    monkeypatch.setattr(module, "Engine", FakeEngine)
    exchange = Exchange()
    yield exchange
    exchange.loop.stop()


async def test_an_offer_opens_a_call_with_an_id_that_cannot_be_guessed(exchange: Exchange) -> None:
    one, answer = exchange.calls.open("offer")
    other, _ = exchange.calls.open("offer")
    assert answer == "answer to offer"
    assert one.startswith("rtc_")
    assert one != other
    assert all(exchange.calls.owns(call_id) for call_id in (one, other))
    assert not exchange.calls.owns("rtc_other")
    assert len(exchange.calls) == 2


async def test_a_refusal_is_counted_and_opens_no_call(exchange: Exchange) -> None:
    exchange.engine.refusal = OverloadedError("full")
    with pytest.raises(OverloadedError):
        exchange.calls.open("offer")
    assert len(exchange.calls) == 0
    counted = b'firsthop_signaling_offers_refused_total{code="overloaded"} 1.0'
    assert counted in exchange.metrics.render()


async def test_hanging_up_ends_a_call_and_then_it_is_unknown(exchange: Exchange) -> None:
    call_id, _ = exchange.calls.open("offer")
    exchange.calls.hang_up(call_id)
    assert exchange.engine.notes == [("close", 1)]
    exchange.engine.report(Event.Closed(1, "hung_up"))
    await exchange.calls._none.wait()
    with pytest.raises(UnknownCallError) as error:
        exchange.calls.hang_up(call_id)
    assert error.value.status == 404
    assert len(exchange.calls) == 0


async def test_a_call_whose_agent_lingers_is_unknown_to_clients(exchange: Exchange) -> None:
    call_id, _ = exchange.calls.open("offer")
    exchange.engine.report(Event.Connected(1))
    await exchange.started.wait()
    exchange.calls._calls[call_id].handle(Event.Closed(1, "client_closed"))
    with pytest.raises(UnknownCallError):
        exchange.calls.hang_up(call_id)


async def test_closing_cancels_agents_and_waits_until_the_engine_has_let_go(
    exchange: Exchange,
) -> None:
    exchange.calls.open("offer")
    exchange.calls.open("offer")
    exchange.engine.report(Event.Connected(1))
    await exchange.started.wait()
    closing = asyncio.create_task(exchange.calls.close())
    await exchange.cancelled.wait()
    assert exchange.engine.notes == [("close", 1), ("close", 2)]
    assert not closing.done()
    exchange.engine.report(Event.Closed(1, "hung_up"), Event.Closed(2, "hung_up"))
    await closing
    assert len(exchange.calls) == 0
    ended = b'firsthop_transceiver_calls_ended_total{reason="hung_up"} 2.0'
    assert ended in exchange.metrics.render()


async def test_calls_that_the_engine_never_let_go_of_end_with_it(exchange: Exchange) -> None:
    call_id, _ = exchange.calls.open("offer")
    call = exchange.calls._calls[call_id]
    exchange.loop.stop()
    assert call.ended == "hung_up"
    await exchange.calls.close()
    assert len(exchange.calls) == 0


async def test_calls_that_drain_take_no_new_ones_and_are_over_when_the_last_one_is(
    exchange: Exchange,
) -> None:
    call_id, _ = exchange.calls.open("offer")
    exchange.calls.drain()
    assert exchange.calls.draining
    with pytest.raises(DrainingError) as error:
        exchange.calls.open("offer")
    assert (error.value.status, error.value.code) == (503, "draining")
    with pytest.raises(DrainingError):
        exchange.calls.open_socket(EventEnd())
    counted = b'firsthop_signaling_offers_refused_total{code="draining"} 1.0'
    assert counted in exchange.metrics.render()

    over = asyncio.create_task(exchange.calls.over())
    answer = asyncio.create_task(exchange.calls.renegotiate(call_id, "offer again"))
    await exchange.engine.until("renegotiate", 1, "offer again")
    assert not over.done()
    answer.cancel()
    exchange.engine.report(Event.Closed(1, "client_closed"))
    await over


async def test_there_is_no_room_beyond_the_calls_that_settings_allow(exchange: Exchange) -> None:
    transceiver = TransceiverSettings(max_sessions=1)
    settings = SETTINGS.model_copy(update={"transceiver": transceiver})
    ids = CallIds.of(settings)
    calls = Calls(settings, OwnBackend(idle), exchange.metrics, ids, exchange.loop)
    assert not calls.full
    call_id, _ = calls.open("offer")
    assert calls.full
    with pytest.raises(OverloadedError) as error:
        calls.open("offer")
    assert error.value.code == "overloaded"
    assert len(exchange.engine.accepted) == 1, "the engine was not asked"
    # The place is free once the line is, however long the agent stays.
    calls._calls[call_id].handle(Event.Closed(1, "client_closed"))
    calls.open("offer")
    await calls.close()


async def test_the_rate_that_a_backend_wants_is_the_calls(exchange: Exchange) -> None:
    backend = OwnBackend(idle, sample_rate=24_000)
    ids = CallIds.of(SETTINGS)
    calls = Calls(SETTINGS, backend, exchange.metrics, ids, exchange.loop)
    call_id, _ = calls.open("offer")
    assert calls._calls[call_id].sample_rate == 24_000
    assert exchange.engine.accepted[-1]["sample_rate"] == 24_000


WRONG = Terms(session={"audio": {"input": {"turn_detection": {"threshold": 7}}}})


async def test_a_session_that_makes_no_sense_is_refused_before_there_is_a_call(
    exchange: Exchange,
) -> None:
    for place in (
        lambda: exchange.calls.open("offer", WRONG),
        lambda: exchange.calls.open_socket(EventEnd(), WRONG),
    ):
        with pytest.raises(SignalingError) as error:
            place()
        assert (error.value.status, error.value.code) == (400, "invalid_value")
        assert error.value.param == "session.audio.input.turn_detection.threshold"
    assert len(exchange.calls) == 0
    assert exchange.engine.accepted == []


async def test_a_socket_may_be_the_whole_call(exchange: Exchange) -> None:
    end = EventEnd(wants_audio=True)
    call_id = exchange.calls.open_socket(end, Terms(session={"instructions": "Be brief."}))
    assert end.types == ["session.created"]
    assert end.events[0]["session"]["instructions"] == "Be brief."
    await exchange.started.wait()
    exchange.calls.receive(call_id, end, '{"type": "session.update", "session": {}}')
    assert end.types[-1] == "session.updated"
    exchange.calls.detach(call_id, end)
    await settled()
    assert not exchange.calls.owns(call_id)
    exchange.calls.receive(call_id, end, '{"type": "session.update", "session": {}}')
    assert end.types[-1] == "session.updated", "nothing is said to who has left"
    assert exchange.engine.accepted == [], "there is no WebRTC in it"


async def test_there_is_no_room_for_more_sockets_than_sessions(exchange: Exchange) -> None:
    few = Settings(keys=SETTINGS.keys, transceiver=TransceiverSettings(max_sessions=1))
    backend = FunctionBackend(idle)
    calls = Calls(few, backend, exchange.metrics, CallIds.of(few), exchange.loop)
    calls.open_socket(EventEnd())
    with pytest.raises(OverloadedError):
        calls.open_socket(EventEnd())
    await calls.close()


async def test_an_end_joins_and_leaves_without_harm_to_the_call(exchange: Exchange) -> None:
    call_id, _ = exchange.calls.open("offer")
    end = EventEnd()
    with pytest.raises(UnknownCallError):
        exchange.calls.attach("rtc_other", end)
    exchange.calls.attach(call_id, end)
    assert end.types == ["session.created"]
    exchange.calls.detach(call_id, end)
    assert exchange.calls.owns(call_id)
    exchange.calls.detach("rtc_other", end)
    exchange.calls.receive("rtc_other", end, "nonsense")
    assert end.types == ["session.created"]


async def test_all_ends_learn_that_the_call_is_over(exchange: Exchange) -> None:
    end = EventEnd()
    call_id, _ = exchange.calls.open("offer")
    exchange.calls.attach(call_id, end)
    exchange.calls._calls[call_id].handle(Event.Closed(1, "client_closed"))
    assert end.closed


async def test_closing_without_calls_is_over_at_once(exchange: Exchange) -> None:
    await exchange.calls.close()
