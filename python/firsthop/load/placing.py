"""How a client gets its call: it offers, the door answers, and it begins to connect."""

from __future__ import annotations

import time

import httpx

from firsthop._native import Callers
from firsthop.errors import OfferError
from firsthop.load.call import Client
from firsthop.load.doors import Door, Refused


class Placing:
    """Makes clients and places their calls.

    Args:
        callers: Where clients are made.
        door: Where calls are placed.
        http: By what.
        talks: Whether clients talk.
    """

    def __init__(
        self, callers: Callers, door: Door, http: httpx.AsyncClient, *, talks: bool
    ) -> None:
        self._callers = callers
        self._door = door
        self._http = http
        self._talks = talks

    async def place(self, *, listens: bool, key: str | None = None) -> Client:
        """Place a call.

        Args:
            listens: Whether the client times the marks that it hears.
            key: Sent as bearer token in place of the door's own; None: that one.

        Raises:
            Refused: There is no call, and no client either.
        """
        try:
            caller, offer = self._callers.offer(talks=self._talks, listens=listens)
        except OSError as error:
            raise Refused("no socket", f"no socket for it: {error}") from None
        asked = time.monotonic()
        try:
            placed = await self._door.place(self._http, offer, key)
        except Refused:
            self._callers.refuse(caller)
            raise
        answered = time.monotonic()
        try:
            self._callers.answer(caller, placed.answer)
        except OfferError as error:
            problem = str(error).removeprefix("SDP offer: ")
            message = f"{self._door.url} answered with SDP, and {problem}"
            raise Refused("answer", message, final=True) from None
        return Client(caller, placed, (answered - asked) * 1000, answered)

    async def end(self, client: Client) -> None:
        """End a call: the server is told by HTTP where it can be, then the client says goodbye."""
        try:
            await self._door.hang_up(self._http, client.placed)
        finally:
            self._callers.hang_up(client.caller)
