"""The cluster table of a relay, by the fleet file."""

from __future__ import annotations

import structlog

from firsthop.config import ClusterSettings, Settings
from firsthop.errors import ConfigError
from firsthop.fleet.model import Fleet, FleetCluster

log = structlog.get_logger()


def clusters_of(settings: Settings, fleet: Fleet) -> tuple[ClusterSettings, ...]:
    """Return the clusters that a relay with these settings forwards to.

    Its own it reaches itself, all others by their relays. Those for which it has no edge keys, or
    which have no relays, are left out, with a line in the log.

    Raises:
        ConfigError: `relay.cluster` is no cluster of the fleet.
    """
    own = settings.relay.cluster
    if own is not None and fleet.cluster(own) is None:
        have = ", ".join(str(cluster.id) for cluster in fleet.clusters) or "none"
        raise ConfigError("relay.cluster", f"the fleet file has no cluster {own}; it has {have}")
    others = [cluster for cluster in fleet.clusters if cluster.id != own]
    keyless = [cluster.id for cluster in others if cluster.id not in settings.edge_keys]
    closed = [cluster.id for cluster in others if not cluster.relays]
    if keyless or closed:
        log.info("fleet.clusters_left_out", without_edge_keys=keyless, without_relays=closed)
    left_out = {*keyless, *closed}
    return tuple(
        _entry(cluster, direct=cluster.id == own)
        for cluster in fleet.clusters
        if cluster.id not in left_out
    )


def with_fleet(settings: Settings, fleet: Fleet) -> Settings:
    """Return the settings of a relay with the fleet's clusters in place.

    Raises:
        ConfigError: As `clusters_of`.
    """
    changes = {"clusters": clusters_of(settings, fleet)}
    return settings.model_copy(update={"relay": settings.relay.model_copy(update=changes)})


def _entry(cluster: FleetCluster, *, direct: bool) -> ClusterSettings:
    return ClusterSettings(
        id=cluster.id,
        networks=cluster.networks,
        first_port=cluster.first_port,
        last_port=cluster.last_port,
        ipv6_prefix=cluster.ipv6_prefix,
        relays=() if direct else cluster.relays,
    )
