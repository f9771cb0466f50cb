"""What a benchmark cannot do, as an error that says the way out."""

from __future__ import annotations

from firsthop.errors import FirsthopError


class BenchError(FirsthopError):
    """A benchmark cannot run here, or something that it measures broke."""


class SkippedError(BenchError):
    """One contender cannot run here; the others can."""
