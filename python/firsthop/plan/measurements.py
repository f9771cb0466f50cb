"""What was measured, and where: the figures that every plan begins with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

Kind = Literal["measured", "stated", "defined", "not measured", "yours"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bench(_Entry):
    """A run of a benchmark, whose rows stand in ``docs/benchmarks.md``."""

    section: str
    date: str
    machine: str


class Measurement(_Entry):
    """One figure, and the place where it can be looked up."""

    value: float | None
    """None: nobody has measured it."""
    unit: str
    what: str
    kind: Kind
    bench: str | None = None
    table: str | None = None
    """Its heading; empty where a section has one table."""
    line: str | None = None
    column: str | None = None
    part: int = 0
    """Which of the figures of its cell."""
    page: str | None = None
    quote: str | None = None
    """What the page says."""
    setting: str | None = None
    """The setting whose default it is."""
    where: str | None = None
    """How whoever gave it describes where it comes from."""

    @model_validator(mode="after")
    def _known_where_not_known(self) -> Self:
        if (self.value is None) != (self.kind == "not measured"):
            raise ValueError("expected a value, or the kind `not measured`")
        return self

    def source(self, benches: Mapping[str, Bench]) -> str:
        """Return where it comes from, for people."""
        if self.where is not None:
            return f"given: {self.where}"
        if self.value is None:
            return "not measured"
        if self.bench is not None:
            row = ", ".join(part for part in (self.table, self.line) if part)
            return f"measured: bench {self.bench}, {benches[self.bench].date[:10]}: {row}"
        how = "defined" if self.kind == "defined" else "measured"
        if self.setting is not None:
            return f"{how}: default of {self.setting}"
        return f"{how}: {self.page}" if self.page else how


class Measurements(_Entry):
    """All of them."""

    benches: Mapping[str, Bench]
    measurements: Mapping[str, Measurement]

    def value(self, name: str) -> float:
        """Return one that was measured."""
        value = self.measurements[name].value
        assert value is not None, f"{name} is not measured"
        return value


@cache
def shipped() -> Measurements:
    """Return those that come with the package."""
    text = resources.files(__package__).joinpath("measurements.yaml").read_text(encoding="utf-8")
    return Measurements.model_validate(yaml.safe_load(text))
