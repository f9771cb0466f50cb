"""The flow cache: which transceiver owns a flow, for a relay that does not know it (any more).

Off the packet path, and only a hint: the data plane checks every owner against the cluster's
networks, and a cache that is empty, slow or wrong costs no known flow anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from firsthop.config import Settings
from firsthop.flowcache.base import FlowCache
from firsthop.flowcache.redis import RedisFlowCache
from firsthop.flowcache.sealed import Seal


def load(settings: Settings, count_garbage: Callable[[int], None]) -> FlowCache | None:
    """Return the cache that the settings name. Connects to nothing yet.

    None for ``memory``: what this process knows is in its flow tables already.

    Args:
        settings: All settings.
        count_garbage: Told how many values were found that no relay of ours can have written.

    Raises:
        ConfigError: The cache is shared, and no keys are set to seal with.
    """
    cache = settings.relay.flow_cache
    if cache.url == "memory":
        return None
    seal = Seal(settings.key_bytes(), settings.key_id, ttl_seconds=cache.ttl_seconds)
    return RedisFlowCache(cache.url, seal, now=time.time, count_garbage=count_garbage)
