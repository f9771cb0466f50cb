"""The data channel as an end of a call's event channel."""

from __future__ import annotations

import pytest

from calls.conversation import until
from firsthop.backends.base import Traits
from firsthop.calls import ends as module
from firsthop.calls.ends import DataChannel
from firsthop.errors import OverloadedError


def test_events_wait_for_the_channel_in_their_order_and_a_bounded_number() -> None:
    sent: list[str] = []
    channel = DataChannel(sent.append, Traits())
    for number in range(1000):
        channel.deliver(str(number))
    assert sent == []
    channel.opened("hello")
    channel.deliver("now")
    assert sent == ["hello", *(str(n) for n in range(module._MAX_WAITING)), "now"]
    channel.opened("hello again")
    assert sent[-1] == "now", "the first channel is the one"
    channel.close()


async def test_what_a_line_does_not_take_is_sent_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    sent: list[str] = []
    refusals = 2

    def send(text: str) -> None:
        nonlocal refusals
        if text == "two" and refusals:
            refusals -= 1
            raise OverloadedError("a test")
        sent.append(text)

    channel = DataChannel(send, Traits())
    channel.opened("hello")
    for text in ("one", "two", "three"):
        channel.deliver(text)
    assert sent == ["hello", "one"]
    await until(lambda: len(sent) == 4)
    assert sent == ["hello", "one", "two", "three"]
    channel.close()
