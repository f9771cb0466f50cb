"""Steering in signaling: which ingress points an answer names, for all protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

from fastapi import Request, WebSocket
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firsthop.addresses import Candidates
from firsthop.config import Settings
from firsthop.errors import ConfigError
from firsthop.fleet.view import View
from firsthop.signaling.proxies import client_of, from_trusted_proxy
from firsthop.steering import places
from firsthop.steering.context import Context, Contexts
from firsthop.steering.decide import Decision, decide
from firsthop.steering.geoip import GeoIp
from firsthop.steering.steered import INGRESS_HEADER, STEERED_HEADER, Steered, named

_STATE: Final = "steered"


class Steering:
    """Steers the clients of one cluster.

    Args:
        cluster: Its id.
        view: Returns the fleet as it is seen at the moment.
        contexts: Finds out where clients are.
    """

    def __init__(self, cluster: int, view: Callable[[], View], contexts: Contexts) -> None:
        self._cluster = cluster
        self._view = view
        self._contexts = contexts

    @classmethod
    def of(cls, settings: Settings, view: Callable[[], View]) -> Self:
        """Make that of a transceiver with these settings.

        Raises:
            ConfigError: `steering.geoip` is no database of places, or the fleet has not this
                cluster.
        """
        fleet, cluster = view().fleet, settings.transceiver.cluster
        if fleet.cluster(cluster) is None:
            have = ", ".join(str(one.id) for one in fleet.clusters) or "none"
            problem = f"{cluster} is no cluster of fleet.file, which has {have}"
            raise ConfigError("transceiver.cluster", problem)
        return cls(settings.transceiver.cluster, view, contexts(settings))

    def steer(self, connection: Request | WebSocket) -> Steered:
        """Decide by which ingress points the client of a request comes, and note it for the answer.

        A trusted proxy may have decided already.
        """
        fleet, trusted = self._view().fleet, from_trusted_proxy(connection)
        header = connection.headers.get(INGRESS_HEADER, "") if trusted else ""
        if chosen := named(header, fleet, self._cluster):
            context = Context(client_of(connection), source="gateway")
            ids = tuple(ingress.id for ingress in chosen)
            decision = Decision(self._cluster, ids, (f"{INGRESS_HEADER} of a trusted proxy",))
        else:
            context = context_of(connection, self._contexts)
            decision = decide(context, self._view(), self._cluster)
            found = (fleet.ingress(id_) for id_ in decision.ingresses)
            chosen = tuple(ingress for ingress in found if ingress is not None)
        udp = tuple(address for ingress in chosen for address in ingress.udp)
        tcp = tuple(address for ingress in chosen for address in ingress.tcp)
        steered = Steered(context, decision, Candidates(udp, tcp) if chosen else None)
        connection.scope.setdefault("state", {})[_STATE] = steered
        return steered


class TellSteered:
    """ASGI middleware: lets an answer tell what was decided for its client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        state = scope.setdefault("state", {})

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                steered: Steered | None = state.get(_STATE)
                if steered is not None:
                    MutableHeaders(scope=message)[STEERED_HEADER] = steered.header
            await send(message)

        await self._app(scope, receive, telling)


def contexts(settings: Settings) -> Contexts:
    """Read what places are known by.

    Raises:
        ConfigError: `steering.geoip` is no database of places.
    """
    path = settings.steering.geoip
    return Contexts(places.known(), None if path is None else GeoIp.read(path))


def context_of(connection: Request | WebSocket, contexts: Contexts) -> Context:
    """Return where the client of a request is."""
    trusted = from_trusted_proxy(connection)
    return contexts.of(connection.headers, client_of(connection), trusted=trusted)
