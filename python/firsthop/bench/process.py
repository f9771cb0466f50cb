"""A network as a process of its own: started, told things line by line, and ended."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from firsthop.bench.errors import BenchError

_STOP_SECONDS: Final = 10.0


class NetworkProcess:
    """A process that obeys lines of JSON on its standard input, `link.serve`, and ends with it.

    Args:
        name: What it is, for errors.
        command: What starts it.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._one_command = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End it; what is on its way is lost."""
        assert self._process.stdin is not None and self._process.stdout is not None
        # It ends with its standard input, so that it cannot outlive this process either.
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def do(self, command: str, *given: object) -> Any:
        """Have it do something; done when this returns what it says. May be called by any thread.

        Raises:
            BenchError: It has ended.
        """
        return self.tell([command, given])

    def tell(self, what: object) -> Any:
        """Send one line; return what the one says that comes back.

        Raises:
            BenchError: It has ended.
        """
        assert self._process.stdin is not None
        with self._one_command:
            try:
                self._process.stdin.write(json.dumps(what) + "\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                raise BenchError(f"{self._name} has ended") from None
            return self.reply()

    def reply(self) -> Any:
        """Return what its next line says.

        Raises:
            BenchError: It has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._name} has ended: what it printed says why")
        return json.loads(line)
