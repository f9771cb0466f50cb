"""The terms of a call: from its request, from the caller's secret, and from the settings.

A client secret's session lies below the request's. What a secret allows cannot be widened by who
holds it: its list of events binds, and where ``session.update`` is not in it, the request brings no
session of its own either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.errors import AccessError, ConfigError, EventError, SignalingError
from firsthop.overlay import overlaid
from firsthop.realtime.events import CLIENT_EVENTS, new_id
from firsthop.realtime.session import Session
from firsthop.signaling.access import Caller
from firsthop.signaling.offers import as_object

#: Where a session says which events its caller may send.
EVENTS_PARAM: Final = "session.client.data_channel.allowed_client_events"


class Placing:
    """Makes terms.

    Args:
        settings: The events that callers with a client secret may send by default, and what a
            session is by default.

    Raises:
        ConfigError: `signaling.client_events` names an event that there is not.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        events = settings.signaling.client_events
        if events is not None and (unknown := sorted(set(events) - CLIENT_EVENTS)):
            raise ConfigError("signaling.client_events", _no_such(unknown[0]))
        self._default_events = None if events is None else frozenset(events)

    def terms(self, caller: Caller, session: Mapping[str, Any], model: str | None = None) -> Terms:
        """Return the terms of a call.

        Args:
            caller: Who places it.
            session: The request's session.
            model: What is taken if neither the session nor the caller's secret names one.

        Raises:
            AccessError: 403: the caller's secret does not allow this session.
            SignalingError: The session's list of events is wrong.
        """
        base: dict[str, Any] = {} if model is None else {"model": model}
        if caller.grant is None:
            own = granted(session)
            return Terms(session={**base, **own.session}, client_events=own.client_events)
        if "client" in session:
            message = "which events its caller may send is the client secret's to say"
            raise AccessError(message, code="api_key_needed", param="session.client")
        events = caller.grant.client_events
        if events is None and caller.grant.continues is None:
            # A call that goes on had its events settled when it began.
            events = self._default_events
        if session and events is not None and "session.update" not in events:
            message = "the client secret fixes the session: it does not allow session.update"
            raise AccessError(message, code="session_fixed", param="session")
        merged = overlaid(caller.grant.session, session)
        return replace(caller.grant, session=base | merged, client_events=events)

    def effective(self, terms: Terms) -> dict[str, Any]:
        """Return the whole session that a call on these terms begins with.

        Raises:
            SignalingError: The terms' session is wrong; `param` tells where.
        """
        settings = self._settings
        try:
            session = Session(new_id("sess"), settings.model, settings.turns, terms.session)
        except EventError as error:
            raise SignalingError(error.message, code=error.code, param=error.param) from None
        if terms.client_events is None:
            return dict(session.value)
        allowed = {"allowed_client_events": sorted(terms.client_events)}
        return {**session.value, "client": {"data_channel": allowed}}


def granted(session: Mapping[str, Any]) -> Terms:
    """Return what a session of a caller with an API key says: the session, and who may send what.

    Raises:
        SignalingError: Its list of events is wrong.
    """
    client = as_object(session.get("client"), "session.client")
    channel = as_object(client.get("data_channel"), "session.client.data_channel")
    if client.keys() - {"data_channel"} or channel.keys() - {"allowed_client_events"}:
        raise SignalingError(
            f"expected {EVENTS_PARAM} and nothing else there",
            code="unknown_parameter",
            param="session.client",
        )
    events = channel.get("allowed_client_events")
    rest = {name: value for name, value in session.items() if name != "client"}
    return Terms(session=rest, client_events=None if events is None else _known(events))


def _known(events: object) -> frozenset[str]:
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        message = 'expected a list of event types, as ["response.cancel"]'
        raise SignalingError(message, code="invalid_value", param=EVENTS_PARAM)
    if unknown := sorted(set(events) - CLIENT_EVENTS):
        raise SignalingError(_no_such(unknown[0]), code="unknown_event", param=EVENTS_PARAM)
    return frozenset(events)


def _no_such(event: str) -> str:
    return f"there is no client event {event[:100]!r}; there are {', '.join(sorted(CLIENT_EVENTS))}"
