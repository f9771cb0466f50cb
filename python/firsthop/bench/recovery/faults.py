"""One chain of faults: calls that go on all the while, and what was seen of them at each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firsthop.bench.contender import free_endpoint, owners
from firsthop.bench.isolation import Isolation
from firsthop.bench.recovery.cache_server import RedisServer, SlowProxy
from firsthop.bench.recovery.gaps import gaps_ms, losses
from firsthop.bench.recovery.processes import Relay, StandinProcess
from firsthop.bench.recovery.standins import CHECK_NS, Log, Plan, talks

NONE: Final = "no fault"
UPGRADE: Final = "upgrade"
CRASH: Final = "crash, from restart"
CRASH_WHOLE: Final = "crash, in all"
MOVE: Final = "ECMP move"
GARBAGE: Final = "Redis with garbage"
STOPPED: Final = "Redis stopped"
SLOW: Final = "Redis slow (1 s)"
KILLED: Final = "Redis killed"

ALL: Final = (NONE, UPGRADE, CRASH, CRASH_WHOLE, MOVE, GARBAGE, STOPPED, SLOW, KILLED)
REDIS_FAULTS: Final = (GARBAGE, STOPPED, SLOW, KILLED)
#: Reported progress of a chain.
STEPS: Final = {False: 5, True: 9}

_BEFORE_SECONDS = 0.3
_SLOW_SECONDS = 1.0
#: A flow that nobody finds comes back with its client's next check.
_UNTIL_CHECKED_SECONDS = CHECK_NS / 1e9 + 0.5
_NEWCOMERS_PER_SECOND = 50


@dataclass(frozen=True)
class Seen:
    """What calls of one kind saw of a fault."""

    fault: str
    redis: bool
    talking: bool
    """Whether the agent talks; if not, nothing comes down but answers to checks."""
    up_gaps_ms: list[float]
    """Of each call, at the transceiver."""
    down_gaps_ms: list[float]
    """Of each call, at the client; none where the agent is silent."""
    up_lost: int
    up_sent: int
    down_lost: int
    down_sent: int
    late_ms: float
    """How late the stand-ins themselves were at worst."""


def chain(
    calls: int,
    seconds: float,
    folder: Path,
    isolation: Isolation,
    *,
    redis: bool,
    progress: Callable[[str], None],
) -> Iterator[Seen]:
    """Break one thing after the other.

    Args:
        calls: Calls at the same time; in every second one the agent talks.
        seconds: How long each fault is watched, at least.
        folder: For files that nobody needs afterwards.
        isolation: What the stand-ins may have.
        redis: Whether relays share a Redis.
        progress: Told what comes next.

    Raises:
        BenchError: Something does not come up, or an upgrade fails.
    """
    with ExitStack() as stack:
        plan = Plan(
            calls=calls,
            secret=secrets.token_bytes(32),
            owner=owners(1)[0],
            client_port=free_endpoint().port,
            relay=free_endpoint(),
        )
        progress("starting")
        server = proxy = None
        url = "memory"
        if redis:
            server = RedisServer(folder, isolation)
            stack.callback(server.kill)
            server.wait_until_it_answers()
            proxy = SlowProxy(server.endpoint)
            stack.callback(proxy.close)
            url = server.url(server.endpoint)
        relay = Relay("a", plan.relay, plan, folder, isolation, url)
        other = Relay("b", free_endpoint(), plan, folder, isolation, url)
        relays = [relay, other]
        if server and proxy:
            # It has a breaker of its own, which no other fault has opened.
            url = server.url(proxy.endpoint)
            behind_proxy = Relay("c", free_endpoint(), plan, folder, isolation, url)
            relays.append(behind_proxy)
        for one in relays:
            one.launch()
            stack.callback(one.stop)
        for one in relays:
            one.started_ns()
        standins = StandinProcess(plan, isolation)
        stack.callback(standins.stop)
        watch = _Watch(standins, calls, redis)

        progress(NONE)
        watch.settle(relay)
        standins.newcomers(_NEWCOMERS_PER_SECOND)
        yield from watch.around(NONE, lambda: None, seconds)
        standins.newcomers(0)
        progress(MOVE)
        longest = max(seconds, _UNTIL_CHECKED_SECONDS)
        yield from watch.around(MOVE, lambda: standins.move(other.public), longest)
        progress(UPGRADE)
        yield from watch.around(UPGRADE, other.upgrade, seconds)
        progress(CRASH)
        yield from watch.around_crash(other, longest)
        if not (server and proxy):
            return

        standins.newcomers(_NEWCOMERS_PER_SECOND)
        progress(GARBAGE)
        yield from watch.around(GARBAGE, server.fill_with_garbage, seconds)
        progress(STOPPED)
        yield from watch.around(STOPPED, server.pause, seconds)
        server.resume()
        progress(SLOW)
        watch.settle(behind_proxy)
        yield from watch.around(
            SLOW, lambda: setattr(proxy, "delay_seconds", _SLOW_SECONDS), seconds
        )
        progress(KILLED)
        watch.settle(relay)
        yield from watch.around(KILLED, server.kill, seconds)


class _Watch:
    def __init__(self, standins: StandinProcess, calls: int, redis: bool) -> None:
        self._standins = standins
        self._redis = redis
        self._calls = {
            talking: [call for call in range(calls) if talks(call) == talking]
            for talking in (True, False)
        }

    def settle(self, relay: Relay) -> None:
        """Have all calls known to a relay."""
        self._standins.greet(relay.public)
        time.sleep(_BEFORE_SECONDS)

    def around(self, fault: str, act: Callable[[], None], seconds: float) -> Iterator[Seen]:
        """Break something, and yield what calls saw from a while before until `seconds` after."""
        begin = self._begin()
        act()
        log, end = self._end(seconds)
        yield from self._seen(fault, log, begin, end)

    def around_crash(self, relay: Relay, seconds: float) -> Iterator[Seen]:
        """Kill a relay, and yield what calls saw in all, and from its restart on."""
        begin = self._begin()
        restarted = relay.crash()
        log, end = self._end(seconds)
        yield from self._seen(CRASH, log, restarted, end)
        yield from self._seen(CRASH_WHOLE, log, begin, end)

    def _begin(self) -> int:
        self._standins.watch()
        begin = time.time_ns()
        time.sleep(_BEFORE_SECONDS)
        return begin

    def _end(self, seconds: float) -> tuple[Log, int]:
        time.sleep(seconds)
        end = time.time_ns()
        return self._standins.report(), end

    def _seen(self, fault: str, log: Log, begin: int, end: int) -> Iterator[Seen]:
        for talking, calls in self._calls.items():
            up_lost, up_sent = losses(log.up_sent, log.up_seen, calls, begin, end)
            down_lost, down_sent = losses(log.down_sent, log.down_seen, calls, begin, end)
            yield Seen(
                fault=fault,
                redis=self._redis,
                talking=talking,
                up_gaps_ms=gaps_ms(log.up_seen, calls, begin, end),
                down_gaps_ms=gaps_ms(log.down_seen, calls, begin, end) if talking else [],
                up_lost=up_lost,
                up_sent=up_sent,
                down_lost=down_lost,
                down_sent=down_sent,
                late_ms=log.late_ns / 1e6,
            )
