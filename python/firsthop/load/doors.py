"""How calls are placed: an SDP offer by HTTP, and an answer (or a refusal with its cause)."""

from __future__ import annotations

import json
import re
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final
from urllib.parse import urlsplit

import httpx

from firsthop.load.errors import UsageError

_SDP: Final = "application/sdp"
_PATIENCE: Final = httpx.Timeout(15.0, connect=5.0)
_MAX_ANSWER: Final = 256 * 1024
_MAX_MOVES: Final = 5
#: What is quoted of a refusal.
_MAX_WORDS: Final = 300
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
#: RFC 9110 section 5.1 and 5.5.
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*([\x20-\x7e]*?)\s*", re.ASCII)
#: Statuses after which another call will not do better.
_FINAL: Final = frozenset({400, 401, 403, 404, 405, 410, 411, 413, 415, 421, 422, 426, 501})


class Refused(Exception):
    """A call was not placed.

    Args:
        cause: A word or two to count by: ``http 503``, ``refused``, ``timed out``.
        message: What happened, and the way out if there is one.
        final: Whether every other call will end the same.
    """

    def __init__(self, cause: str, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.final = final


@dataclass(frozen=True, slots=True)
class Placed:
    """A call that was answered."""

    answer: str
    """SDP."""
    session: httpx.URL | None
    """Where it can be ended, if the endpoint told."""


class Door(ABC):
    """An endpoint that takes offers as application/sdp.

    Args:
        url: Where offers go, http or https, with its query.
        key: Sent as bearer token, to this origin only. Empty: none.
        headers: Sent as well, to this origin only.
    """

    name: ClassVar[str]

    def __init__(self, url: str, key: str = "", headers: Mapping[str, str] = _NONE) -> None:
        self.url = httpx.URL(url)
        self._headers = {**headers, **({"Authorization": f"Bearer {key}"} if key else {})}

    async def place(self, client: httpx.AsyncClient, offer: str, key: str | None = None) -> Placed:
        """Send an offer.

        Args:
            client: By what.
            offer: SDP.
            key: Sent as bearer token in place of the door's own; None: that one.

        Raises:
            Refused: There is no answer.
        """
        headers = httpx.Headers({"Content-Type": _SDP, "Accept": _SDP, **self._headers})
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = client.build_request(
            "POST", self.url, content=offer.encode(), headers=headers, timeout=_PATIENCE
        )
        try:
            response, body = await _ask(client, request)
        except (httpx.HTTPError, OSError) as error:
            raise self._failed(error) from None
        self._check(response, body)
        location = response.headers.get("Location")
        session = response.url.join(location) if location else None
        return Placed(body, session)

    async def hang_up(self, client: httpx.AsyncClient, placed: Placed) -> None:
        """End a call. That it cannot be ended, or has ended already, is no error."""
        request = self._farewell(client, placed.session) if placed.session is not None else None
        if request is None:
            return
        if _origin(request.url) == _origin(self.url):
            request.headers.update(self._headers)
        try:
            await _ask(client, request)
        except (httpx.HTTPError, OSError):
            pass

    @abstractmethod
    def _farewell(self, client: httpx.AsyncClient, session: httpx.URL) -> httpx.Request | None:
        """Return the request that ends a call."""

    def _failed(self, error: Exception) -> Refused:
        """Tell why nothing was answered."""
        if isinstance(error, httpx.TimeoutException):
            return Refused("timed out", f"no answer from {self.url} in time")
        if isinstance(error, httpx.ConnectError):
            return _unconnected(self.url, error)
        return Refused("broke off", f"{self.url} broke off: {error or type(error).__name__}")

    def _check(self, response: httpx.Response, body: str) -> None:
        """Refuse all but an answer."""
        status = response.status_code
        where = f"{self.url} answered {status} {response.reason_phrase}".rstrip()
        if response.is_redirect:
            other = response.headers.get("Location", "elsewhere")
            raise Refused(f"http {status}", f"{where}: it is at {other}: call there", final=True)
        if not response.is_success:
            hints = {
                401: "; give a key by --key or LOAD_API_KEY",
                403: "; give a key that is allowed to, by --key or LOAD_API_KEY",
                404: "; the path of the endpoint belongs to the URL, as /whip",
                405: "; the path of the endpoint belongs to the URL, as /whip",
            }
            words = _words(response, body)
            message = where + (f": {words}" if words else "") + hints.get(status, "")
            raise Refused(f"http {status}", message, final=status in _FINAL)
        if not body.lstrip().startswith("v=0"):
            what = _kind(response)
            message = (
                f"{where}, with {what} where the SDP answer belongs: is this the URL of a WHIP "
                "endpoint, or of /v1/realtime/calls?"
            )
            raise Refused("no sdp", message, final=True)


class Whip(Door):
    """A WHIP endpoint (RFC 9725): POST, and DELETE in the end."""

    name = "whip"

    def _farewell(self, client: httpx.AsyncClient, session: httpx.URL) -> httpx.Request | None:
        return client.build_request("DELETE", session, timeout=_PATIENCE)


class Realtime(Door):
    """The Realtime API's calls: POST, and a POST to the call's ``/hangup`` in the end."""

    name = "realtime"

    def _farewell(self, client: httpx.AsyncClient, session: httpx.URL) -> httpx.Request | None:
        url = session.copy_with(path=f"{session.path.rstrip('/')}/hangup", query=None)
        return client.build_request("POST", url, timeout=_PATIENCE)


DOORS: Final[dict[str, type[Door]]] = {door.name: door for door in (Whip, Realtime)}


def door(url: str, name: str = "auto", key: str = "", headers: Mapping[str, str] = _NONE) -> Door:
    """Return the door at a URL.

    Args:
        url: http or https.
        name: ``whip``, ``realtime``, or ``auto``: told by the path.
        key: A bearer token, or empty.
        headers: Sent with offers and hang-ups.

    Raises:
        UsageError: The URL is none, or does not tell what is there.
    """
    _check_url(url)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("--key", "expected ASCII without blanks")
    if name == "auto":
        name = _named(url)
    if name not in DOORS:
        raise UsageError("--door", f"expected auto, {' or '.join(DOORS)}; got {name}")
    return DOORS[name](url, key, headers)


def headers(lines: Iterable[str]) -> dict[str, str]:
    """Read headers, each as ``Name: value``.

    Raises:
        UsageError: One is none.
    """
    found: dict[str, str] = {}
    for line in lines:
        if (header := _HEADER.fullmatch(line)) is None:
            raise UsageError("--header", f"expected one as 'Name: value', got {line!r}")
        found[header[1]] = header[2]
    return found


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.hostname and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        raise UsageError("URL", f"{url!r} is none; expected one as {_example('')}") from None
    if parts.scheme not in {"http", "https"} or not fine:
        # "localhost:8080/whip" has the scheme "localhost", as far as a parser can tell.
        host = url if "://" not in url else url.partition("://")[2]
        hint = _example(host.lstrip("/"))
        raise UsageError("URL", f"expected http:// or https:// in front, as {hint}")
    if "@" in parts.netloc:
        raise UsageError("URL", "expected no user or password in it; a key is given by --key")


def _example(rest: str) -> str:
    return f"http://{rest or 'localhost:8080/whip'}"


def _named(url: str) -> str:
    segments = [segment for segment in urlsplit(url).path.lower().split("/") if segment]
    if "realtime" in segments:
        return Realtime.name
    if any("whip" in segment for segment in segments):
        return Whip.name
    if not segments:
        base = url.split("?")[0].rstrip("/")
        problem = f"names no endpoint; expected {base}/v1/realtime/calls or {base}/whip"
        raise UsageError("URL", problem)
    raise UsageError("URL", "does not tell what is there: add --door whip or --door realtime")


async def _ask(client: httpx.AsyncClient, request: httpx.Request) -> tuple[httpx.Response, str]:
    """Send a request, follow it where it is sent on with its body, and read what is answered."""
    for _ in range(_MAX_MOVES):
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            moved = response.next_request if response.status_code in {307, 308} else None
            if moved is None:
                return response, await _read(response)
        finally:
            await response.aclose()
        request = moved
    raise httpx.TooManyRedirects("it sends requests on again and again", request=request)


async def _read(response: httpx.Response) -> str:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _MAX_ANSWER:
            break
    return body[:_MAX_ANSWER].decode(errors="replace")


def _unconnected(url: httpx.URL, error: httpx.ConnectError) -> Refused:
    """Tell why there is no connection, from what lies under httpx's error."""
    where = f"{url.host}:{url.port or {'https': 443}.get(url.scheme, 80)}"
    causes = list(_causes(error))
    for below in causes:
        if isinstance(below, ssl.SSLCertVerificationError):
            message = f"{where} has a certificate that is not trusted ({below.verify_message})"
            return Refused("tls", f"{message}; --insecure takes it all the same", final=True)
        if isinstance(below, ssl.SSLError):
            message = f"{where} does not speak TLS: expected http:// in the URL?"
            return Refused("tls", message, final=True)
        if isinstance(below, socket.gaierror):
            message = f"there is no host {url.host}: check the name in the URL"
            return Refused("unreachable", message, final=True)
    if any(isinstance(below, ConnectionRefusedError) for below in causes):
        message = f"nobody listens at {where}: start the server, or check the port"
        return Refused("refused", message, final=True)
    return Refused("unreachable", f"{where} cannot be reached: {error}", final=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came of."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one)
    below = error.__cause__ or error.__context__
    if below is not None:
        yield from _causes(below)


def _words(response: httpx.Response, body: str) -> str:
    """Return what a refusal says, in one line."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict):
        error = told.get("error", told.get("detail", told.get("message")))
        text = error.get("message") if isinstance(error, dict) else error
        body = text if isinstance(text, str) else json.dumps(told)
    elif "html" in response.headers.get("Content-Type", ""):
        return "with a web page"
    line = " ".join("".join(c if c.isprintable() else " " for c in body).split())
    return line if len(line) <= _MAX_WORDS else f"{line[:_MAX_WORDS]}…"


def _kind(response: httpx.Response) -> str:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if "html" in kind:
        return "a web page"
    return kind[:60] if kind.isprintable() and kind else "nothing"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
