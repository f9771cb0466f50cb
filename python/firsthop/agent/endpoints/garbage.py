"""What the readers of answers raise."""

from __future__ import annotations


class GarbageError(Exception):
    """What came is not what the contract says.

    Args:
        problem: What is wrong with it, as the end of "the language model ...". It quotes nothing
            of what came.
    """


class FailedError(Exception):
    """The server says within its answer that it failed."""
