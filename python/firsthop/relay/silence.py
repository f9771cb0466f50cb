"""When has nothing been forwarded for so long that nobody seems to be there any more?"""

from __future__ import annotations


class Silence:
    """Looks at a counter of packets from time to time.

    Args:
        seconds: How long it has to stand still.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._packets: int | None = None

    def lasts(self, now: float, packets: int | None) -> bool:
        """Take what is counted at `now`, in seconds; return whether it has stood still so long.

        Args:
            now: By a clock that only goes forward.
            packets: Packets so far; None: nobody can say now, which is no silence.
        """
        if self._since is None or packets is None or packets != self._packets:
            self._since, self._packets = now, packets
        return packets is not None and now - self._since >= self._seconds
