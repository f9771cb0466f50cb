"""The server of one stage: requests, what is tried again, patience, and failures in plain words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Literal

import httpx
import structlog

from firsthop.agent.endpoints.exchange import Exchange
from firsthop.agent.endpoints.garbage import FailedError, GarbageError
from firsthop.agent.stages import StageError
from firsthop.authorities import authorities
from firsthop.config import ChatSettings, SpeechSettings, TranscriptionSettings
from firsthop.errors import ConfigError
from firsthop.signaling.access import is_loopback

log = structlog.get_logger()

StageName = Literal["transcription", "chat", "speech"]
#: What users call them.
_TITLES: Final[dict[StageName, str]] = {
    "transcription": "the speech recognition",
    "chat": "the language model",
    "speech": "the speech synthesis",
}

#: Requests at a time. Below it the pool never makes one wait: httpcore 1.0 can lose a connection
#: for good when a request is cancelled that waits for one.
_MAX_REQUESTS: Final = 1_000
#: How long a connection is kept for the next turn. What is between, as a NAT, forgets it after
#: minutes; that a server closed it is noticed.
_KEEP_SECONDS: Final = 120.0
#: A server that asks for more is busy.
_MAX_RETRY_AFTER_SECONDS: Final = 1.0
_PREPARE_SECONDS: Final = 3.0
#: Bytes of a list of models that are read to keep the connection.
_MAX_MODELS: Final = 4 * 1024 * 1024
#: Statuses by which servers say that a request has something they do not know.
_UNKNOWN_TO_IT: Final = {400, 404, 422}


class Answer:
    """A server's answer, of which the body is still to come.

    Args:
        endpoint: Whose it is.
        exchange: Has its body.
        head: Has its headers.
        taken: Which of the requests was answered.
    """

    def __init__(
        self, endpoint: Endpoint, exchange: Exchange, head: httpx.Response, taken: int
    ) -> None:
        self.taken = taken
        self.content_type: str = head.headers.get("content-type", "").partition(";")[0].lower()
        self._endpoint = endpoint
        self._exchange = exchange
        self._patience = endpoint.timeout
        self._concluding = False

    def advanced(self) -> None:
        """It went on: the next part may take its time again."""
        self._patience = self._endpoint.timeout

    def conclude(self, seconds: float) -> None:
        """What matters has come: wait no longer for the rest, and take no failure for one."""
        if not self._concluding:
            self._concluding = True
            self._patience = min(self._patience, seconds)

    def spare(self) -> None:
        """Need no more of it."""
        self._exchange.spare()

    async def parts(self) -> AsyncGenerator[bytes]:
        """Yield the body as it comes. What is waited for, all in all since `advanced`, is limited.

        Raises:
            StageError: It stopped.
        """
        clock = asyncio.get_running_loop()
        while True:
            began = clock.time()
            try:
                async with asyncio.timeout(self._patience):
                    part = await self._exchange.part()
            except TimeoutError:
                if self._concluding:
                    return
                does = f"fell silent for {self._endpoint.timeout:g} s in the middle of its answer"
                raise self._endpoint.error("timeout", does) from None
            except Exception as error:
                if self._concluding:
                    return
                raise self._endpoint.cut_off(_root(error)) from None
            if part is None:
                return
            self._patience = max(0.0, self._patience - (clock.time() - began))
            yield part

    async def whole(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            StageError: It stopped, or it has more than `limit` bytes.
        """
        body = bytearray()
        async for part in self.parts():
            body += part
            if len(body) > limit:
                raise GarbageError("answered with far too much")
        return bytes(body)


class Endpoint:
    """One stage's server. Made without I/O; it belongs to the event loop that first uses it.

    Redirects are not followed, for they would take the key and what is said elsewhere. The proxies
    of the environment are used, as networks need them, but not to reach this very machine.

    Args:
        name: Of the stage: begins the codes of its errors, and its settings.
        settings: Where it is, its key, and how long it may take to answer and between two parts.

    Raises:
        ConfigError: It has no URL.
    """

    def __init__(
        self,
        name: StageName,
        settings: TranscriptionSettings | ChatSettings | SpeechSettings,
    ) -> None:
        if settings.url is None:
            raise ConfigError(f"agent.{name}.url", "expected the URL of an endpoint")
        self.name = name
        self.timeout = settings.timeout_seconds
        """In seconds."""
        self._url = httpx.URL(settings.url)
        self._key = settings.api_key
        self._client: httpx.AsyncClient | None = None
        self._exchanges: set[Exchange] = set()

    @property
    def host(self) -> str:
        """Of the URL."""
        return self._url.host

    @property
    def requests(self) -> int:
        """Requests of which something is open."""
        return len(self._exchanges)

    async def prepare(self) -> None:
        """Open a connection, so that the first turn need not. That none opens is logged only."""
        exchange = self._send("GET", "/models", {})
        try:
            async with asyncio.timeout(min(self.timeout, _PREPARE_SECONDS)):
                await exchange.head()
                size = 0
                while (part := await exchange.part()) is not None and size < _MAX_MODELS:
                    size += len(part)
        except Exception as error:
            problem = _root(error)
            log.warning("agent.endpoint_silent", stage=self.name, host=self.host, problem=problem)
        finally:
            await exchange.close()

    async def close(self) -> None:
        """End what is under way, and close all connections."""
        while self._exchanges:
            await asyncio.gather(*(exchange.close() for exchange in self._exchanges))
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @asynccontextmanager
    async def post(self, path: str, *requests: Mapping[str, Any]) -> AsyncIterator[Answer]:
        """Send a request; the block has the answer, and leaving it closes what is open.

        Args:
            path: Below the URL.
            requests: What httpx makes a request of. A further one is sent if the server does not
                know what the one before it asks for.

        Raises:
            StageError: There is no answer, or one that says no.
        """
        exchange, head, taken = await self._answered(path, requests)
        try:
            if head.headers.get("content-encoding", "identity") != "identity":
                does = "answered in an encoding that it was not asked for"
                raise self.error("garbage", does, problem=does)
            yield Answer(self, exchange, head, taken)
        finally:
            if exchange.wanted:
                await exchange.close()

    def error(
        self, word: str, does: str, *, status: int | None = None, problem: str | None = None
    ) -> StageError:
        """Log a failure, and return it to be raised.

        Args:
            word: Ends its code.
            does: What the stage does, for users.
            status: The server's.
            problem: For the log.
        """
        code = f"{self.name}_{word}"
        log.warning("agent.stage_failed", code=code, status=status, problem=problem)
        return StageError(code, f"{_TITLES[self.name]} {does}")

    def cut_off(self, problem: str | None = None) -> StageError:
        """The error of an answer that lacks its end."""
        return self.error("cut_off", "broke off in the middle of its answer", problem=problem)

    @contextmanager
    def sense(self) -> Iterator[None]:
        """What is read within makes sense, or the stage has failed.

        Raises:
            StageError: In the place of what readers raise.
        """
        try:
            yield
        except GarbageError as error:
            raise self.error("garbage", str(error), problem=str(error)) from None
        except FailedError:
            raise self.error("failed", "failed in the middle of its answer") from None

    async def _answered(
        self, path: str, requests: tuple[Mapping[str, Any], ...]
    ) -> tuple[Exchange, httpx.Response, int]:
        """Return an answer that says yes, and which request it is to."""
        try:
            # One deadline for all attempts: what counts is how long the caller waits.
            async with asyncio.timeout(self.timeout):
                for taken, request in enumerate(requests):
                    exchange, head = await self._attempts(path, request)
                    if head.is_success:
                        return exchange, head, taken
                    await exchange.close()
                    if head.status_code not in _UNKNOWN_TO_IT:
                        break
        except TimeoutError:
            raise self.error("timeout", f"did not answer within {self.timeout:g} s") from None
        except StageError:
            raise
        except Exception as error:
            does = f"cannot be reached: check agent.{self.name}.url, and whether it runs"
            raise self.error("unreachable", does, problem=_root(error)) from None
        raise self._no(head)

    async def _attempts(
        self, path: str, request: Mapping[str, Any]
    ) -> tuple[Exchange, httpx.Response]:
        """Send a request, and once more if that may help; return the answer, whatever it says."""
        try:
            exchange, head = await self._attempt(path, request)
            pause = _pause(head)
            if pause is None:
                return exchange, head
            await exchange.close()
            await asyncio.sleep(pause)
        except httpx.ConnectError:
            raise
        except (httpx.NetworkError, httpx.ProtocolError):
            # The server may have closed a kept connection at this very moment.
            pass
        return await self._attempt(path, request)

    async def _attempt(
        self, path: str, request: Mapping[str, Any]
    ) -> tuple[Exchange, httpx.Response]:
        exchange = self._send("POST", path, request)
        try:
            return exchange, await exchange.head()
        except BaseException:
            await exchange.close()
            raise

    def _send(self, method: str, path: str, request: Mapping[str, Any]) -> Exchange:
        if len(self._exchanges) >= _MAX_REQUESTS:
            raise self.error("busy", "has too many requests of this agent under way")
        client = self._client = self._client or self._new_client()
        url = self._url.copy_with(path=self._url.path.rstrip("/") + path)
        sent = client.build_request(method, url, **request)
        exchange = Exchange(client, sent, self._exchanges.discard)
        self._exchanges.add(exchange)
        return exchange

    def _new_client(self) -> httpx.AsyncClient:
        # Compressed, a stream comes in larger pieces, and a small piece may become a huge one.
        headers = {"accept-encoding": "identity", "user-agent": "firsthop"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        here = self.host == "localhost" or is_loopback(self.host)
        limits = httpx.Limits(max_connections=_MAX_REQUESTS, keepalive_expiry=_KEEP_SECONDS)
        return httpx.AsyncClient(
            headers=headers,
            limits=limits,
            timeout=None,  # Patience is here.
            trust_env=not here,
            follow_redirects=False,
            # Where no TLS can be, loading certificates would only hold everything up for a while.
            verify=authorities() if self._url.scheme == "https" or not here else False,
        )

    def _no(self, head: httpx.Response) -> StageError:
        """Say what a status means for whoever runs this."""
        status = head.status_code
        section = f"agent.{self.name}"
        if status in {401, 403}:
            word, does = "refused", f"refused the key: check {section}.api_key"
        elif status == 429:
            word, does = "busy", "takes no more requests for now"
        elif status == 408 or status >= 500:
            word, does = "failed", f"failed ({status})"
        elif head.is_redirect:
            word, does = "refused", f"is elsewhere: set {section}.url to where it redirects"
        else:
            word, does = "refused", f"refused the request ({status}): check {section}.url and model"
        return self.error(word, does, status=status)


def as_json(body: Mapping[str, Any]) -> dict[str, Any]:
    """What httpx makes a request of whose body is JSON."""
    # In ASCII, because what clients sent may have halves of surrogate pairs.
    return {
        "content": json.dumps(body).encode(),
        "headers": {"content-type": "application/json"},
    }


def _pause(head: httpx.Response) -> float | None:
    """How many seconds to wait before the request is sent again; None: it is not."""
    status = head.status_code
    if status not in {408, 429} and status < 500:
        return None
    try:
        seconds = float(head.headers.get("retry-after", "inf" if status == 429 else "0"))
    except ValueError:  # A date.
        return None
    return seconds if 0 <= seconds <= _MAX_RETRY_AFTER_SECONDS else None


def _root(error: BaseException) -> str:
    """The kind of error that began it: words of others may hold anything."""
    while isinstance(cause := error.__cause__ or error.__context__, Exception):
        error = cause
    return type(error).__name__
