"""What processes tell of themselves each second, and how it lies in a store that they share.

All that report of one cluster, or of one ingress point, share one string of slots. A slot is as
long as a sealed beat, and belongs to one process: whoever finds another's in its own takes another.
So what there is of a cluster is one read of a bounded size, whatever the store may hold.

::

    slot    = a value of `firsthop.store.sealed`, or zeros
    content = instance (8) ‖ flags (1: draining) ‖ sessions (4) ‖ capacity (4)

Sessions and capacity that are not known are all ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from firsthop.store.sealed import SKEW, StoreSeal

#: How long a beat is good, in seconds; the next one comes after one.
TTL: Final = 5
#: Processes that can report of one cluster or ingress point.
SLOTS: Final = 1024
_CONTENT: Final = struct.Struct(">8sBII")
_DRAINING: Final = 1
_UNKNOWN: Final = 2**32 - 1


class Place(NamedTuple):
    """Of whom beats tell."""

    part: Literal["cluster", "ingress"]
    id: int
    """The cluster's, or the ingress point's."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What one process tells of itself."""

    place: Place
    sessions: int | None = None
    """Calls that it has now; None: it does not count them."""
    capacity: int | None = None
    """Calls that it can have."""
    draining: bool = False
    """Whether it wants no new ones."""


class Heard(NamedTuple):
    """A beat as it was found."""

    instance: bytes
    """Whose it is: 8 random bytes."""
    written: int
    """When it was made, by the clock of who did, in Unix seconds."""
    beat: Beat

    def is_good(self, unix_seconds: float) -> bool:
        """Whether it may be of now, for all that clocks differ by."""
        return -SKEW <= unix_seconds - self.written <= TTL + SKEW


class BeatSeal:
    """Names strings and seals beats.

    Args:
        masters: 32 bytes by key id.
        key_id: The key to seal under, one of `masters`.
    """

    def __init__(self, masters: Mapping[int, bytes], key_id: int) -> None:
        self._seal = StoreSeal(
            masters,
            key_id,
            purpose="fleet beat",
            prefix="firsthop:fleet:",
            content_bytes=_CONTENT.size,
        )
        self.slot_bytes: Final = self._seal.value_bytes
        #: Takes other keys from now on.
        self.use = self._seal.use

    def name(self, place: Place) -> str:
        """The name of the string in which to report."""
        return self._seal.name(_thing(place))

    def names(self, place: Place) -> list[str]:
        """Every name under which others may report."""
        return self._seal.names(_thing(place))

    def close(self, name: str, instance: bytes, beat: Beat, unix_seconds: float) -> bytes:
        """Return the slot that holds a beat."""
        flags = _DRAINING if beat.draining else 0
        numbers = (_bounded(beat.sessions), _bounded(beat.capacity))
        return self._seal.close(name, _CONTENT.pack(instance, flags, *numbers), unix_seconds)

    def open(self, name: str, place: Place, slot: bytes) -> Heard | None:
        """Return what a slot holds, None if it is not ours."""
        opened = self._seal.open(name, slot)
        if opened is None:
            return None
        instance, flags, sessions, capacity = _CONTENT.unpack(opened.content)
        beat = Beat(place, _known(sessions), _known(capacity), bool(flags & _DRAINING))
        return Heard(instance, opened.written, beat)

    def slots(self, text: bytes) -> Iterator[tuple[int, bytes]]:
        """Return the slots of a string that are in use, with their numbers."""
        size, empty = self.slot_bytes, bytes(self.slot_bytes)
        for number in range(min(len(text) // size, SLOTS)):
            slot = text[number * size : (number + 1) * size]
            if slot != empty:
                yield number, slot


class Roster:
    """Who reports of one place: beats that go on.

    Whether a process still beats is judged by our own clock, from when its last beat was new to us:
    clocks may differ, and who can write to the store can make nobody live on by telling an old beat
    again.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, tuple[Heard, float]] = {}

    def update(self, found: Iterable[Heard], now: float, unix_seconds: float) -> list[Beat]:
        """Take what was found now; return the last beat of each process that lives.

        Args:
            found: What the slots hold.
            now: By a clock that only goes forward, in seconds.
            unix_seconds: The wall clock.
        """
        present = set[bytes]()
        for heard in found:
            present.add(heard.instance)
            known = self._last.get(heard.instance)
            if known is None or heard.written > known[0].written:
                self._last[heard.instance] = (heard, now)
        # What is forgotten is too old to be taken for new once more.
        self._last = {
            instance: (heard, since)
            for instance, (heard, since) in self._last.items()
            if heard.is_good(unix_seconds)
        }
        return [
            heard.beat
            for instance, (heard, since) in self._last.items()
            if instance in present and now - since <= TTL
        ]


def _thing(place: Place) -> bytes:
    return f"{place.part} {place.id}".encode()


def _known(number: int) -> int | None:
    return None if number == _UNKNOWN else number


def _bounded(number: int | None) -> int:
    return _UNKNOWN if number is None else max(0, min(number, _UNKNOWN - 1))
