"""A load tool for voice calls: N WebRTC clients, a ramp, and a report of what they saw.

`firsthop load` is made of it, and so are benchmarks::

    from firsthop.load import Load, door

    measured = await Load(door("http://localhost:8080/whip"), callers=100).run(seconds=30)
"""

from typing import TYPE_CHECKING

from firsthop.lazily import lazily
from firsthop.load.errors import LoadError, UsageError

if TYPE_CHECKING:
    from firsthop.load.doors import Door, Placed, Refused, door
    from firsthop.load.measured import Measured, Moment, gap_percentile, percentile
    from firsthop.load.own import Own
    from firsthop.load.ramp import Load
    from firsthop.load.sound import Sound, marked
else:
    __getattr__ = lazily(
        __name__,
        {
            "Door": "firsthop.load.doors",
            "Load": "firsthop.load.ramp",
            "Measured": "firsthop.load.measured",
            "Moment": "firsthop.load.measured",
            "Own": "firsthop.load.own",
            "Placed": "firsthop.load.doors",
            "Refused": "firsthop.load.doors",
            "Sound": "firsthop.load.sound",
            "door": "firsthop.load.doors",
            "gap_percentile": "firsthop.load.measured",
            "marked": "firsthop.load.sound",
            "percentile": "firsthop.load.measured",
        },
    )

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
