"""Callers of one endpoint, from the first offer to the last hang-up."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final

import httpx

from firsthop._native import CallerReport, Callers
from firsthop.addresses import own_address
from firsthop.authorities import authorities
from firsthop.load import moving
from firsthop.load import sound as sounds
from firsthop.load.call import Call, Client
from firsthop.load.doors import Door, Refused
from firsthop.load.errors import LoadError, UsageError
from firsthop.load.measured import Instant, Measured, Moment
from firsthop.load.moving import Moves
from firsthop.load.own import OwnWatch
from firsthop.load.placing import Placing
from firsthop.load.sound import Sound
from firsthop.tasks import cancel

MAX_CALLERS: Final = 20_000
#: Requests under way at once.
_REQUESTS: Final = 64
#: Files and sockets that are no callers'.
_OTHER_FILES: Final = _REQUESTS + 192
_TICK_S: Final = 0.25
_INSTANT_S: Final = 1.0
#: Set-ups that are shown while it goes on.
_LATELY: Final = 1_000


class Load:
    """N calls to one endpoint: ramped up, held, measured, hung up.

    A call that the server asks to go on elsewhere does so, and is one call.

    All in one::

        measured = await Load(door("http://localhost:8080/whip"), callers=100).run(seconds=30)

    or step by step, to look at the server meanwhile::

        async with Load(door(url), callers=100) as load:
            await load.ramp_up()
            load.measure()
            await load.hold(30)
            measured = load.measured()

    Leaving hangs up all calls. One object is good for one load.

    Args:
        door: Where calls are placed, and how.
        callers: How many, up to `MAX_CALLERS`.
        rate: How many are begun per second.
        sound: What they say in a loop; None: syllables that are made here.
        talks: Whether they say it; otherwise they send no audio.
        listeners: How many of them decode what they hear, to time the marks' echoes.
        threads: Of the clients, for media.
        local: The IP address that they send from; None: the one from which the endpoint's host is
            reached.
        channel: Label of the data channel; None: there is none.
        insecure: Whether any TLS certificate is taken.
        probe: Whether the first call goes ahead alone, and its final refusal ends the load at once.
        watch: Told how things stand, four times a second.

    Raises:
        UsageError: An argument is out of range, or `local` is no address of this machine.
        LoadError: There is no way to the endpoint.
    """

    def __init__(
        self,
        door: Door,
        *,
        callers: int = 100,
        rate: float = 20.0,
        sound: Sound | None = None,
        talks: bool = True,
        listeners: int = 20,
        threads: int = 1,
        local: str | None = None,
        channel: str | None = "oai-events",
        insecure: bool = False,
        probe: bool = True,
        watch: Callable[[Moment], None] | None = None,
    ) -> None:
        _check(callers, rate, threads)
        self._door = door
        self._asked = callers
        self._rate = rate
        self._sound = sound or sounds.built_in()
        self._talks = talks
        #: Evenly spread over all calls.
        self._listeners = min(listeners, callers) if talks and self._sound.marks else 0
        self._probe = probe
        self._watch = watch
        self._insecure = insecure
        local = local or _local_address(door.url)
        _check_local(local)
        _make_room(callers)
        self._callers = Callers(
            local=local,
            threads=threads,
            sound=self._sound.packets,
            marks=self._sound.marks,
            channel=channel,
            wanted=moving.WANTED,
        )
        self._calls: list[Call] = []
        #: The call that a client belongs to.
        self._call_of: dict[int, Call] = {}
        self._failures: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        #: What became of calls, as it goes on.
        self._placed = self._refusals = self._connected = self._dropped = 0
        self._setup_ms: list[float] = []
        self._instants: list[Instant] = []
        self._measuring_since: float | None = None
        self._ramp_s = 0.0
        self._stop = asyncio.Event()
        self._slots = asyncio.Semaphore(_REQUESTS)
        self._own = OwnWatch()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def callers(self) -> Callers:
        """The clients themselves."""
        return self._callers

    async def run(self, seconds: float) -> Measured:
        """Ramp up, hold the calls for `seconds`, hang up, and return what was found.

        Raises:
            LoadError: The first call was refused for good.
        """
        async with self:
            await self.ramp_up()
            self.measure()
            await self.hold(seconds)
            return self.measured()

    def end_early(self) -> None:
        """Begin no more calls, and hold those that are there no longer."""
        self._stop.set()

    async def __aenter__(self) -> Load:
        limits = httpx.Limits(max_connections=_REQUESTS, max_keepalive_connections=_REQUESTS)
        # A proxy would be measured too, and takes no UDP.
        self._http = httpx.AsyncClient(
            verify=False if self._insecure else authorities(),
            limits=limits,
            trust_env=False,
            follow_redirects=False,
        )
        self._began, self._began_unix = time.monotonic(), time.time()
        self._placing = Placing(self._callers, self._door, self._http, talks=self._talks)
        self._moves = Moves(self._callers, self._call_of, self._placing, self._began)
        self._before = self._moment()
        self._tasks = [asyncio.create_task(self._observe()), asyncio.create_task(self._own.run())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await cancel(*self._tasks)
        await self._moves.cancel()
        try:
            await self._hang_up()
        finally:
            await self._http.aclose()
            self._callers.stop()

    async def ramp_up(self) -> None:
        """Begin all calls at the rate, and wait until each is connected or has failed.

        Raises:
            LoadError: The first call was refused for good.
        """
        began = time.monotonic()
        first = 0
        if self._probe:
            refused = await self._place(0)
            if refused is not None and refused.final:
                raise LoadError(refused.message)
            first = 1
        ramp = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(first, self._asked):
                await self._until(ramp + (number - first) / self._rate)
                await self._slots.acquire()
                if self._stop.is_set():
                    self._slots.release()
                    break
                group.create_task(self._place_in_slot(number))
        self._ramp_s = time.monotonic() - began
        while not self._stop.is_set() and not all(call.settled for call in self._calls):
            self._settle()
            await self._until(time.monotonic() + _TICK_S / 5)

    def measure(self) -> None:
        """Begin to measure media: all counts start anew."""
        self._callers.measure()
        for call in self._calls:
            call.left.clear()
        self._own.restart()
        self._measuring_since = time.monotonic()

    async def hold(self, seconds: float) -> None:
        """Let the calls go on, until the end, `end_early`, or none is left."""
        end = time.monotonic() + seconds
        while not self._stop.is_set() and (now := time.monotonic()) < end:
            await self._until(min(now + _TICK_S, end))
            totals = self._callers.totals()
            moves = any(call.moving for call in self._calls)
            if totals["connected"] + totals["connecting"] == 0 and not moves:
                break
        self._note()

    def measured(self) -> Measured:
        """Return what was found until now. Calls are still there."""
        now = time.monotonic()
        since = self._measuring_since or now
        totals, gaps = self._callers.totals(), self._callers.gaps()
        stages: dict[str, list[float]] = {}
        failures, dropped, examples = Counter[str](), Counter[str](), dict(self._examples)
        reports: list[CallerReport] = []
        stood = unfinished = 0
        for call in self._calls:
            if call.client is None:
                unfinished += call.cause is None
                failures.update([call.cause] if call.cause else [])
                continue
            report = self._callers.call(call.client.caller)
            reports += [*call.left, report]
            reached = call.stages_ms(report)
            for stage, took_ms in reached.items():
                stages.setdefault(stage, []).append(took_ms)
            cause = call.cause or (None if call.moving else call.client.cause(report))
            if cause is not None:
                failures[cause] += 1
                dropped.update([cause] if "connected" in reached else [])
            elif call.moving or report.state == "connected":
                stood += 1
            else:
                unfinished += 1
        lively = [report for report in reports if report.received]
        trips = [report.round_trip_ms for report in reports if report.round_trip_ms is not None]
        return Measured(
            url=str(self._door.url),
            door=self._door.name,
            asked=self._asked,
            rate=self._rate,
            talks=self._talks,
            started=len(self._calls),
            stood=stood,
            unfinished=unfinished,
            failures=dict(failures.most_common()),
            dropped=dict(dropped.most_common()),
            examples=examples,
            ramp_s=self._ramp_s,
            seconds=now - since,
            ended_early=self._stop.is_set(),
            stages_ms=stages,
            totals=totals,
            gaps=gaps,
            jitter_ms=[report.jitter_ms for report in lively],
            round_trip_ms=trips,
            delays_ms=[delay for report in reports for delay in report.delays_ms],
            marks_missed=sum(report.marks_missed for report in reports),
            listeners=self._listeners,
            moves=tuple(self._moves.made),
            moves_failed=dict(self._moves.failures.most_common()),
            move_examples=dict(self._moves.examples),
            began=self._began_unix,
            instants=tuple(self._instants),
            own=self._own.seen(totals),
        )

    async def _place_in_slot(self, number: int) -> None:
        try:
            await self._place(number)
        finally:
            self._slots.release()

    async def _place(self, number: int) -> Refused | None:
        """Place a call; the refusal, if it is one."""
        call = Call(listens=self._is_listener(number))
        self._calls.append(call)
        try:
            client = await self._placing.place(listens=call.listens)
        except Refused as refused:
            call.cause = refused.cause
            call.settled = True
            self._refusals += 1
            self._failures[refused.cause] += 1
            self._examples.setdefault(refused.cause, refused.message)
            return refused
        call.client, call.answer_ms = client, client.answer_ms
        self._call_of[client.caller] = call
        self._placed += 1
        return None

    def _is_listener(self, number: int) -> bool:
        return (number + 1) * self._listeners // self._asked > (
            number * self._listeners // self._asked
        )

    def _settle(self) -> None:
        """Notice which calls are connected, or will not be."""
        for call in self._calls:
            if call.settled or call.client is None:
                continue
            report = self._callers.call(call.client.caller)
            in_all_ms = call.stages_ms(report).get("in all")
            call.cause = None if in_all_ms is not None else call.client.cause(report)
            call.settled = in_all_ms is not None or call.cause is not None
            if call.cause is not None:
                self._failures[call.cause] += 1
            elif in_all_ms is not None:
                self._connected += 1
                self._setup_ms.append(in_all_ms)
                del self._setup_ms[:-_LATELY]

    def _notice_drops(self) -> None:
        """Notice which calls were connected and are over."""
        for caller, cause in self._callers.over():
            call = self._call_of.get(caller)
            # One that moves has a client more: what comes of that decides.
            if call is None or not call.settled or call.cause is not None or call.moving:
                continue
            call.cause = cause
            self._dropped += 1
            self._failures[cause] += 1

    async def _observe(self) -> None:
        """Follow what the server asks for, tell how things stand, and note it every second."""
        due = 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            self._moves.follow()
            self._settle()
            self._notice_drops()
            moment = self._moment()
            if self._watch is not None:
                self._watch(moment)
            if moment.at_s >= due:
                self._note()
                due = moment.at_s + _INSTANT_S - _TICK_S / 2

    def _note(self) -> None:
        """Keep an instant of how things stand."""
        self._notice_drops()
        now, before = self._moment(), self._before
        gap_ms = max(self._callers.longest_gap_ms(), self._moves.take_longest_gap_ms())
        self._instants.append(_instant(before, now, gap_ms))
        self._before = now

    def _moment(self) -> Moment:
        totals = self._callers.totals()
        open_calls = [call for call in self._calls if not call.settled]
        asking = sum(call.client is None for call in open_calls)
        return Moment(
            at_s=time.monotonic() - self._began,
            started=len(self._calls),
            asking=asking,
            connecting=len(open_calls) - asking,
            connected=self._connected - self._dropped,
            failures=dict(self._failures),
            sent=totals["sent"],
            received=totals["received"],
            lost=totals["lost"],
            measuring=self._measuring_since is not None,
            setup_ms=tuple(self._setup_ms),
            gaps=self._callers.gaps(),
            unreturned=totals["unreturned"],
            placed=self._placed,
            refused=self._refusals,
            dropped=self._dropped,
            moved=len(self._moves.made),
        )

    async def _until(self, moment: float) -> None:
        """Wait for a moment of `time.monotonic`, or `end_early`."""
        wait = moment - time.monotonic()
        if wait > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)

    async def _hang_up(self) -> None:
        """End all calls."""
        slots = asyncio.Semaphore(_REQUESTS)

        async def end(client: Client) -> None:
            async with slots:
                await self._placing.end(client)

        clients = [client for call in self._calls for client in (call.client, call.next) if client]
        await asyncio.gather(*(end(client) for client in clients))


def _check(callers: int, rate: float, threads: int) -> None:
    if not 1 <= callers <= MAX_CALLERS:
        raise UsageError("--callers", f"expected 1 to {MAX_CALLERS:,}")
    if not 0 < rate <= 10_000:
        raise UsageError("--rate", "expected calls per second, more than 0, up to 10,000")
    if not 1 <= threads <= 256:
        raise UsageError("--threads", "expected 1 to 256")


def _local_address(url: httpx.URL) -> str:
    """Return the address from which a host is reached, IPv4 if it has one."""
    towards = _address_towards(url)
    # A server on this machine mostly names the address that others reach it by, and nothing goes
    # there from loopback; from that address both can be reached.
    own = own_address()
    return own if _is_loopback(towards) and not _is_loopback(own) else towards


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _address_towards(url: httpx.URL) -> str:
    try:
        found = socket.getaddrinfo(url.host, 9, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise LoadError(f"there is no host {url.host}: check the name in the URL") from None
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: the kernel only chooses a route.
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise LoadError(f"no route to {url.host}: {error.strerror}") from None


def _check_local(local: str) -> None:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(local).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((local, 0))
    except ValueError:
        raise UsageError("--local", f"expected an IP address; got {local}") from None
    except OSError as error:
        raise UsageError("--local", f"cannot send from {local}: {error.strerror}") from None


def _make_room(callers: int) -> None:
    """Let this process have a socket for each caller."""
    needed = callers + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        most = max(hard - _OTHER_FILES, 0)
        raise UsageError(
            "--callers", f"each takes a socket, and there are {most:,} (`ulimit -Hn` is {hard:,})"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _instant(before: Moment, now: Moment, longest_gap_ms: float) -> Instant:
    # Counts of media began anew in between.
    anew = before.measuring != now.measuring

    def media(before: int, now: int) -> int:
        return max(now - (0 if anew else before), 0)

    return Instant(
        at_s=now.at_s,
        connecting=now.asking + now.connecting,
        connected=now.connected,
        failed=sum(now.failures.values()),
        received=media(before.received, now.received),
        lost=media(before.lost, now.lost),
        unreturned=media(before.unreturned, now.unreturned),
        placed=now.placed - before.placed,
        refused=now.refused - before.refused,
        dropped=now.dropped - before.dropped,
        moved=now.moved - before.moved,
        longest_gap_ms=longest_gap_ms,
    )
