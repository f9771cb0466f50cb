"""How an agent speaks on a call, and the account of what was played."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Sequence

from firsthop._native import OpusPacket
from firsthop.call.speech import Place, Playback, Played, Sound, Speech
from firsthop.errors import BackendError, OverloadedError, SessionClosed

#: After how long a piece of speech is offered again to an engine that does not keep up.
_RETRY_SECONDS = 0.02


class Speaking(ABC):
    """What is said on a call, from the first piece until it was heard."""

    def __init__(self) -> None:
        self._playbacks: dict[int, Playback] = {}
        self._next_utterance = 0
        self._end_reason: str | None = None

    # What agents use.

    @property
    def speaking(self) -> bool:
        """Whether something said is not yet over."""
        return bool(self._playbacks)

    def say(self, speech: Speech, *, text: str = "") -> Playback:
        """Say something, after what is being said already.

        Args:
            speech: PCM16LE, mono, at `sample_rate`: whole, or in pieces as they are made. Pieces
                may be text, too: the words of the sound that follows.
            text: What it says, for transcripts, as far as that is known now.

        Returns:
            The playback; await it to learn how much was played.

        Raises:
            SessionClosed: The call is over.
            OverloadedError: The engine does not keep up.
        """
        return self._speak(speech, Playback(text))

    def play(
        self,
        speech: bytes | AsyncIterable[bytes],
        *,
        response_id: str,
        item_id: str,
        output_index: int = 0,
        content_index: int = 0,
    ) -> Playback:
        """Say something that was announced already, and where it belongs; else as `say`.

        For backends that are Realtime servers themselves (`Traits.realtime`).
        """
        place = Place(response_id, item_id, output_index, content_index)
        return self._speak(speech, Playback("", place))

    def forward(
        self,
        packets: Sequence[OpusPacket] | AsyncIterable[Sequence[OpusPacket]],
        *,
        text: str = "",
    ) -> Playback:
        """Say something that is Opus already, after what is being said already.

        For agents that want Opus (`firsthop.opus`). Each packet leaves byte by byte as it is, when
        the one before it has been heard.

        Args:
            packets: Whole, or in pieces as they are made: `OpusPackets.packets`, or ones made of
                bytes, ``OpusPacket(payload)``.
            text: What it says, for transcripts.

        Returns:
            The playback; await it to learn how much was played.

        Raises:
            BackendError: The sound of this call is PCM.
            SessionClosed: The call is over.
            OverloadedError: The engine does not keep up.
        """
        return self._speak(packets, Playback(text))

    def mirror(self) -> Playback:
        """Say what the caller says, packet by packet, until that is stopped.

        For agents that want Opus. The packets go back within the engine, each when the one before
        it has been heard; the agent is given none of them meanwhile, and costs nothing.

        Returns:
            The playback; await it to learn how much was played.

        Raises:
            BackendError: The sound of this call is PCM.
            SessionClosed: The call is over.
            OverloadedError: The engine does not keep up.
        """
        utterance, playback = self._next(), Playback("")
        self._about_to_say(utterance, playback)
        self._mirror(utterance)
        self._playbacks[utterance] = playback
        self._said(utterance, playback)
        return playback

    async def interrupt(self, *, spoken_over: bool = False) -> list[Played]:
        """Stop saying everything that is being said or waits, at once.

        Args:
            spoken_over: Whether it is because the caller speaks, for what the client is told.

        Returns:
            How much of each was played, in the order of `say`.
        """
        stopped = list(self._playbacks.values())
        if stopped:
            self._stopping(spoken_over=spoken_over)
            self._silence()
        return [await playback for playback in stopped]

    # What the transceiver implements ...

    @abstractmethod
    def _play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Queue sound as the next part of an utterance."""

    def _mirror(self, utterance: int) -> None:
        """Say what the caller says as an utterance, until it is flushed."""
        raise BackendError("the sound of this call is PCM, and cannot be mirrored")

    @abstractmethod
    def _flush(self) -> None:
        """Drop what has not been sent; `_playout_ended` follows for each utterance."""

    def _stopping(self, *, spoken_over: bool) -> None:  # noqa: B027 (optional)
        """Take note why the agent is about to be silent."""

    def _about_to_say(  # noqa: B027 (optional)
        self, utterance: int, playback: Playback
    ) -> None:
        """Take note that something will be said, if the line takes it."""

    def _said(self, utterance: int, playback: Playback) -> None:  # noqa: B027 (optional)
        """Take note that something is said from now on."""

    def _worded(  # noqa: B027 (optional)
        self, utterance: int, playback: Playback, text: str
    ) -> None:
        """Take note of the words of what comes next."""

    def _voiced(  # noqa: B027 (optional)
        self, utterance: int, playback: Playback, sound: Sound, *, complete: bool
    ) -> None:
        """Take note that its next part was queued."""

    # ... and what it calls.

    def _speak(
        self,
        speech: Speech | Sequence[OpusPacket] | AsyncIterable[Sequence[OpusPacket]],
        playback: Playback,
    ) -> Playback:
        utterance = self._next()
        # The line speaks in the order in which it hears of utterances, and settles those that it
        # has heard of: a stream takes its place before its first piece is made.
        whole = not isinstance(speech, AsyncIterable)
        first = b"" if isinstance(speech, AsyncIterable) else speech
        self._about_to_say(utterance, playback)
        self._play(utterance, first, complete=whole)
        self._playbacks[utterance] = playback
        self._said(utterance, playback)
        if not isinstance(speech, AsyncIterable):
            self._voiced(utterance, playback, first, complete=True)
            playback._made.set()
        else:
            playback._feeder = asyncio.create_task(self._feed(utterance, playback, speech))
        return playback

    def _next(self) -> int:
        """Number what is about to be said."""
        if self._end_reason is not None:
            raise SessionClosed(self._end_reason)
        utterance = self._next_utterance
        self._next_utterance += 1
        return utterance

    def _silence(self) -> None:
        """Stop speaking: no feeder adds anything after the flush."""
        for playback in self._playbacks.values():
            playback._stop()
        self._flush()

    def _playout_ended(self, utterance: int, played: Played) -> Playback | None:
        """Settle the account of an utterance."""
        playback = self._playbacks.pop(utterance, None)
        if playback is not None:
            playback._settle(played)
            # The engine may end a stream that ran too far ahead of what is played.
            playback._stop()
        return playback

    def _end_playbacks(self) -> None:
        """Settle the account of all that is being said: nothing more of it is heard."""
        for utterance, playback in list(self._playbacks.items()):
            playback._stop()
            self._playout_ended(utterance, Played(ms=0, interrupted=True))

    async def _feed(
        self,
        utterance: int,
        playback: Playback,
        pieces: AsyncIterable[bytes | str] | AsyncIterable[Sequence[OpusPacket]],
    ) -> None:
        """Pass pieces on as they are made, and end the utterance, whatever ends the pieces.

        A flush and the end of the call settle the utterance themselves; then nothing is added.
        """
        half = b""
        try:
            async for piece in pieces:
                if isinstance(piece, str):
                    playback.text += piece
                    self._worded(utterance, playback, piece)
                    continue
                if isinstance(piece, bytes):
                    # Pieces that come from a network may end within a sample.
                    piece = half + piece
                    whole = len(piece) - len(piece) % 2
                    half, piece = piece[whole:], piece[:whole]
                await self._pass_on(utterance, playback, piece, complete=False)
        except Exception as error:
            playback._failure = error
        finally:
            if isinstance(pieces, AsyncGenerator):
                # It may be stopped where it is not at work; what it has open is closed then, too.
                await pieces.aclose()
            await self._pass_on(utterance, playback, b"", complete=True)
            playback._made.set()

    async def _pass_on(
        self, utterance: int, playback: Playback, sound: Sound, *, complete: bool
    ) -> None:
        while not playback._stopped:
            try:
                self._play(utterance, sound, complete=complete)
            except OverloadedError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return self._voiced(utterance, playback, sound, complete=complete)
