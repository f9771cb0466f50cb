"""What breaks in mid-call, and how it is mended afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firsthop.bench.world.deployment import Deployment
from firsthop.bench.world.redis import Redis
from firsthop.bench.world.world import World

NONE: Final = "nothing broken"
REDIS: Final = "Redis of steering killed"
EDGE: Final = "edge killed"
LINK: Final = "edge ↔ cluster relay cut"
BOTH_LINKS: Final = "edge ↔ all cluster relays cut"
RELAY: Final = "cluster relay killed"
REGION: Final = "cluster's region gone"
#: In the order in which they are run: what takes longest to mend comes last.
IN_MID_CALL: Final = (NONE, EDGE, LINK, BOTH_LINKS, RELAY, REDIS)
ALL: Final = (*IN_MID_CALL, REGION)


@dataclass(frozen=True)
class Fault:
    """Something that breaks."""

    name: str
    happen: Callable[[], None]
    mend: Callable[[], None]


def faults(
    world: World,
    deployment: Deployment,
    redis: Redis,
    user: str,
    cluster: str,
) -> dict[str, Fault]:
    """Return all faults of calls from one region to the cluster of another."""
    edge, relay = deployment.edges[user], deployment.cluster_relays[cluster][0]
    at_edge, of_cluster = f"{user}.edge", f"{cluster}.cluster"
    first = world.address(of_cluster)

    def start_edge() -> None:
        edge.start()
        edge.wait()

    def start_relay() -> None:
        relay.start()
        relay.wait()

    made = (
        Fault(NONE, _nothing, _nothing),
        Fault(EDGE, edge.kill, start_edge),
        Fault(LINK, lambda: world.cut(at_edge, first), lambda: world.mend(at_edge, first)),
        Fault(
            BOTH_LINKS,
            lambda: world.cut(at_edge, of_cluster),
            lambda: world.mend(at_edge, of_cluster),
        ),
        Fault(RELAY, relay.kill, start_relay),
        Fault(REDIS, redis.kill, redis.start),
        Fault(REGION, lambda: world.kill(cluster), lambda: world.revive(cluster)),
    )
    return {fault.name: fault for fault in made}


def _nothing() -> None:
    pass
