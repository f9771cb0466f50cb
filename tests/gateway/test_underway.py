"""What is on its way is counted, and its end is noticed."""

from __future__ import annotations

import asyncio

import pytest

from firsthop.gateway.underway import UnderWay


async def test_there_is_none_once_the_last_one_is_over_however_it_ends() -> None:
    requests = UnderWay()
    await requests.none()
    with requests:
        with pytest.raises(ValueError, match="refused"), requests:
            assert len(requests) == 2
            raise ValueError("refused")
        assert len(requests) == 1
        none = asyncio.create_task(requests.none())
        await asyncio.sleep(0)
        assert not none.done()
    await none
    assert len(requests) == 0
