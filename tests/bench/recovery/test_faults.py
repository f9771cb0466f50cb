"""A whole chain of faults, with real relays and few calls."""

from __future__ import annotations

from pathlib import Path

from firsthop.bench.isolation import Isolation
from firsthop.bench.recovery import faults

CALLS = 4
SECONDS = 0.5
ISOLATION = Isolation(core=0, other_core=None, realtime=False, notes=())


def test_a_chain_tells_of_every_fault_what_both_kinds_of_calls_saw(tmp_path: Path) -> None:
    told: list[str] = []
    seen = list(faults.chain(CALLS, SECONDS, tmp_path, ISOLATION, redis=True, progress=told.append))
    assert len(told) == faults.STEPS[True]
    assert {one.fault for one in seen} == set(faults.ALL)
    assert len(seen) == 2 * len(faults.ALL)
    for one in seen:
        assert one.redis
        assert len(one.up_gaps_ms) == CALLS // 2
        assert len(one.down_gaps_ms) == (CALLS // 2 if one.talking else 0)
        assert one.up_sent > 0
        if one.fault in {faults.NONE, faults.UPGRADE, *faults.REDIS_FAULTS}:
            assert (one.up_lost, one.down_lost) == (0, 0)
        if one.fault == faults.CRASH_WHOLE:
            # It takes Python longer to start than packets are apart: a bench that sees no loss here
            # sees nothing.
            assert one.up_lost > 0
            assert min(one.up_gaps_ms) > 0
