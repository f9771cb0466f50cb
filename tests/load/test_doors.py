"""Placing calls at a real HTTP server, and what becomes of it when that is none for calls."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from agent.endpoints.listening import listening
from firsthop.load.doors import Door, Placed, Refused, door, headers
from firsthop.load.errors import UsageError

ANSWER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"


@dataclass
class Reply:
    """What is answered to a request."""

    status: str = "201 Created"
    body: str = ANSWER
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body.encode())}", "", self.body]
        return "\r\n".join(lines).encode()


@dataclass
class Server:
    """Answers requests by their path, and remembers them."""

    address: str = ""
    replies: dict[str, Reply] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode().strip().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, path, _ = first.split()
            self.requests.append((f"{method} {path}", headers, body.decode()))
            writer.write(self.replies.get(path, Reply("404 Not Found", "")).raw())
            await writer.drain()

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def door(self, path: str = "/whip", name: str = "auto", key: str = "") -> Door:
        return door(self.url(path), name, key)


@asynccontextmanager
async def serving(**replies: Reply) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    server = Server(replies={f"/{path}": reply for path, reply in replies.items()})

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server.handle(reader, writer)
        except asyncio.IncompleteReadError:
            pass

    async with listening(handle) as server.address, httpx.AsyncClient(trust_env=False) as client:
        yield server, client


async def refusal(reply: Reply) -> Refused:
    async with serving(whip=reply) as (server, client):
        with pytest.raises(Refused) as refused:
            await server.door().place(client, "offer")
    assert "\n" not in refused.value.message
    return refused.value


async def test_a_call_by_whip_is_a_post_and_ends_with_a_delete() -> None:
    created = Reply(headers={"Location": "/whip/17"})
    async with serving(whip=created) as (server, client):
        whip = server.door(key="secret")
        placed = await whip.place(client, "v=0\r\n")
        await whip.hang_up(client, placed)
    assert placed.answer == ANSWER
    (first, headers, body), (second, headers_of_second, _) = server.requests
    assert (first, body) == ("POST /whip", "v=0\r\n")
    assert headers["content-type"] == "application/sdp"
    assert second == "DELETE /whip/17"
    assert headers["authorization"] == headers_of_second["authorization"] == "Bearer secret"


async def test_a_call_by_the_realtime_api_ends_with_a_hangup() -> None:
    server_ = {"v1/realtime/calls": Reply(headers={"Location": "/v1/realtime/calls/rtc_1"})}
    async with serving(**server_) as (server, client):
        realtime = server.door("/v1/realtime/calls")
        await realtime.hang_up(client, await realtime.place(client, "v=0\r\n"))
    assert [request for request, _, _ in server.requests] == [
        "POST /v1/realtime/calls",
        "POST /v1/realtime/calls/rtc_1/hangup",
    ]
    assert "authorization" not in server.requests[0][1]


async def test_a_key_goes_to_no_other_origin() -> None:
    async with serving(s=Reply("200 OK", "")) as (other, client):
        async with serving(whip=Reply(headers={"Location": other.url("/s")})) as (server, _):
            whip = server.door(key="secret")
            await whip.hang_up(client, await whip.place(client, "v=0\r\n"))
        [(request, headers, _)] = other.requests
    assert request == "DELETE /s"
    assert "authorization" not in headers


async def test_a_key_given_with_an_offer_takes_the_place_of_the_doors_own() -> None:
    async with serving(whip=Reply(headers={"Location": "/whip"})) as (server, client):
        whip = door(server.url("/whip"), headers={"authorization": "Basic b3du", "X-Mine": "1"})
        await whip.hang_up(client, await whip.place(client, "v=0\r\n", "ek_1"))
    (_, headers, _), (_, headers_of_second, _) = server.requests
    assert (headers["authorization"], headers["x-mine"]) == ("Bearer ek_1", "1")
    assert headers_of_second["authorization"] == "Basic b3du"


async def test_headers_go_with_offer_and_hang_up() -> None:
    async with serving(whip=Reply(headers={"Location": "/s"}), s=Reply("200 OK", "")) as (
        server,
        client,
    ):
        whip = door(server.url("/whip"), headers=headers(["CF-IPCountry: SG", "X-Empty:"]))
        await whip.hang_up(client, await whip.place(client, "v=0\r\n"))
    assert [request for request, _, _ in server.requests] == ["POST /whip", "DELETE /s"]
    for _, sent, _ in server.requests:
        assert (sent["cf-ipcountry"], sent["x-empty"]) == ("SG", "")


@pytest.mark.parametrize("line", ["", "no colon", ": no name", "a b: c", "a: line\r\nb: c", "ä: b"])
def test_what_is_no_header_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match=r"expected one as 'Name: value'") as refused:
        headers([line])
    assert refused.value.what == "--header"


async def test_an_offer_follows_where_it_is_sent_on() -> None:
    # As WHIP endpoints balance load (RFC 9725 section 4.5).
    moved = Reply("307 Temporary Redirect", "", {"Location": "/other"})
    async with serving(whip=moved, other=Reply(headers={"Location": "s/1"})) as (server, client):
        placed = await server.door().place(client, "v=0\r\n")
        assert placed.session == httpx.URL(server.url("/s/1"))
    assert server.requests[1][2] == "v=0\r\n"


async def test_an_offer_that_is_sent_on_forever_is_refused() -> None:
    refused = await refusal(Reply("307 Temporary Redirect", "", {"Location": "/whip"}))
    assert refused.cause == "broke off"


async def test_without_a_location_there_is_nothing_to_end() -> None:
    async with serving(whip=Reply("200 OK")) as (server, client):
        whip = server.door()
        await whip.hang_up(client, await whip.place(client, "v=0\r\n"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "cause", "words", "final"),
    [
        (Reply("401 Unauthorized", '{"error":{"message":"who?"}}'), "http 401", "who?; give", True),
        (Reply("403 Forbidden", '{"detail":"no"}'), "http 403", "no; give a key", True),
        (Reply("404 Not Found", ""), "http 404", "the path", True),
        (Reply("301 Moved Permanently", "", {"Location": "https://x/"}), "http 301", "https", True),
        (Reply("503 Service Unavailable", "no\nroom"), "http 503", "no room", False),
        (Reply("429 Too Many Requests", "[1]"), "http 429", "[1]", False),
        (
            Reply("200 OK", "<!doctype html>", {"Content-Type": "text/html; charset=utf-8"}),
            "no sdp",
            "with a web page where",
            True,
        ),
        (Reply("200 OK", "{}", {"Content-Type": "application/json"}), "no sdp", "json", True),
        (Reply("200 OK", ""), "no sdp", "nothing", True),
    ],
)
async def test_a_refusal_tells_what_was_said_and_the_way_out(
    reply: Reply, cause: str, words: str, final: bool
) -> None:
    refused = await refusal(reply)
    assert (refused.cause, refused.final) == (cause, final)
    assert words in refused.message


async def test_a_long_refusal_is_told_in_part() -> None:
    refused = await refusal(Reply("500 Internal Server Error", "word " * 100_000))
    assert len(refused.message) < 500
    deep = await refusal(Reply("500 Internal Server Error", "[" * 200_000))
    assert len(deep.message) < 500


async def test_a_port_where_nobody_listens_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(Refused, match=f"nobody listens at {address}") as refused:
                await door(f"http://{address}/whip").place(client, "")
    assert (refused.value.cause, refused.value.final) == ("refused", True)


async def test_a_host_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # A real resolver takes its time where there is no network.
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(Refused, match=r"no host nowhere\.invalid") as refused:
            await door("http://nowhere.invalid/whip").place(client, "")
    assert refused.value.cause == "unreachable"


async def test_http_where_https_is_expected_is_told() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(handle) as address, httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(Refused, match="does not speak TLS") as refused:
            await door(f"https://{address}/whip").place(client, "")
    assert refused.value.cause == "tls"


async def test_a_server_that_hangs_up_is_told_and_is_no_final_answer() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with listening(handle) as address, httpx.AsyncClient(trust_env=False) as client:
        whip = door(f"http://{address}/whip")
        with pytest.raises(Refused, match="broke off") as refused:
            await whip.place(client, "")
        assert not refused.value.final
        # Nor is it an error that a call could not be ended.
        await whip.hang_up(client, Placed("", httpx.URL(f"http://{address}/whip/1")))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://localhost:8080/whip", "whip"),
        ("https://live.example.com/app/whip?stream=1", "whip"),
        ("https://example.com/whip-endpoint/42", "whip"),
        ("http://localhost/v1/realtime/calls", "realtime"),
        ("https://example.com/openai/v1/realtime/calls?model=x", "realtime"),
        ("http://[::1]:8080/v1/realtime", "realtime"),
    ],
)
def test_the_url_tells_the_door(url: str, name: str) -> None:
    assert door(url).name == name


@pytest.mark.parametrize(
    ("arguments", "what", "problem"),
    [
        (("localhost:8080/whip",), "URL", "http://localhost:8080/whip"),
        (("example.com/whip",), "URL", "http://example.com/whip"),
        (("ws://localhost/v1/realtime",), "URL", "http://localhost/v1/realtime"),
        (("http://",), "URL", "expected http"),
        (("http://[::1/whip",), "URL", "is none"),
        (("http://localhost:0/whip",), "URL", "expected http"),
        (("http://me:secret@localhost/whip",), "URL", "--key"),
        (("http://localhost:8080",), "URL", "http://localhost:8080/whip"),
        (("http://localhost:8080/offer",), "URL", "--door"),
        (("http://localhost/whip", "webtransport"), "--door", "auto, whip or realtime"),
        (("http://localhost/whip", "auto", "a b"), "--key", "without blanks"),
    ],
)
def test_what_is_no_door_is_refused_with_the_way_out(
    arguments: tuple[str, str, str], what: str, problem: str
) -> None:
    with pytest.raises(UsageError) as refused:
        door(*arguments)
    assert refused.value.what == what
    assert problem in refused.value.problem
    assert "secret" not in json.dumps(refused.value.problem)
