"""Which cache the settings name."""

from __future__ import annotations

import pytest

from firsthop import flowcache
from firsthop.config import FlowCacheSettings, RelaySettings, Settings
from firsthop.errors import ConfigError
from firsthop.flowcache.redis import RedisFlowCache

KEY = "ab" * 32


def settings(url: str | None = None, **more: object) -> Settings:
    cache = FlowCacheSettings() if url is None else FlowCacheSettings(url=url)
    return Settings.model_validate({"relay": RelaySettings(flow_cache=cache), **more})


def count(amount: int) -> None:
    """Count nothing."""


def test_by_default_flows_are_kept_in_the_tables_of_this_process_alone() -> None:
    assert flowcache.load(settings(), count) is None


@pytest.mark.parametrize(
    "url", ["redis://192.0.2.1", "rediss://me:secret@cache.example:6380/2?ssl_ca_certs=/none.pem"]
)
async def test_redis_is_one_setting_and_not_asked_before_it_is_needed(url: str) -> None:
    cache = flowcache.load(settings(url, keys={0: KEY}), count)
    assert isinstance(cache, RedisFlowCache)
    await cache.close()


def test_redis_needs_a_key_to_seal_with() -> None:
    with pytest.raises(ConfigError, match="firsthop key"):
        flowcache.load(settings("redis://192.0.2.1"), count)
