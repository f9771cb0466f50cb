"""A Redis that can be broken: killed, stopped, filled with garbage, and made slow."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from firsthop.bench.contender import READY_SECONDS, free_endpoint
from firsthop.bench.datagrams import Endpoint
from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import Isolation, set_realtime

_NAMES = "firsthop:flow:*"


def installed() -> bool:
    """Whether there is a redis-server on this machine."""
    return shutil.which("redis-server") is not None


class RedisServer:
    """A real redis-server that keeps nothing on disk."""

    def __init__(self, folder: Path, isolation: Isolation) -> None:
        self.endpoint = free_endpoint()
        self._password = secrets.token_hex(16)
        self._client = Redis.from_url(self.url(self.endpoint), socket_timeout=5)
        options = {
            "--port": str(self.endpoint.port),
            "--bind": socket.inet_ntoa(self.endpoint.ip),
            "--requirepass": self._password,
            "--save": "",
            "--dir": str(folder),
        }
        self._process = subprocess.Popen(
            ["redis-server", *(word for option in options.items() for word in option)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        if isolation.realtime:
            set_realtime(self._process.pid, on=True)

    def url(self, endpoint: Endpoint) -> str:
        """Return the setting by which a relay reaches it, at its own address or a proxy's."""
        return f"redis://:{self._password}@{endpoint}/0"

    def wait_until_it_answers(self) -> None:
        """Wait for its first answer."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._client.ping()
                return
            except RedisError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise BenchError("redis-server does not come up") from error
            time.sleep(0.02)

    def fill_with_garbage(self) -> None:
        """Put random bytes in the place of every flow."""
        for name in self._client.scan_iter(_NAMES, count=1000):
            size = int(self._client.strlen(name))
            self._client.setrange(name, 0, os.urandom(size))

    def pause(self) -> None:
        """Keep its sockets open, and let it do nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._client.close()


class SlowProxy:
    """Stands in front of a TCP server, and keeps each of its answers back for a while."""

    def __init__(self, server: Endpoint) -> None:
        self.endpoint = free_endpoint()
        self.delay_seconds = 0.0
        self._server = (socket.inet_ntoa(server.ip), server.port)
        self._listener = socket.create_server(
            (socket.inet_ntoa(self.endpoint.ip), self.endpoint.port)
        )
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close all connections, which ends the threads."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server)
                self._open += [near, far]
                threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if answers:
                    time.sleep(self.delay_seconds)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
