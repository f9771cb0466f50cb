"""What `firsthop steer explain` finds out: arguments and a look at the fleet make a decision."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog
from starlette.datastructures import Headers

from firsthop.config import Settings, load
from firsthop.errors import ConfigError
from firsthop.fleet.observer import Observer
from firsthop.fleet.view import View
from firsthop.signaling.proxies import TrustedProxies, address_in
from firsthop.signaling.steering import contexts
from firsthop.steering.context import Context, location
from firsthop.steering.explain import Explanation, explain
from firsthop.telemetry.metrics import Metrics

#: Who does not answer counts as down when that has happened twice.
_LOOKS: Final = 2
#: Who is connected, if headers say for whom.
_PROXY: Final = ip_address("127.0.0.1")


def asked(
    ip: str | None, place: str | None, headers: list[str], config: Sequence[Path]
) -> Explanation:
    """Return which cluster and ingresses a client would get now, and why.

    Args:
        ip: Its address.
        place: Where it is, as LAT,LON in degrees.
        headers: As a trusted proxy sends them, each ``Name: value``.
        config: YAML files of settings.

    Raises:
        ConfigError: An argument or a setting makes no sense.
    """
    settings = load(config, os.environ)
    if settings.fleet.file is None:
        raise ConfigError("fleet.file", "steering needs one: it tells the clusters and ingresses")
    context = _context(settings, ip, place, headers)
    with _quiet():
        view = asyncio.run(_view(settings))
    return explain(context, view)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Log nothing: what is found out is told at the end, all at once."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _view(settings: Settings) -> View:
    observer = Observer(settings, Metrics())
    try:
        for _ in range(_LOOKS):
            await observer.look()
        return observer.view
    finally:
        await observer.stop()


def _context(settings: Settings, ip: str | None, place: str | None, lines: list[str]) -> Context:
    if ip is not None and address_in(ip) is None:
        raise ConfigError("--ip", f"{ip!r} is no IP address")
    headers = Headers(raw=[_header(line) for line in lines])
    if place is not None:
        found = location(*place.split(",", 1))
        if found is None:
            raise ConfigError("--location", f"{place!r}: expected LAT,LON in degrees, as 50.1,8.7")
        return Context(ip, found, None, "--location")
    if ip is None and (forwarded := headers.getlist("x-forwarded-for")):
        trusted = TrustedProxies((*settings.steering.trusted_proxies, f"{_PROXY}/32"))
        client = trusted.client(_PROXY, forwarded)
        ip = None if client is None else str(client)
    return contexts(settings).of(headers, ip, trusted=True)


def _header(line: str) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip() or not line.isascii():
        raise ConfigError("--header", f'{line!r}: expected "Name: value"')
    return name.strip().lower().encode(), value.strip().encode()
