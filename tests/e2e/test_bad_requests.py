"""HTTP requests of every wrong kind: each gets an error that tells what would be right."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from e2e import http
from e2e.processes import Edge, Process
from e2e.waiting import until

OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuv",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuv",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=mid:1",
        "a=sctp-port:5000",
        "",
    ]
)
SDP = {"Content-Type": "application/sdp"}
TEXT_PART = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}'
TYPED_PART = (
    'Content-Disposition: form-data; name="{}"; filename="{}"\r\nContent-Type: {}\r\n\r\n{}'
)
TYPED_FIELD = 'Content-Disposition: form-data; name="{}"\r\nContent-Type: {}\r\n\r\n{}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def transceiver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Process]:
    """Yield one transceiver for all: a refused request must leave it as it was."""
    edge = Edge(tmp_path_factory.mktemp("edge"))
    try:
        yield await edge.transceiver("agents:silent", transceiver__max_sessions=4)
    finally:
        await edge.stop()
    edge.check_logs()


@pytest.fixture
async def client(transceiver: Process) -> AsyncIterator[httpx.AsyncClient]:
    url = f"{transceiver.url}/v1/realtime"
    async with http.client(base_url=url, timeout=30) as client:
        yield client


def form(*parts: str) -> dict[str, Any]:
    body = "".join(f"--seam\r\n{part}\r\n" for part in parts) + "--seam--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=seam"}
    return {"content": body.encode(), "headers": headers}


GOOD = {
    "raw": {"content": OFFER, "headers": SDP},
    "raw, with a charset": {
        "content": OFFER,
        "headers": {"Content-Type": "Application/SDP; charset=utf-8"},
    },
    "plain parts": form(
        TEXT_PART.format("sdp", OFFER), TEXT_PART.format("session", '{"type": "realtime"}')
    ),
    "typed parts": form(
        TYPED_FIELD.format("sdp", "application/sdp", OFFER),
        TYPED_FIELD.format("session", "application/json", '{"type": "realtime"}'),
    ),
    "typed parts with file names": form(
        TYPED_PART.format("sdp", "offer.sdp", "application/sdp", OFFER),
        TYPED_PART.format("session", "session.json", "application/json", "{}"),
    ),
    "JSON": {
        "content": json.dumps({"sdp": OFFER, "session": {"type": "realtime"}}),
        "headers": {"Content-Type": "application/json"},
    },
}


@pytest.mark.parametrize("request_form", GOOD.values(), ids=list(GOOD))
async def test_an_offer_is_taken_in_every_form(
    client: httpx.AsyncClient, request_form: dict[str, Any]
) -> None:
    response = await client.post("/calls", **request_form)
    assert response.status_code == 201, response.text
    assert response.headers["content-type"].startswith("application/sdp")
    assert response.text.startswith("v=0\r\n")
    location = response.headers["location"]
    assert location.startswith("/v1/realtime/calls/rtc_")
    hung_up = await client.post(location.removeprefix("/v1/realtime") + "/hangup")
    assert (hung_up.status_code, hung_up.text) == (200, "")


def without(line: str) -> str:
    return OFFER.replace(line + "\r\n", "")


LINE = {
    "not SDP": ("hello\r\n", 1),
    "another version": (OFFER.replace("v=0", "v=1"), 1),
    "no key": (OFFER.replace("s=-", "nonsense"), 3),
    "a short ufrag": (OFFER.replace("a=ice-ufrag:abcd", "a=ice-ufrag:abc"), 8),
    "a ufrag too long": (OFFER.replace("ufrag:abcd", "ufrag:" + "x" * 200), 8),
    "a short password": (OFFER.replace("pwd:abcdefghijklmnopqrstuv", "pwd:x"), 9),
    "a bad fingerprint": (OFFER.replace("sha-256 AB", "sha-256 XY"), 10),
    "a bad role": (OFFER.replace("actpass", "holdconn"), 11),
    "a bad m-line": (OFFER.replace("m=audio 9", "m=audio nine"), 6),
    "telnet": (OFFER.replace("m=audio 9 UDP/TLS/RTP/SAVPF", "m=text 9 TCP/TELNET"), 6),
}


@pytest.mark.parametrize(("offer", "line"), LINE.values(), ids=list(LINE))
async def test_a_bad_offer_is_refused_by_line(
    client: httpx.AsyncClient, offer: str, line: int
) -> None:
    error = refused(await client.post("/calls", content=offer, headers=SDP), 400)
    assert (error["code"], error["param"]) == ("invalid_offer", "sdp")
    assert f"line {line}:" in error["message"]


MISSING = {
    "empty": ("", "empty"),
    "blank": ("\r\n \r\n", ""),
    "no audio": (OFFER[: OFFER.index("m=audio")] + OFFER[OFFER.index("m=application") :], "audio"),
    "no codec of ours": (OFFER.replace("opus/48000/2", "G722/8000"), "PCMU"),
    "no fingerprint": (without("a=fingerprint:sha-256 " + ":".join(["AB"] * 32)), "fingerprint"),
    "no credentials": (without("a=ice-ufrag:abcd"), "ice-ufrag"),
    "40 KB": (OFFER + "a=x:y\r\n" * 6000, "bytes"),
    "many m-lines": (OFFER + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 10, "m-lines"),
    "cut in the middle": (OFFER[: len(OFFER) // 3], ""),
    "NUL": ("\0" * 100, ""),
    "only v=0": ("v=0\r\n", ""),
}


@pytest.mark.parametrize(("offer", "word"), MISSING.values(), ids=list(MISSING))
async def test_what_an_offer_lacks_is_named(
    client: httpx.AsyncClient, offer: str, word: str
) -> None:
    error = refused(await client.post("/calls", content=offer, headers=SDP), 400)
    assert (error["code"], error["param"]) == ("invalid_offer", "sdp")
    assert word in error["message"]


OTHER = {
    "bytes that are no UTF-8": (
        {"content": b"v=0\r\n\xff\xfe", "headers": SDP},
        400,
        "invalid_encoding",
    ),
    "a form without an offer": (form(TEXT_PART.format("session", "{}")), 400, "missing_sdp"),
    "a form whose session is no JSON": (
        form(TEXT_PART.format("sdp", OFFER), TEXT_PART.format("session", "{")),
        400,
        "invalid_json",
    ),
    "a form whose session is a list": (
        form(TEXT_PART.format("sdp", OFFER), TEXT_PART.format("session", "[]")),
        400,
        "invalid_json",
    ),
    "a form without a boundary": (
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        400,
        "invalid_form",
    ),
    "a form that is garbage": (
        {
            "content": b"\x00" * 500,
            "headers": {"Content-Type": "multipart/form-data; boundary=seam"},
        },
        400,
        "invalid_form",
    ),
    "a form whose offer is no UTF-8": (
        {
            "content": b'--seam\r\nContent-Disposition: form-data; name="sdp"\r\n\r\n'
            b"v=0\xff\xfe\r\n--seam--\r\n",
            "headers": {"Content-Type": "multipart/form-data; boundary=seam"},
        },
        400,
        None,
    ),
    "a form of many parts": (
        form(*(TEXT_PART.format(f"part{number}", "x") for number in range(50))),
        400,
        "invalid_form",
    ),
    "JSON without an offer": (
        {"content": "{}", "headers": {"Content-Type": "application/json"}},
        400,
        "missing_sdp",
    ),
    "JSON with an offer that is no text": (
        {"content": '{"sdp": 7}', "headers": {"Content-Type": "application/json"}},
        400,
        "missing_sdp",
    ),
    "half of a JSON object": (
        {"content": '{"sdp": "v=0', "headers": {"Content-Type": "application/json"}},
        400,
        "invalid_json",
    ),
    "JSON with a lone surrogate": (
        {"content": '{"sdp": "v=0\\ud800"}', "headers": {"Content-Type": "application/json"}},
        400,
        None,
    ),
    "JSON that is deep": (
        {"content": "[" * 50_000, "headers": {"Content-Type": "application/json"}},
        400,
        "invalid_json",
    ),
    "a picture": (
        {"content": b"x", "headers": {"Content-Type": "image/png"}},
        415,
        "unsupported_media_type",
    ),
    "too large": (
        {"content": OFFER + "a=x:y\r\n" * 20_000, "headers": SDP},
        413,
        "body_too_large",
    ),
}


@pytest.mark.parametrize(("request_form", "status", "code"), OTHER.values(), ids=list(OTHER))
async def test_a_bad_request_is_refused_in_one_form(
    client: httpx.AsyncClient, request_form: dict[str, Any], status: int, code: str | None
) -> None:
    error = refused(await client.post("/calls", **request_form), status)
    assert code in (None, error["code"])


async def test_a_body_in_chunks_is_bounded_too(client: httpx.AsyncClient) -> None:
    async def chunks(start: str) -> AsyncIterator[bytes]:
        yield start.encode()
        for _ in range(100):
            yield b"a=x:y\r\n" * 1000

    starts = {
        "application/sdp": "",
        "application/json": '{"sdp": "',
        "multipart/form-data; boundary=seam": "--seam\r\n" + TEXT_PART.format("sdp", ""),
        "multipart/form-data; boundary=edge": "--edge\r\n"
        + TYPED_PART.format("sdp", "offer.sdp", "application/sdp", ""),
    }
    for kind, start in starts.items():
        headers = {"Content-Type": kind}
        response = await client.post("/calls", content=chunks(start), headers=headers)
        assert refused(response, 413)["code"] == "body_too_large", kind


async def test_a_call_that_never_was_cannot_be_hung_up(client: httpx.AsyncClient) -> None:
    for call_id in ("rtc_00000000000000000000000000000000", "x", "%00", "a" * 5000):
        error = refused(await client.post(f"/calls/{call_id}/hangup"), 404)
        assert (error["code"], error["param"]) == ("call_not_found", "call_id")


async def test_other_paths_and_methods_are_refused_in_the_same_form(
    client: httpx.AsyncClient,
) -> None:
    assert refused(await client.get("/nothing"), 404)["code"] == "not_found"
    assert refused(await client.get("/calls"), 405)["code"] == "method_not_allowed"


async def test_a_full_engine_says_when_to_try_again(edge: Edge) -> None:
    process = await edge.transceiver("echo", transceiver__max_sessions=1)
    async with http.client(base_url=process.url) as client:
        first = await client.post("/v1/realtime/calls", content=OFFER, headers=SDP)
        assert first.status_code == 201
        second = await client.post("/v1/realtime/calls", content=OFFER, headers=SDP)
        assert refused(second, 503)["code"] == "overloaded"
        assert int(second.headers["retry-after"]) > 0
        assert (await client.get("/readyz")).status_code == 503
        metrics = await process.metrics()
        assert metrics("signaling_offers_refused_total", code="overloaded") == 1

        assert (await client.post(first.headers["location"] + "/hangup")).status_code == 200

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await until(ready, "there is room again")
        third = await client.post("/v1/realtime/calls", content=OFFER, headers=SDP)
        assert third.status_code == 201


def refused(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check an error's form; return what it says."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"]
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    return error
