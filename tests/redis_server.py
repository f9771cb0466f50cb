"""A real redis-server of one test's own, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"


class RedisServer:
    """One redis-server on a port of its own, with a password; keeps nothing on disk."""

    password = "swordfish"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self._port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it is, for settings."""
        return f"redis://:{self.password}@{HOST}:{self._port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {
            "--port": str(self._port),
            "--bind": HOST,
            "--requirepass": self.password,
            "--save": "",
            "--dir": str(self._folder),
        }
        command = ["redis-server", *(word for option in options.items() for word in option)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended by itself"
            time.sleep(0.01)

    def pause(self) -> None:
        """Keep its sockets open, and let it do nothing."""
        self._signal(signal.SIGSTOP)
        # Signals are delivered when they are delivered: until then it may answer.
        stat = Path(f"/proc/{self._running.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, and lose what it holds."""
        self._signal(signal.SIGKILL)
        self._running.wait()
        self._process = None

    def close(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            self.kill()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "redis-server was not started"
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self._running.pid, number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"-NOAUTH")
        except OSError:
            return False
