"""Calls across two regions: through an edge near the caller, whichever relay on their way dies.

Two regions of network namespaces, with everything in them as processes: `firsthop.bench.world`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from e2e import sound
from e2e.caller_page import CallerPage, opened
from e2e.chromium import empty_page
from e2e.processes import COMMAND, environment
from firsthop.bench import chromium
from firsthop.bench.link import Conditions
from firsthop.bench.world.deployment import Deployment
from firsthop.bench.world.places import FRA, SIN, Map
from firsthop.bench.world.services import Service
from firsthop.bench.world.world import World, missing
from firsthop.config import Settings
from firsthop.token import inspect

_problem = missing()
pytestmark = [
    #: A browser wants a core to itself, or what is heard of it stumbles.
    pytest.mark.browser,
    pytest.mark.skipif(_problem is not None, reason=f"no world on this machine: {_problem}"),
]

_OFFER = Path(__file__).parents[1] / "offer.sdp"
_REGIONS = ("fra", "sin")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Yield two regions that are near each other, as regions go."""
    distances = {frozenset(_REGIONS): 20.0}
    near = Map((FRA, SIN), distances, within_ms=1.0, public=lambda ms: Conditions(delay_ms=ms))
    with World(near) as world:
        yield world


@pytest.fixture(scope="module")
def deployment(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Yield a cluster and an edge in each, and a gateway; their logs are checked in the end."""
    folder = tmp_path_factory.mktemp("world")
    everything = Deployment(
        world, folder, clusters={"fra": 2, "sin": 1}, edges=_REGIONS, gateway="sin"
    )
    try:
        everything.start()
        yield everything
    finally:
        everything.stop()
    for log in folder.glob("*.log"):
        text = log.read_text()
        assert "Traceback" not in text and "panicked" not in text, f"{log}:\n{text}"


@asynccontextmanager
async def page_in_sin(
    world: World, deployment: Deployment, server: Service, folder: Path
) -> AsyncIterator[CallerPage]:
    """Run a browser in sin, on a page that comes from the server that it calls."""
    program, url = chromium.program(), deployment.url(server)
    assert program is not None, chromium.MISSING
    async with empty_page(
        folder,
        sound.silence(1),
        program=world.browser("sin.user", program, folder),
        # As a page that comes by HTTPS.
        flags=[f"--unsafely-treat-insecure-origin-as-secure={url}"],
    ) as page:
        await page.set_extra_http_headers(deployment.headers("sin"))
        yield await opened(page, url)


async def ingress(page: CallerPage) -> str:
    """Return where the page sends its media, as ip:port."""
    stats = {entry["id"]: entry for entry in await page.do("stats")}
    [transport] = [entry for entry in stats.values() if entry["type"] == "transport"]
    pair = stats[transport["selectedCandidatePairId"]]
    remote = stats[pair["remoteCandidateId"]]
    return f"{remote['address']}:{remote['port']}"


async def test_a_page_far_from_its_cluster_talks_through_the_edge_near_it(
    world: World, deployment: Deployment, tmp_path: Path
) -> None:
    async with page_in_sin(world, deployment, deployment.transceivers["fra"], tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        assert await ingress(page) == deployment.public("sin")
        answer = await page.get("pc.currentRemoteDescription.sdp")
        candidates = [line for line in answer.splitlines() if line.startswith("a=candidate:")]
        assert [place_of(line) for line in by_priority(candidates)] == [
            deployment.public("sin"),
            deployment.public("fra"),
        ]


async def test_a_call_goes_on_by_the_second_candidate_when_its_edge_dies(
    world: World, deployment: Deployment, tmp_path: Path
) -> None:
    edge = deployment.edges["sin"]
    async with page_in_sin(world, deployment, deployment.transceivers["fra"], tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        edge.kill()
        try:
            await page.do("replaceMicrophone", 700)
            await page.echoes(700)
            assert await ingress(page) == deployment.public("fra")
            assert await page.get("pc.connectionState") == "connected"
        finally:
            edge.start()
            edge.wait()


async def test_a_call_goes_on_when_any_relay_of_its_cluster_dies(
    world: World, deployment: Deployment, tmp_path: Path
) -> None:
    async with page_in_sin(world, deployment, deployment.transceivers["fra"], tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        for relay, hertz in zip(deployment.cluster_relays["fra"], (700, 900), strict=True):
            relay.kill()
            try:
                await page.do("replaceMicrophone", hertz)
                await page.echoes(hertz)
                assert await ingress(page) == deployment.public("sin")
            finally:
                relay.start()
                relay.wait()


def test_the_gateway_places_calls_in_the_cluster_nearest_to_the_caller(
    world: World, deployment: Deployment
) -> None:
    assert deployment.gateway is not None
    gateway = deployment.url(deployment.gateway)
    for region, other in (_REGIONS, _REGIONS[::-1]):
        headers = deployment.headers(region)
        with world.inside(f"{region}.user"), httpx.Client(trust_env=False) as client:
            sdp = {"Content-Type": "application/sdp"}
            placed = client.post(
                f"{gateway}/v1/realtime/calls", headers=headers | sdp, content=_OFFER.read_text()
            )
            assert placed.status_code == 201, placed.text
            ufrag = _line(placed.text, "a=ice-ufrag:")
            settings = Settings(keys={0: deployment.key_of(region).hex()})
            assert inspect(ufrag, settings, datetime.now(UTC)).cluster == deployment.id_of(region)
            first, second = (
                placed.text.index(deployment.public(at).replace(":", " ")) for at in (region, other)
            )
            assert first < second
            # Later requests find the call, wherever it is.
            call = httpx.URL(gateway).join(placed.headers["Location"])
            assert client.post(f"{call}/hangup", headers=headers).status_code == 200


async def test_callers_of_both_regions_lose_nothing_on_their_way_through_the_gateway(
    world: World, deployment: Deployment
) -> None:
    assert deployment.gateway is not None
    url = f"{deployment.url(deployment.gateway)}/v1/realtime/calls"
    ended = await asyncio.gather(*(loading(world, deployment, url, place) for place in _REGIONS))
    for printed in ended:
        found = json.loads(printed)
        assert (found["calls"]["stood"], found["failures"]) == (6, {}), printed
        assert found["media"]["received"] > 0
        assert found["media"]["lost"] == 0


async def loading(world: World, deployment: Deployment, url: str, region: str) -> bytes:
    """Run `firsthop load` as a user of a region does, and return its report."""
    headers = deployment.headers(region).items()
    command = await asyncio.create_subprocess_exec(
        *world.within(f"{region}.user"),
        *(COMMAND, "load", url, "--callers", "6", "--rate", "10", "--seconds", "2", "--json"),
        *(part for name, value in headers for part in ("--header", f"{name}: {value}")),
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await command.communicate()
    return printed


def by_priority(candidates: Iterable[str]) -> list[str]:
    """Return the candidates of an answer, each once, the most preferred first."""
    return sorted(dict.fromkeys(candidates), key=lambda line: -int(line.split()[3]))


def place_of(candidate: str) -> str:
    """Return where a candidate is, as ip:port."""
    return ":".join(candidate.split()[4:6])


def _line(sdp: str, start: str) -> str:
    return next(line for line in sdp.splitlines() if line.startswith(start)).removeprefix(start)
