"""`firsthop bench relay`: what forwarding costs, and what it adds, beside other relays.

Contenders run in turns, in another order each round, so that whatever else the machine does
reaches all of them alike. A first round warms up and is thrown away; a row is the median of the
others. Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from firsthop.bench import isolation, load, machine, trace
from firsthop.bench.benchmark import Benchmark, Progress
from firsthop.bench.contender import Contender, owners, settle
from firsthop.bench.coturn import Coturn
from firsthop.bench.datagrams import BURST, write
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.isolation import Isolation
from firsthop.bench.load import Direction
from firsthop.bench.ours import Firsthop
from firsthop.bench.peers import CMmsg, CSingle, Go, PythonAsyncio
from firsthop.bench.report import Report, Row, Target
from firsthop.bench.rounds import CPU, cost_rows, relative, turns

FLOWS = 1_000
#: The size of table that the targets are about.
MANY_FLOWS = 1_000_000
OWNERS = 10
LATENCY_RATE = 5_000

UP_GRO = "Up, 1 transceiver, receiver with GRO"
UP = "Up, 1 transceiver, receiver without GRO"
UP_MANY_OWNERS = "Up, 10 transceivers"
DOWN = "Down, 1 transceiver"
BOTH = "Up and down, relative to firsthop"
MANY = "Up, a large table against 1,000 flows"
LATENCY = "5,000 packets/s"
IDLE = "Nothing to forward"
MEMORY = "Memory"

P50, P99 = "latency p50", "latency p99"
IDLE_CPU = "CPU"
PER_FLOW, PER_REQUEST = "growth per flow", "growth per spoofed binding request"

_SEED = 20


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    many_flows: int
    packets: int
    """Per round and contender."""
    limit_seconds: float
    """Per round and contender, on a machine that is too busy for all packets."""
    paced_packets: int
    flood_packets: int
    idle_seconds: float


FULL = Scale(
    rounds=9,
    many_flows=MANY_FLOWS,
    packets=200 * BURST,
    limit_seconds=3,
    paced_packets=10_000,
    flood_packets=1_000 * BURST,
    idle_seconds=5,
)
QUICK = Scale(
    rounds=3,
    many_flows=200_000,
    packets=32 * BURST,
    limit_seconds=0.25,
    paced_packets=2_000,
    flood_packets=250 * BURST,
    idle_seconds=1,
)

_ONE_OWNER: tuple[type[Contender], ...] = (CMmsg, Firsthop, CSingle, Go, PythonAsyncio, Coturn)
_MANY_OWNERS: tuple[type[Contender], ...] = (CMmsg, Firsthop, Go)
#: Only firsthop sends what GRO can join: to the others the receiver's end is all the same.
_WITHOUT_GRO = (CMmsg.name, Firsthop.name)
_PACED = (CSingle.name, Firsthop.name, CMmsg.name, Go.name)


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress, if every contender takes part."""
    turns = 2 * len(_ONE_OWNER) + len(_WITHOUT_GRO) + len(_MANY_OWNERS) + len(_PACED) + 2
    starts = len(_ONE_OWNER) + len(_MANY_OWNERS) + 2
    return turns * (scale.rounds + 1) + starts


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Not on this system, or firsthop's own relay or the reference does not run.
    """
    where = isolation.enter()
    report = Report("relay", _about(scale, where), remarks=list(where.notes))
    bench = _Bench(scale, where, folder, report, progress)
    with bench.contenders(_ONE_OWNER, 1) as running:
        bench.cost(UP_GRO, "up", running, gro=True, targets={Firsthop.name: 0.30})
        bench.idle(running)
        without_gro = [contender for contender in running if contender.name in _WITHOUT_GRO]
        bench.cost(UP, "up", without_gro, gro=False, targets={Firsthop.name: 0.45})
        bench.cost(DOWN, "down", running, gro=False, targets={Firsthop.name: 1.00})
        bench.latency(running)
    with bench.contenders(_MANY_OWNERS, OWNERS) as running:
        bench.cost(UP_MANY_OWNERS, "up", running, gro=True, targets={Firsthop.name: 0.60})
    bench.many_flows()
    bench.flood()
    bench.both()
    order = [UP_GRO, DOWN, BOTH, UP_MANY_OWNERS, UP, MANY, LATENCY, IDLE, MEMORY]
    report.rows.sort(key=lambda row: order.index(row.case))
    return report


class _Bench:
    """One run: measures a case at a time, and adds its rows to the report."""

    def __init__(
        self, scale: Scale, where: Isolation, folder: Path, report: Report, progress: Progress
    ) -> None:
        self._scale = scale
        self._where = where
        self._folder = folder
        self._report = report
        self._progress = progress
        self._rng = random.Random(_SEED)

    @contextmanager
    def contenders(
        self, kinds: Sequence[type[Contender]], owner_count: int
    ) -> Iterator[list[Contender]]:
        """Run contenders that know `FLOWS` flows. Those that cannot run here are left out."""
        running: list[Contender] = []
        try:
            for kind in kinds:
                contender = kind(self._where, owners(owner_count), self._folder)
                running.append(contender)
                self._progress(f"starting {contender.name}")
                try:
                    contender.start()
                    contender.teach(FLOWS)
                except BenchError as error:
                    if kind in (CMmsg, Firsthop):
                        raise
                    running.pop().stop()
                    left_out = isinstance(error, SkippedError)
                    reason = str(error) if left_out else f"does not work here: {error}"
                    self._remark(f"{contender.name} left out: {reason}")
            self._settle(running)
            yield running
        finally:
            for contender in running:
                contender.stop()

    def cost(
        self,
        case: str,
        direction: Direction,
        running: Sequence[Contender],
        *,
        gro: bool,
        targets: Mapping[str, float],
    ) -> None:
        """Measure CPU per packet relative to the reference."""
        packets = trace.packets(FLOWS, self._scale.packets, _SEED)

        def measure(contender: Contender, _: int) -> load.Cost:
            return self._solo(contender, direction, packets, gro=gro)

        rows = cost_rows(case, self._turns(case, running), measure)
        for row in relative(rows, CMmsg.name):
            bound = targets.get(row.contender)
            target = None if bound is None else Target("ratio", bound)
            self._report.rows.append(replace(row, target=target))

    def idle(self, running: Sequence[Contender]) -> None:
        """Report what contenders take when nothing comes: it is not in the cost per packet."""
        for contender in running:
            self._report.rows.append(
                Row.of_rounds(IDLE, contender.name, IDLE_CPU, "µs/s", [contender.idle_ns / 1000])
            )

    def many_flows(self) -> None:
        """Measure what a large table costs: CPU per packet, and memory."""
        count = self._scale.many_flows
        few = Firsthop(self._where, owners(1), self._folder, name=f"firsthop, {FLOWS:,}")
        many = Firsthop(
            self._where,
            owners(1),
            self._folder,
            name=f"firsthop, {count:,}",
            flow_capacity=count + count // 10,
        )
        flows = {few.name: FLOWS, many.name: count}
        # A smaller table is easier per packet, and dearer per flow: neither proves anything.
        full = count == MANY_FLOWS
        missing = "" if full else f"; the target is for {MANY_FLOWS:,}: measure without --quick"
        try:
            for contender in (few, many):
                contender.start()
                contender.teach(FLOWS)
            # Whatever a large table takes before there are flows in it counts as well.
            before = min(few.resident_bytes(), many.resident_bytes())
            self._progress(f"learning {count:,} flows")
            many.teach(count)
            self._settle((few, many))
            self.idle((many,))
            per_flow = (many.resident_bytes() - before) / (count - FLOWS)
            self._report.rows.append(
                replace(
                    Row.of_rounds(MEMORY, "firsthop", PER_FLOW, "B", [per_flow]),
                    target=Target("value", 80) if full else None,
                    note=f"resident, from {FLOWS:,} to {count:,} flows{missing}",
                )
            )

            def measure(contender: Contender, turn: int) -> load.Cost:
                # Other flows each turn, so that none is in a cache from the turn before.
                packets = trace.packets(flows[contender.name], self._scale.packets, turn)
                return self._solo(contender, "up", packets, gro=True)

            rows = cost_rows(MANY, self._turns(MANY, (few, many)), measure)
            for row in relative(rows, few.name):
                if row.contender == many.name:
                    target = Target("ratio", 1.3) if full else None
                    row = replace(row, target=target, note=f"{row.note}{missing}".strip("; "))
                self._report.rows.append(row)
        finally:
            few.stop()
            many.stop()

    def flood(self) -> None:
        """Flood a relay with first binding requests of strangers: it must remember nothing."""
        contender = Firsthop(self._where, owners(1), self._folder)
        self._progress("flood of binding requests")
        try:
            contender.start()
            requests = contender.binding_requests(self._scale.flood_packets)
            path = write(self._folder / "flood", requests)
            # The first ones warm up whatever does not grow with their number.
            warm = max(BURST, self._scale.flood_packets // 10)
            self._run_solo(contender, "up", path, warm, gro=True, limit_seconds=20)
            before = contender.resident_bytes()
            seen = self._run_solo(
                contender, "up", path, self._scale.flood_packets, gro=True, limit_seconds=20
            )
            growth = max(0, contender.resident_bytes() - before) / seen.sent
        finally:
            contender.stop()
        note = f"{seen.sent:,} sources, each with a valid token of its own"
        self._report.rows.append(
            replace(
                Row.of_rounds(MEMORY, "firsthop", PER_REQUEST, "B", [growth]),
                target=Target("value", 1),
                note=f"{note}; {seen.lost:,} lost" if seen.lost else note,
            )
        )

    def latency(self, running: Sequence[Contender]) -> None:
        """Measure how long packets take at a light load."""
        if self._where.other_core is None:
            self._remark("no latency on a machine with one core: load would be in the way")
            return
        packets = trace.packets(FLOWS, self._scale.paced_packets, _SEED)
        paced = [contender for contender in running if contender.name in _PACED]
        rounds: dict[str, list[load.Latency]] = defaultdict(list)
        for turn, contender in self._turns(LATENCY, paced):
            path = write(self._folder / "paced", contender.up(packets))
            with self._undisturbed(contender):
                seen = load.pace(
                    self._where,
                    owner=contender.owners[0],
                    framing=contender.framing,
                    datagrams=path,
                    rate=LATENCY_RATE,
                    packets=self._scale.paced_packets,
                )
            if turn > 0:
                rounds[contender.name].append(seen)
        for metric in (P50, P99):
            rows = []
            for contender in paced:
                seen_all = rounds[contender.name]
                figures = [
                    (seen.p50_ns if metric == P50 else seen.p99_ns) / 1000 for seen in seen_all
                ]
                lost = sum(seen.sent - seen.received for seen in seen_all)
                row = Row.of_rounds(LATENCY, contender.name, metric, "µs", figures)
                rows.append(replace(row, note=f"{lost} lost" if lost else ""))
            for row in relative(rows, CSingle.name):
                ours = row.contender == Firsthop.name and metric == P99
                target = Target("ratio", 1.1) if ours else None
                self._report.rows.append(replace(row, target=target))

    def both(self) -> None:
        """Add up and down, relative to firsthop: what a packet each way costs others."""
        rows = []
        targets = {Go.name: 2.5, Coturn.name: 3.0}
        for kind in _ONE_OWNER:
            up = self._report.row(UP_GRO, kind.name, CPU)
            down = self._report.row(DOWN, kind.name, CPU)
            if up is None or down is None:
                continue
            rows.append(
                Row(
                    case=BOTH,
                    contender=kind.name,
                    metric=CPU,
                    value=up.value + down.value,
                    unit="ns",
                    low=up.low + down.low,
                    high=up.high + down.high,
                    note=up.note,
                    unfit=up.unfit or down.unfit,
                )
            )
        for row in relative(rows, Firsthop.name):
            bound = targets.get(row.contender)
            target = None if bound is None else Target("ratio", bound, at_least=True)
            self._report.rows.append(replace(row, target=target))

    def _settle(self, running: Sequence[Contender]) -> None:
        for contender in settle(running, self._scale.idle_seconds):
            self._remark(
                f"{contender.name} was busy before anything was sent, and did not settle: "
                f"{contender.idle_ns / 1e6:.0f} ms of CPU time per second"
            )

    def _turns(self, case: str, running: Sequence[Contender]) -> Iterator[tuple[int, Contender]]:
        for turn, contender in turns(running, self._scale.rounds, self._rng):
            self._progress(f"{case}: {contender.name}")
            yield turn, contender

    def _solo(
        self,
        contender: Contender,
        direction: Direction,
        packets: Sequence[trace.Packet],
        *,
        gro: bool,
    ) -> load.Cost:
        # Made anew each time: hop headers are good for half a minute.
        sends = contender.up(packets) if direction == "up" else contender.down(packets)
        path = write(self._folder / "datagrams", sends)
        limit = self._scale.limit_seconds
        return self._run_solo(
            contender, direction, path, len(packets), gro=gro, limit_seconds=limit
        )

    def _run_solo(
        self,
        contender: Contender,
        direction: Direction,
        path: Path,
        packets: int,
        *,
        gro: bool,
        limit_seconds: float,
    ) -> load.Cost:
        return load.solo(
            self._where,
            pid=contender.pid,
            idle_ns=contender.idle_ns,
            direction=direction,
            owners=contender.owners,
            framing=contender.framing,
            gro=gro,
            datagrams=path,
            packets=packets,
            limit_seconds=limit_seconds,
        )

    @contextmanager
    def _undisturbed(self, contender: Contender) -> Iterator[None]:
        """Keep the work of neighbours out of a relay's wake-ups."""
        if self._where.realtime:
            isolation.set_realtime(contender.pid, on=True)
        try:
            yield
        finally:
            if self._where.realtime:
                isolation.set_realtime(contender.pid, on=False)

    def _remark(self, text: str) -> None:
        if text not in self._report.remarks:
            self._report.remarks.append(text)


def _about(scale: Scale, where: Isolation) -> dict[str, str]:
    versions = {
        "C compiler": machine.version_of("cc", "--version"),
        "Go": machine.version_of("go", "version"),
        "coturn": machine.version_of("turnserver", "--version"),
    }
    priority = "real-time while it queues, idle while the relay drains"
    if not where.realtime:
        priority = "ordinary, relays nicer"
    opus = trace.opus_sizes()
    return {
        **machine.about(),
        **{name: version for name, version in versions.items() if version is not None},
        "packets": f"SRTP with Opus of speech, on average {sum(opus) / len(opus):.0f} bytes and 22",
        "method": "CPU time of the relay process (schedstat) per packet that arrived, less what it "
        f"takes when idle; bursts of {BURST}; generator and sink are one thread on the relay's "
        f"core, its priority {priority}; medians of {scale.rounds} rounds in turns, after one to "
        "warm up",
    }


BENCHMARK: Final = Benchmark(
    title="The relay beside others: each panel relative to its reference, 1 (less is better)",
    full=FULL,
    quick=QUICK,
    steps=steps,
    run=run,
)
