"""The clusters of a relay's settings, as the native relay takes them."""

from __future__ import annotations

from firsthop._native import Cluster
from firsthop.config import ClusterSettings, Settings
from firsthop.errors import ConfigError


def native_clusters(settings: Settings) -> list[Cluster]:
    """Give every cluster its keys: masters if this relay reaches it itself, else edge keys.

    Raises:
        ConfigError: There are no keys for a cluster, or not the one to seal with.
    """
    return [_native(cluster, settings) for cluster in settings.relay.clusters]


def _native(cluster: ClusterSettings, settings: Settings) -> Cluster:
    if cluster.relays:
        keys, key_id = _edge_keys(cluster.id, settings)
    else:
        keys, key_id = settings.key_bytes(), settings.key_id
    return Cluster(
        cluster.id,
        networks=cluster.networks,
        first_port=cluster.first_port,
        last_port=cluster.last_port,
        ipv6_prefix=cluster.ipv6_prefix,
        keys=keys,
        key_id=key_id,
        relays=cluster.relays,
    )


def _edge_keys(cluster: int, settings: Settings) -> tuple[dict[int, bytes], int]:
    edge_keys = settings.edge_keys.get(cluster)
    if edge_keys is None:
        raise ConfigError(
            "edge_keys",
            f"there are none for cluster {cluster}, which is behind relays; `firsthop key edge` "
            "prints them, given the cluster's settings",
        )
    return {id_: bytes.fromhex(key) for id_, key in edge_keys.keys.items()}, edge_keys.key_id
