"""Settings that change while a part runs: what the settings file and the fleet file say now.

Keys and the table of clusters are taken over at once; of other settings the log says that they need
a restart. What is wrong changes nothing: one line says what it is, and the old settings stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import BaseModel

from firsthop.config import Settings, load
from firsthop.errors import ConfigError, OverloadedError
from firsthop.fleet import file as fleet_file
from firsthop.fleet.clusters import with_fleet
from firsthop.fleet.file import WatchedFile
from firsthop.fleet.model import Fleet

log = structlog.get_logger()

#: What is taken over without a restart.
RELOADED: Final = (
    "keys",
    "key_id",
    "edge_keys",
    "fleet.keys",
    "fleet.key_id",
    "signaling.secret_keys",
    "signaling.secret_key_id",
    "signaling.api_keys",
    "relay.clusters",
    "relay.edges",
)

Apply = Callable[[Settings], None]


@dataclass(frozen=True)
class Source:
    """Where settings come from: files, if there are any, and the environment as it was at start."""

    paths: Sequence[Path]
    environment: Mapping[str, str]

    def load(self) -> Settings:
        """Read them.

        Raises:
            ConfigError: One is wrong.
        """
        return load(self.paths, self.environment)


class Reloading:
    """Watches the files behind a part's settings from `start` to `stop`.

    Args:
        settings: What the part starts with; they need not be quite what `source` says.
        source: Where they come from; None: nobody changes them.
        relay: Whether the part is a relay, whose clusters are those of the fleet file if one is
            set.

    Raises:
        ConfigError: A file is wrong.
    """

    def __init__(
        self, settings: Settings, source: Source | None = None, *, relay: bool = False
    ) -> None:
        self._running = settings
        self._parts: list[Apply] = []
        self._told: list[str] = []
        self._files: list[WatchedFile[Any]] = []
        self._fleet: Fleet | None = None
        if relay and settings.fleet.file is not None:
            path = Path(settings.fleet.file)
            fleet = WatchedFile(path, fleet_file.read, self._take_fleet)
            self._fleet = fleet.load()
            self._files.append(fleet)
        #: What the files said at the start, and what they said when they were last right.
        self._first = self._last = settings
        if source is not None and source.paths:
            first, *beside = source.paths
            own = WatchedFile(first, lambda _: source.load(), self._take_settings, beside)
            self._first = self._last = own.load()
            self._files.append(own)
        self._reading: asyncio.Task[None] | None = None
        self.settings: Settings = _effective(settings, self._fleet)
        """The settings in effect, with the clusters of the fleet in their place."""

    def tell(self, part: Apply) -> None:
        """Have a part told of changes, after those that were named before.

        Args:
            part: Takes over the settings that `RELOADED` lists, whenever one of them is another.
                Raises `ConfigError`, `ValueError`, `OSError` or `OverloadedError` if it cannot;
                then all are told again, until none does.
        """
        self._parts.append(part)

    def start(self) -> None:
        """Watch, on the running loop; on SIGHUP, read at once."""
        for file in self._files:
            file.start()
        if self._files:
            with contextlib.suppress(ValueError, RuntimeError):  # Not on the main thread.
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._read_now)

    async def stop(self) -> None:
        """Watch no more."""
        if self._files:
            with contextlib.suppress(ValueError, RuntimeError):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        if self._reading is not None:
            await asyncio.wait({self._reading})
        for file in self._files:
            await file.stop()

    async def check(self) -> None:
        """Look at the files now."""
        for file in self._files:
            await file.check()

    def _read_now(self) -> None:
        log.info("settings.read", reason="SIGHUP")
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self.check())

    def _take_fleet(self, fleet: Fleet) -> None:
        self._give(self._running, fleet)
        self._fleet = fleet

    def _take_settings(self, settings: Settings) -> None:
        changed = [name for name in RELOADED if _at(settings, name) != _at(self._last, name)]
        running = self._running
        for name in changed:
            running = _with(running, name.split("."), _at(settings, name))
        if changed:
            # That there is a key to seal under, which parts ask for when they start.
            if self._running.keys:
                running.key_bytes()
            self._give(running, self._fleet)
            log.info("settings.applied", settings=changed)
        self._running, self._last = running, settings
        self._tell_others(settings)

    def _give(self, settings: Settings, fleet: Fleet | None) -> None:
        effective = _effective(settings, fleet)
        try:
            for part in self._parts:
                part(effective)
        except (ValueError, OSError, OverloadedError) as error:
            raise ConfigError("settings", f"cannot be taken over: {error}") from None
        self.settings = effective

    def _tell_others(self, settings: Settings) -> None:
        """Log which settings are others than those that the part was started with."""
        names = [name for name in _differences(self._first, settings) if name not in RELOADED]
        if names and names != self._told:
            log.warning("settings.restart_needed", settings=names)
        self._told = names


def _effective(settings: Settings, fleet: Fleet | None) -> Settings:
    return settings if fleet is None else with_fleet(settings, fleet)


def _at(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _with(model: BaseModel, path: list[str], value: Any) -> Any:
    name, *rest = path
    changed = _with(getattr(model, name), rest, value) if rest else value
    return model.model_copy(update={name: changed})


def _differences(one: BaseModel, other: BaseModel, prefix: str = "") -> Iterator[str]:
    """Name the settings that differ, dotted. Their values are nobody's business."""
    for name in type(one).model_fields:
        before, after = getattr(one, name), getattr(other, name)
        if before == after:
            continue
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _differences(before, after, f"{prefix}{name}.")
        else:
            yield prefix + name
