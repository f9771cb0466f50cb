"""Every error that firsthop raises on purpose.

::

    FirsthopError
    ├── ConfigError          a setting is wrong: key, value, what is allowed
    ├── TokenError           a routing token was refused; ``reason`` tells why
    ├── SignalingError       an HTTP request is refused; knows its status and error body
    │   ├── OfferError       ... because of the SDP, with the line
    │   ├── AccessError      ... because of who asks, or from where
    │   ├── UnknownCallError ... because there is no such call
    │   └── OverloadedError  ... because there is no room
    │       └── DrainingError    ... because this process ends, and others do not
    ├── EventError           an event on a channel is refused; names the event
    ├── SessionClosed        the call is over; ``reason`` tells why
    └── BackendError         an agent, or what it depends on, failed

Imports nothing of ours. The native module raises `OfferError`, `OverloadedError` and `TokenError`
from here.
"""

from __future__ import annotations


class FirsthopError(Exception):
    """Base of all errors of firsthop."""


class ConfigError(FirsthopError):
    """A setting is wrong, or one that is needed is missing.

    Args:
        key: The setting, dotted, as the settings file nests it.
        problem: What is wrong with it and what is allowed.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class TokenError(FirsthopError):
    """A ufrag is not a valid routing token.

    Args:
        reason: ``shape``, ``version``, ``unknown_key``, ``tag`` or ``expired``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a valid routing token: {reason}")
        self.reason = reason


class SignalingError(FirsthopError):
    """A signaling request is refused.

    Args:
        message: What is wrong and what would be right; shown to users as it is.
        status: HTTP status, 400-599.
        code: A word for programs.
        param: The part of the request that is wrong, if it is one.
    """

    def __init__(
        self, message: str, *, status: int = 400, code: str, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param

    @property
    def type(self) -> str:
        """The error's family, as the Realtime API names them."""
        return "server_error" if self.status >= 500 else "invalid_request_error"


class OfferError(SignalingError):
    """The SDP offer cannot be accepted.

    Args:
        problem: What is wrong and what would be right.
        line: The line it is about, counted from 1, if it is about one.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        where = f"line {line}: " if line is not None else ""
        super().__init__(f"SDP offer: {where}{problem}", code="invalid_offer", param="sdp")
        self.line = line


class AccessError(SignalingError):
    """Whoever asks may not have this.

    Args:
        message: What is missing, and how to get it; it quotes no credential.
        status: 401 when other credentials would do, 403 when none would.
        code: A word for programs.
        param: The part of the request that is not allowed, if it is one.
    """

    def __init__(
        self, message: str, *, status: int = 403, code: str, param: str | None = None
    ) -> None:
        super().__init__(message, status=status, code=code, param=param)


class UnknownCallError(SignalingError):
    """There is no such call (any more)."""

    def __init__(self, call_id: str) -> None:
        super().__init__(
            f"no call {call_id!r}: it has ended, or it never was",
            status=404,
            code="call_not_found",
            param="call_id",
        )


class OverloadedError(SignalingError):
    """There is no room for another call now.

    Args:
        message: What is full.
    """

    #: After how many seconds a client may try again.
    retry_after_seconds = 2

    def __init__(self, message: str) -> None:
        super().__init__(message, status=503, code="overloaded")


class DrainingError(OverloadedError):
    """This process takes no new calls: it ends once those that it has are over."""

    #: Who asks again is taken to another one.
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__("this server is about to end and takes no new calls; ask again")
        self.code = "draining"


class EventError(FirsthopError):
    """An event is refused, or something that it asked for went wrong; the call goes on.

    Args:
        code: A word for programs.
        message: What is wrong and what would be right; shown to users as it is.
        param: The field that is wrong, dotted, if it is one.
        event_id: The client's own id of the event, if it gave one.
        family: ``invalid_request_error``, or ``server_error`` when it is none of the client's.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        event_id: str | None = None,
        family: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id
        self.family = family


class SessionClosed(FirsthopError):
    """The call is over.

    Args:
        reason: Why, in snake case; see ``CloseReason`` in the engine.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the call is over: {reason}")
        self.reason = reason


class BackendError(FirsthopError):
    """An agent, or something that it depends on, failed."""
