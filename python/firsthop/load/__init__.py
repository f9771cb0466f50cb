"""A load tool for voice calls: N WebRTC clients, a ramp, and a report of what they saw.

`firsthop load` is made of it, and so are benchmarks::

    from firsthop.load import Load, door

    measured = await Load(door("http://localhost:8080/whip"), callers=100).run(seconds=30)
"""

from firsthop.load.doors import Door, Placed, Refused, door
from firsthop.load.errors import LoadError, UsageError
from firsthop.load.measured import Measured, Moment, gap_percentile, percentile
from firsthop.load.own import Own
from firsthop.load.ramp import Load
from firsthop.load.sound import Sound, marked

__all__ = [
    "Door",
    "Load",
    "LoadError",
    "Measured",
    "Moment",
    "Own",
    "Placed",
    "Refused",
    "Sound",
    "UsageError",
    "door",
    "gap_percentile",
    "marked",
    "percentile",
]
