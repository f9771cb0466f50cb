"""A running relay gives its place to a new process: sockets, flows, and no packet lost.

The two meet at a Unix socket. The old process forwards until the new one has everything and says
so; then it stops, tells what changed meanwhile, and the new one begins. Packets that arrive in
between wait in the sockets, which both hold. If the new one fails on the way, the old one goes on.

    old                                       new
     |  <- connects ------------------------   |
     |  -- hello, with all descriptors ----->  |  checks that they are what its settings ask for
     |  -- flows of every worker ----------->  |  restores them
     |  <- ready ---------------------------   |
     |  stops forwarding                       |
     |  -- flows that changed -------------->  |  restores them, forwards
     |  <- running -------------------------   |
     ends
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from firsthop.errors import FirsthopError

#: Of what is said here. Another one is refused: the old process then goes on.
_FORMAT: Final = 1
#: Either side gives the other up after so long without a word.
_PATIENCE_SECONDS: Final = 10.0
#: Descriptors in one message; Linux takes up to 253.
_DESCRIPTORS_AT_ONCE: Final = 200
_LENGTH: Final = struct.Struct("!I")
#: Larger than the flows of any one worker: ten million of them.
_LONGEST_FRAME: Final = 1 << 29

_READY: Final = b"ready"
_RUNNING: Final = b"running"


class TakeoverError(FirsthopError):
    """A takeover failed, and the old relay goes on; the message says what to do about it."""


class Given(Protocol):
    """A running native relay, as the old process has it."""

    def sockets(self) -> list[list[int]]:
        """The descriptors of each worker."""

    def export(self, worker: int) -> bytes:
        """The flows of a worker, while it forwards."""

    def finish(self) -> list[bytes]:
        """Stop, and return what changed since."""


class Taken(Protocol):
    """A native relay that is about to run, as the new process has it."""

    def restore(self, worker: int, flows: bytes) -> None:
        """Take over flows."""

    def run(self) -> None:
        """Begin."""


@dataclass(frozen=True)
class Place:
    """What a relay needs to begin where another stood. Whoever holds it closes it."""

    #: Of each worker, as `Relay.sockets` orders them.
    sockets: list[list[int]]
    #: The listening HTTP socket.
    http: int

    def close(self) -> None:
        """Close all descriptors; the sockets live on in whoever has duplicates."""
        for descriptor in (*(fd for worker in self.sockets for fd in worker), self.http):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def duplicate(self) -> Place:
        """The same once more."""
        return Place([[os.dup(fd) for fd in worker] for worker in self.sockets], os.dup(self.http))


def listen(path: Path) -> socket.socket:
    """Listen at `path`, which only this user may open. A socket that was left there goes.

    Raises:
        OSError: The folder is missing, or is not ours to write to.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        # Bound without rights for anybody else: there is no moment at which others could connect.
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(1)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"takeover_socket {path}: {error.strerror}") from None
    return listener


def leave(path: Path) -> None:
    """Take the socket at `path` away: nobody is there any more."""
    path.unlink(missing_ok=True)


def connect(path: Path) -> socket.socket | None:
    """Reach the relay that listens at `path`, or None when there is none."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE_SECONDS)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def give(
    connection: socket.socket,
    relay: Given,
    http: int,
    resume: Callable[[Place, Sequence[bytes]], None],
) -> bool:
    """Give the place of `relay` to whoever connected. Blocks; for a thread of its own.

    Args:
        connection: From the listening socket.
        relay: Forwards until the other side is ready.
        http: Our listening HTTP socket.
        resume: Begins again with our own sockets and flows (per worker), should the other side
            fail after we stopped. The place is its to close.

    Returns:
        Whether the other side runs now. If not, we do, as before.
    """
    connection.settimeout(_PATIENCE_SECONDS)
    place = Place(relay.sockets(), http)
    try:
        _send(connection, json.dumps(_hello(place)).encode())
        _send_descriptors(connection, place)
        flows = [relay.export(worker) for worker in range(len(place.sockets))]
        for worker_flows in flows:
            _send(connection, worker_flows)
        if _receive(connection) != _READY:
            return False
        kept = place.duplicate()
    except (OSError, TakeoverError):
        return False
    changes = relay.finish()
    try:
        for worker_changes in changes:
            _send(connection, worker_changes)
        if _receive(connection) == _RUNNING:
            kept.close()
            return True
    except TakeoverError:
        pass
    resume(kept, [all_flows + change for all_flows, change in zip(flows, changes, strict=True)])
    return False


def take(connection: socket.socket, begin: Callable[[Place], Taken]) -> int:
    """Take the place of the relay at the other end. Blocks; for before we serve anybody.

    Args:
        connection: From `connect`.
        begin: Makes a relay that does not run yet of the other's sockets; may duplicate them, and
            must not keep them. What it raises ends the takeover, and the other goes on.

    Returns:
        The listening HTTP socket of the other, ours to close.

    Raises:
        TakeoverError: The other side speaks another version, or failed.
    """
    place: Place | None = None
    try:
        hello = _checked(_receive(connection))
        place = _receive_descriptors(connection, hello)
        relay = begin(place)
        for worker in range(len(place.sockets)):
            relay.restore(worker, _receive(connection))
        _send(connection, _READY)
        for worker in range(len(place.sockets)):
            relay.restore(worker, _receive(connection))
        http = os.dup(place.http)
        relay.run()
        # The other side told all and waits for nothing but this: if it is gone, so much the better.
        with contextlib.suppress(TakeoverError):
            _send(connection, _RUNNING)
        return http
    finally:
        if place is not None:
            place.close()


def _hello(place: Place) -> dict[str, object]:
    return {"format": _FORMAT, "sockets": [len(worker) for worker in place.sockets]}


def _checked(message: bytes) -> list[int]:
    """How many sockets each worker has."""
    try:
        hello = json.loads(message)
        if hello["format"] == _FORMAT:
            return [int(count) for count in hello["sockets"]]
        spoken = hello["format"]
    except (ValueError, TypeError, KeyError):
        spoken = "?"
    raise TakeoverError(
        f"the running relay hands over in format {spoken}, and this one takes format {_FORMAT}; "
        "stop it, then start this one without --takeover"
    )


def _send_descriptors(connection: socket.socket, place: Place) -> None:
    descriptors = [*(fd for worker in place.sockets for fd in worker), place.http]
    for first in range(0, len(descriptors), _DESCRIPTORS_AT_ONCE):
        with _silence_told():
            socket.send_fds(connection, [b"+"], descriptors[first : first + _DESCRIPTORS_AT_ONCE])


def _receive_descriptors(connection: socket.socket, counts: list[int]) -> Place:
    total = sum(counts) + 1
    descriptors: list[int] = []
    while len(descriptors) < total:
        room = socket.CMSG_SPACE(_DESCRIPTORS_AT_ONCE * array.array("i").itemsize)
        with _silence_told():
            data, ancillary, _, _ = connection.recvmsg(1, room)
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                descriptors.extend(received)
        if not data or not ancillary:
            Place([descriptors], -1).close()
            raise TakeoverError("the running relay broke off")
    *rest, http = descriptors
    place: list[list[int]] = []
    for count in counts:
        place.append(rest[:count])
        rest = rest[count:]
    return Place(place, http)


def _send(connection: socket.socket, message: bytes) -> None:
    with _silence_told():
        connection.sendall(_LENGTH.pack(len(message)))
        connection.sendall(message)


def _receive(connection: socket.socket) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > _LONGEST_FRAME:
        raise TakeoverError("what answers there is no relay")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = bytearray(length)
    view = memoryview(received)
    while view:
        with _silence_told():
            count = connection.recv_into(view)
        if count == 0:
            raise TakeoverError("the other side broke off")
        view = view[count:]
    return bytes(received)


@contextlib.contextmanager
def _silence_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TakeoverError(f"the other side fell silent: {error}") from error
