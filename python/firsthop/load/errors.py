"""What a load test cannot do, as errors that say the way out."""

from __future__ import annotations

from firsthop.errors import FirsthopError


class LoadError(FirsthopError):
    """A load test cannot run: nobody listens, a key is missing, what answers is no endpoint."""


class UsageError(LoadError):
    """It was asked for something that is none: a URL without a scheme, a file without sound.

    Args:
        what: The argument or option that is wrong, as it is written on the command line.
        problem: What is wrong with it, and what would be right.
    """

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what
        self.problem = problem
