"""What the ends of a call send: checked, kept in order, and the sound in it decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from firsthop.calls.ends import End
from firsthop.calls.intake import Intake
from firsthop.calls.seats import Seat, Seats
from firsthop.errors import EventError
from firsthop.realtime.events import parse
from firsthop.realtime.sound import Decoder


class Reception:
    """Takes what clients send. It owns what waits, and the decoder of sound in events.

    Args:
        seats: Who may send what; told what is refused.
        sample_rate: Of the call's PCM, in Hz.
        sound_format: Of the sound in events, as the session has it.
        hear: Takes sound, PCM16LE, mono.
        do: Does what an event asks for, when it is its turn. Raises `EventError` to refuse.
        takes_sound: Whether sound is taken in events.
    """

    def __init__(
        self,
        seats: Seats,
        sample_rate: int,
        sound_format: str,
        hear: Callable[[bytes], None],
        do: Callable[[Seat, Mapping[str, Any]], None],
        *,
        takes_sound: bool,
    ) -> None:
        self._seats = seats
        self._hear = hear
        self._do = do
        self._takes_sound = takes_sound
        self._intake = Intake(sample_rate, hear)
        self._decoder = Decoder(sound_format, sample_rate)
        self._closed = False

    def receive(self, end: End, text: str) -> None:
        """Take one event from an end, which is told if it is refused."""
        seat = self._seats.of(end)
        if seat is None or self._closed:
            return
        event: dict[str, Any] = {}
        try:
            if not seat.admits():
                raise _too_many()
            event = parse(text)
            if not seat.may_send(event["type"]):
                message = f"this channel may not send {event['type']!r}"
                raise EventError("event_not_allowed", message, param="type")
            if event["type"] == "input_audio_buffer.append":
                self._append(seat, event)
            else:
                self._intake.event(partial(self._obey, seat, event))
        except EventError as error:
            self._seats.refuse(seat, event, error)

    def follow(self, sound_format: str) -> None:
        """Decode sound another way from now on, if the format has changed."""
        decoder = self._decoder.for_format(sound_format)
        if decoder is not self._decoder:
            self.hear_the_rest()
            self._decoder = decoder

    def hear_the_rest(self) -> None:
        """Hear what the decoder has held back of the sound in events."""
        if rest := self._decoder.flush():
            self._hear(rest)

    def forget_the_rest(self) -> None:
        """Forget what the decoder has held back."""
        self._decoder.flush()

    def close(self) -> None:
        """Take nothing more: the call is over."""
        self._closed = True
        self._intake.close()

    def _append(self, seat: Seat, event: Mapping[str, Any]) -> None:
        if not self._takes_sound:
            message = "this backend takes the sound of the call's audio track only"
            raise EventError("unsupported_by_backend", message, param="type")
        self._intake.sound(len(event["audio"]), partial(self._decode, seat, event))
        seat.refund()

    def _decode(self, seat: Seat, event: Mapping[str, Any]) -> bytes:
        try:
            return self._decoder.decode(event["audio"])
        except EventError as error:
            # Sound that is sound costs nothing; this does.
            self._seats.refuse(seat, event, error if seat.admits() else _too_many())
            return b""

    def _obey(self, seat: Seat, event: Mapping[str, Any]) -> None:
        if self._closed:
            return
        try:
            self._do(seat, event)
        except EventError as error:
            self._seats.refuse(seat, event, error)


def _too_many() -> EventError:
    return EventError("rate_limit_exceeded", "too many events; some were ignored")
