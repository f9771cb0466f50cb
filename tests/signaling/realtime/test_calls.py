"""The HTTP side, through the real application; with calls of the test's own, or the real engine."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.backends.echo import EchoBackend
from firsthop.config import Settings, TransceiverSettings
from firsthop.errors import OfferError, OverloadedError
from firsthop.signaling.http import MAX_BODY_BYTES
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.service import TransceiverService
from signaling.edge import CALLS, OFFER, Edge, client_of, refusal

ORIGIN = "https://app.example"


@pytest.fixture
def edge() -> Edge:
    return Edge()


def multipart(*parts: tuple[str, str, str | None]) -> bytes:
    """Return a form, each part of which may have a content type of its own."""
    lines = []
    for name, content, content_type in parts:
        lines += ["--seam", f'Content-Disposition: form-data; name="{name}"']
        lines += [f"Content-Type: {content_type}"] if content_type else []
        lines += ["", content]
    return "\r\n".join([*lines, "--seam--", ""]).encode()


FORM = "multipart/form-data; boundary=seam"
SESSION = json.dumps({"type": "realtime", "model": "any"})
FILES = (
    b'--seam\r\nContent-Disposition: form-data; name="sdp"; filename="blob"\r\n'
    b"Content-Type: application/sdp\r\n\r\n" + OFFER.encode() + b"\r\n--seam--\r\n"
)

# Offers.


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/sdp", OFFER.encode()),
        ("Application/SDP; charset=utf-8", OFFER.encode()),
        ("text/plain;charset=UTF-8", OFFER.encode()),
        (None, OFFER.encode()),
        (FORM, multipart(("sdp", OFFER, None))),
        (FORM, multipart(("sdp", OFFER, None), ("session", SESSION, None))),
        (
            FORM,
            multipart(("session", SESSION, "application/json"), ("sdp", OFFER, "application/sdp")),
        ),
        (FORM, FILES),
        ("application/json", json.dumps({"sdp": OFFER, "session": {}}).encode()),
        ("application/json", json.dumps({"sdp": OFFER, "model": "any"}).encode()),
    ],
    ids=[
        "raw",
        "raw with parameters",
        "text",
        "untyped",
        "plain part",
        "plain parts",
        "typed parts",
        "file",
        "JSON with session",
        "JSON with model",
    ],
)
async def test_an_offer_in_every_form_is_answered(
    edge: Edge, content_type: str | None, body: bytes
) -> None:
    response = await edge.post(body, content_type)
    assert response.status_code == 201
    assert response.text == "v=0\r\ns=an answer\r\n"
    assert response.headers["content-type"].partition(";")[0] == "application/sdp"
    assert response.headers["location"] == "/v1/realtime/calls/rtc_42"
    assert edge.calls.offers == [OFFER]


async def test_an_offer_may_name_a_model(edge: Edge) -> None:
    response = await edge.post(OFFER, "application/sdp", f"{CALLS}?model=gpt-realtime")
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("content_type", "body", "code", "param"),
    [
        ("application/json", b"{", "invalid_json", "body"),
        ("application/json", b"[]", "invalid_json", "body"),
        ("application/json", b"[" * 50_000, "invalid_json", "body"),
        ("application/json", b"{}", "missing_sdp", "sdp"),
        ("application/json", b'{"sdp": 3}', "missing_sdp", "sdp"),
        ("application/json", b'{"sdp": "\\ud800"}', "invalid_encoding", None),
        ("application/json", b'{"sdp": "\xff"}', "invalid_encoding", None),
        ("application/sdp", b"\xff", "invalid_encoding", None),
        (FORM, multipart(("session", "{}", None)), "missing_sdp", "sdp"),
        (FORM, multipart(("sdp", OFFER, None), ("session", "{", None)), "invalid_json", "session"),
        (FORM, multipart(("sdp", OFFER, None), ("session", "3", None)), "invalid_json", "session"),
        (FORM, FILES.replace(b"an offer", b"\xff"), "invalid_encoding", None),
        (FORM, b"no form at all", "invalid_form", None),
        (FORM, multipart(*[(f"part {n}", "", None) for n in range(9)]), "invalid_form", None),
        ("multipart/form-data", multipart(("sdp", OFFER, None)), "invalid_form", None),
    ],
)
async def test_a_request_that_is_wrong_gets_400_and_says_what(
    edge: Edge, content_type: str, body: bytes, code: str, param: str | None
) -> None:
    error = refusal(await edge.post(body, content_type), 400)
    assert (error["code"], error["param"]) == (code, param)
    assert edge.calls.offers == []


async def test_an_offer_that_is_wrong_gets_400_with_the_line(edge: Edge) -> None:
    edge.calls.refusal = OfferError("no m=audio line", 7)
    error = refusal(await edge.post(OFFER, "application/sdp"), 400)
    assert (error["code"], error["param"]) == ("invalid_offer", "sdp")
    assert "line 7" in error["message"]


async def test_another_content_type_gets_415_and_says_which_are_taken(edge: Edge) -> None:
    error = refusal(await edge.post(OFFER, "application/xml"), 415)
    assert error["code"] == "unsupported_media_type"
    assert "application/sdp" in error["message"]


async def test_no_room_gets_503_and_when_to_try_again(edge: Edge) -> None:
    edge.calls.refusal = OverloadedError("all sessions are taken")
    response = await edge.post(OFFER, "application/sdp")
    assert refusal(response, 503)["code"] == "overloaded"
    assert int(response.headers["retry-after"]) > 0


async def test_a_bug_of_ours_gets_500_and_tells_nothing_of_it(edge: Edge) -> None:
    edge.calls.refusal = RuntimeError("secret")
    response = await edge.post(OFFER, "application/sdp")
    assert refusal(response, 500)["code"] == "internal_error"
    assert "secret" not in response.text


@pytest.fixture(scope="module")
def lasting_edge() -> Edge:
    """Return one for hundreds of requests: to make one takes 30 times as long as to ask it."""
    return Edge()


@given(st.binary(max_size=300))
async def test_whatever_a_form_holds_is_answered_or_refused(
    lasting_edge: Edge, body: bytes
) -> None:
    for form in (body, b"--seam\r\n" + body, multipart(("sdp", OFFER, None)) + body):
        response = await lasting_edge.post(form, FORM)
        assert response.status_code in {201, 400}


# Bounds.


async def chunks(total: int, head: bytes = b"") -> AsyncIterator[bytes]:
    yield head
    for begin in range(len(head), total, 1024):
        yield b"x" * min(1024, total - begin)


@pytest.mark.parametrize("content_type", ["application/sdp", "application/json", FORM])
async def test_a_body_that_is_announced_too_large_gets_413(edge: Edge, content_type: str) -> None:
    response = await edge.post(b"x" * (MAX_BODY_BYTES + 1), content_type)
    assert refusal(response, 413)["code"] == "body_too_large"
    assert edge.calls.offers == []


@pytest.mark.parametrize(
    ("content_type", "head"),
    [
        ("application/sdp", b""),
        ("application/json", b'{"sdp": "'),
        (FORM, multipart(("sdp", OFFER, None))),
        (FORM, FILES.partition(b"v=0")[0]),
    ],
    ids=["raw", "JSON", "form", "file in a form"],
)
async def test_a_body_that_grows_too_large_gets_413(
    edge: Edge, content_type: str, head: bytes
) -> None:
    response = await edge.post(chunks(MAX_BODY_BYTES + 1, head), content_type)
    error = refusal(response, 413)
    assert error["code"] == "body_too_large"
    assert str(MAX_BODY_BYTES) in error["message"]
    assert edge.calls.offers == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_of_just_the_largest_size_is_read(edge: Edge, streamed: bool) -> None:
    begin = OFFER.encode()
    body = chunks(MAX_BODY_BYTES, begin) if streamed else begin.ljust(MAX_BODY_BYTES)
    assert (await edge.post(body, "application/sdp")).status_code == 201


# Calls, and what there is besides.


async def test_hanging_up_ends_the_call_with_an_empty_answer(edge: Edge) -> None:
    response = await edge.client.post(f"{CALLS}/rtc_42/hangup")
    assert response.status_code == 200
    assert response.content == b""
    assert edge.calls.hung_up == ["rtc_42"]


async def test_hanging_up_an_unknown_call_gets_404(edge: Edge) -> None:
    error = refusal(await edge.client.post(f"{CALLS}/rtc_0/hangup"), 404)
    assert (error["code"], error["param"]) == ("call_not_found", "call_id")
    assert "rtc_0" in error["message"]


async def test_an_unknown_path_gets_404_and_is_named(edge: Edge) -> None:
    error = refusal(await edge.client.get("/v1/nothing"), 404)
    assert error["code"] == "not_found"
    assert "/v1/nothing" in error["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_wrong_method_gets_405_and_which_is_allowed(edge: Edge, method: str) -> None:
    response = await edge.client.request(method, CALLS)
    assert refusal(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "POST"


async def test_operations_are_served_next_to_it(edge: Edge) -> None:
    assert (await edge.client.get("/healthz")).text == "ok\n"
    metrics = await edge.client.get("/metrics")
    assert b"firsthop_transceiver_interruptions_total 0.0" in metrics.content
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    ready = await edge.client.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "not started")


async def test_the_interface_describes_itself(edge: Edge) -> None:
    paths = (await edge.client.get("/openapi.json")).json()["paths"]
    content = paths[CALLS]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/sdp", "multipart/form-data", "application/json"}


# Other origins.

PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-openai-agents-sdk",
}


async def test_a_page_of_an_allowed_origin_may_call_and_read_the_location() -> None:
    edge = Edge(allowed_origins=[ORIGIN])
    preflight = await edge.client.options(CALLS, headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"].lower()
    for name in ("authorization", "content-type", "x-openai-agents-sdk", "api-key", "if-match"):
        assert name in allowed
    headers = {"Origin": ORIGIN, "Content-Type": "application/sdp"}
    response = await edge.client.post(CALLS, content=OFFER, headers=headers)
    assert response.status_code == 201
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "location" in response.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("body", [b"x" * (MAX_BODY_BYTES + 1), b"\xff"])
async def test_a_page_of_an_allowed_origin_can_read_refusals(body: bytes) -> None:
    edge = Edge(allowed_origins=[ORIGIN])
    headers = {"Origin": ORIGIN, "Content-Type": "application/sdp"}
    response = await edge.client.post(CALLS, content=body, headers=headers)
    assert response.status_code in {400, 413}
    assert response.headers["access-control-allow-origin"] == ORIGIN


async def test_a_page_of_another_origin_may_not_call() -> None:
    edge = Edge(allowed_origins=[ORIGIN])
    preflight = {**PREFLIGHT, "Origin": "https://other.example"}
    response = await edge.client.options(CALLS, headers=preflight)
    assert refusal(response, 403)["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in response.headers


async def test_without_allowed_origins_no_page_elsewhere_may_call(edge: Edge) -> None:
    preflight = await edge.client.options(CALLS, headers=PREFLIGHT)
    headers = {"Origin": ORIGIN, "Content-Type": "application/sdp"}
    response = await edge.client.post(CALLS, content=OFFER, headers=headers)
    for answer in (preflight, response):
        assert refusal(answer, 403)["code"] == "origin_not_allowed"
        assert [name for name in answer.headers if name.startswith("access-control")] == []


# The demo page.


async def test_the_demo_page_and_its_files_have_security_headers(edge: Edge) -> None:
    page = await edge.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    script = await edge.client.get("/demo/client.js")
    assert script.status_code == 200
    for response in (page, script):
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["permissions-policy"] == "microphone=(self)"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


async def test_the_demo_page_loads_nothing_from_elsewhere(edge: Edge) -> None:
    page = (await edge.client.get("/")).text
    for url in ("src=", "href="):
        assert f'{url}"http' not in page
        assert f'{url}"//' not in page


@pytest.mark.parametrize("path", ["/demo/../call.py", "/demo/%2e%2e/call.py", "/demo/nothing.js"])
async def test_the_demo_folder_is_all_that_is_served(edge: Edge, path: str) -> None:
    refusal(await edge.client.get(path), 404)


async def test_without_demo_there_is_no_page() -> None:
    edge = Edge(demo=False)
    refusal(await edge.client.get("/"), 404)
    refusal(await edge.client.get("/demo/client.js"), 404)
    assert (await edge.post(OFFER, "application/sdp")).status_code == 201


# The real engine.

REAL_OFFER = (Path(__file__).parents[2] / "offer.sdp").read_text().replace("\n", "\r\n")


@pytest.fixture
async def service() -> AsyncIterator[TransceiverService]:
    settings = Settings(
        keys={0: os.urandom(32).hex()},
        transceiver=TransceiverSettings(
            listen="127.0.0.1:0",
            advertise=("192.0.2.1:3478",),
            advertise_tcp=("192.0.2.1:443",),
            max_sessions=1,
            loopback=False,
        ),
    )
    service = TransceiverService(settings, Metrics(), EchoBackend())
    await service.prepare()
    service.start()
    yield service
    await service.stop()
    assert len(service.calls) == 0
    assert service.problem() == "not started"


async def test_a_real_offer_is_answered_with_the_addresses_of_the_relay(
    service: TransceiverService,
) -> None:
    client = client_of(service)
    assert (await client.get("/readyz")).json() == {"ready": True}
    headers = {"Content-Type": "application/sdp"}
    response = await client.post(CALLS, content=REAL_OFFER, headers=headers)
    assert response.status_code == 201
    lines = response.text.split("\r\n")
    assert any("192.0.2.1 3478 typ host" in line for line in lines)
    assert any("192.0.2.1 443 typ host tcptype passive" in line for line in lines)
    assert any(line.startswith("a=msid:") for line in lines), "else browsers play nothing"
    ufrag = next(line for line in lines if line.startswith("a=ice-ufrag:"))
    assert len(ufrag.removeprefix("a=ice-ufrag:")) == 32, "it carries the routing token"

    full = await client.post(CALLS, content=REAL_OFFER, headers=headers)
    assert refusal(full, 503)["code"] == "overloaded"
    assert (await client.get("/readyz")).json() == {"ready": False, "reason": "full"}
    assert b"firsthop_transceiver_sessions 1.0" in (await client.get("/metrics")).content

    hung_up = await client.post(f"{response.headers['location']}/hangup")
    assert hung_up.status_code == 200
    await service.calls._none.wait()
    refusal(await client.post(f"{response.headers['location']}/hangup"), 404)
    assert (await client.post(CALLS, content=REAL_OFFER, headers=headers)).status_code == 201


BROKEN: list[Callable[[str], str]] = [
    lambda sdp: "",
    lambda sdp: "hello",
    lambda sdp: sdp.replace("opus", "PCMU"),
    lambda sdp: sdp.replace("m=audio", "m=video"),
    lambda sdp: sdp.replace("a=fingerprint", "a=x-fingerprint"),
    lambda sdp: sdp.replace("a=ice-ufrag", "a=x-ufrag"),
    lambda sdp: sdp * 10,
    lambda sdp: "\x00" + sdp,
    lambda sdp: "é" * 1000,
]


@pytest.mark.parametrize("break_it", BROKEN)
async def test_a_real_offer_that_is_broken_gets_400(
    service: TransceiverService, break_it: Callable[[str], str]
) -> None:
    response = await client_of(service).post(
        CALLS,
        content=break_it(REAL_OFFER).encode(),
        headers={"Content-Type": "application/sdp"},
    )
    error = refusal(response, 400)
    assert (error["code"], error["param"]) == ("invalid_offer", "sdp")
    assert error["message"].startswith("SDP offer: ")


def mutations(sdp: str) -> Iterator[str]:
    """Leave out each line, and double each."""
    lines = sdp.split("\r\n")
    for index in range(len(lines)):
        yield "\r\n".join(lines[:index] + lines[index + 1 :])
        yield "\r\n".join([*lines[:index], lines[index], *lines[index:]])


async def test_an_offer_with_a_line_missing_or_doubled_is_answered_or_refused(
    service: TransceiverService,
) -> None:
    client = client_of(service)
    for offer in mutations(REAL_OFFER):
        response = await client.post(
            CALLS, content=offer.encode(), headers={"Content-Type": "application/sdp"}
        )
        if response.status_code == 201:
            await client.post(f"{response.headers['location']}/hangup")
            await service.calls._none.wait()
        else:
            refusal(response, 400)
