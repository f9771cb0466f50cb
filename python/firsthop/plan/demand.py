"""How many sessions there are: what is asked for, and what has to be assumed to know it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from firsthop.errors import ConfigError

MAX_WEEKLY_USERS: Final = 8_000_000_000
MAX_SESSIONS: Final = 1_000_000_000
_MINUTES_PER_WEEK: Final = 7 * 24 * 60

Media = Literal["pcm", "opus"]


@dataclass(frozen=True)
class Input:
    """A number that nobody measured: somebody gave it, or it is assumed."""

    value: float | None
    """None: nobody has given it, and it cannot be assumed."""
    unit: str
    what: str
    given: bool
    """Whether by who asks; assumed, otherwise."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a fleet is for.

    Either `sessions` or `weekly_users` is given.

    Raises:
        ConfigError: Names the option that is wrong.
    """

    sessions: float | None = None
    """At the same time, at peak."""
    weekly_users: float | None = None
    minutes_per_week: float | None = None
    """Of each user."""
    peak_to_mean: float | None = None
    """Sessions at the busiest time of a week, to their mean."""
    call_minutes: float | None = None
    """How long a call lasts, on average."""
    agent_speaks: float | None = None
    """The share of a call's time in which the agent does; callers send all the time."""
    media: Media = "pcm"
    """Whether agents are handed sound, or Opus as it is."""

    def __post_init__(self) -> None:
        if (self.sessions is None) == (self.weekly_users is None):
            raise ConfigError("--sessions", "expected either --sessions or --weekly-users")
        if self.weekly_users is None and self.minutes_per_week is not None:
            raise ConfigError("--minutes-per-week", "has no meaning without --weekly-users")
        _within("--sessions", self.sessions, 1, MAX_SESSIONS)
        _within("--weekly-users", self.weekly_users, 1, MAX_WEEKLY_USERS)
        _within("--minutes-per-week", self.minutes_per_week, 0.01, _MINUTES_PER_WEEK)
        _within("--peak-to-mean", self.peak_to_mean, 1, 100)
        _within("--call-minutes", self.call_minutes, 0.05, 24 * 60)
        _within("--agent-speaks", self.agent_speaks, 0, 1)
        if self.media not in ("pcm", "opus"):
            raise ConfigError("--media", f"{self.media!r}: expected pcm or opus")

    def inputs(self) -> dict[str, Input]:
        """Return all that was given or assumed, by name."""
        inputs = {}
        if self.sessions is not None:
            inputs["sessions"] = Input(self.sessions, "sessions", "at the same time, at peak", True)
        if self.weekly_users is not None:
            inputs["weekly_users"] = Input(self.weekly_users, "users", "that call in a week", True)
            inputs["minutes_per_week"] = _or(
                self.minutes_per_week, 10, "min", "of calls of a user in a week"
            )
        inputs["peak_to_mean"] = _or(
            self.peak_to_mean, 3, "", "sessions at the busiest time, to their mean"
        )
        inputs["call_minutes"] = _or(self.call_minutes, 5, "min", "mean length of a call")
        inputs["agent_speaks"] = _or(
            self.agent_speaks, 0.5, "", "share of a call in which the agent sends; callers always"
        )
        return inputs

    def peak_sessions(self) -> float:
        """Return how many sessions there are at the busiest time."""
        if self.sessions is not None:
            return self.sessions
        inputs = self.inputs()
        peak = 1 / _MINUTES_PER_WEEK
        for name in ("weekly_users", "minutes_per_week", "peak_to_mean"):
            peak *= inputs[name].value or 0.0
        return peak


def _or(value: float | None, otherwise: float, unit: str, what: str) -> Input:
    return Input(otherwise if value is None else value, unit, what, value is not None)


def _within(option: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(option, f"{value:g}: expected {low:g} to {high:,.10g}")
