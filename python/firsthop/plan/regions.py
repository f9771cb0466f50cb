"""The regions file: where users are, where clusters are, and what the plan takes for granted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from firsthop import yamlfile
from firsthop.fleet.model import Location, Name
from firsthop.plan.measurements import Measurement, shipped
from firsthop.yamlfile import problem_at

MAX_REGIONS: Final = 100
#: Shares are written by people, in percent or thirds.
_SHARES_WITHIN: Final = 1e-3

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Prices(_Section):
    """What things cost a month, in a currency of yours. There is no price list: none is given."""

    core: Price | None = None
    """Of a core."""
    gib: Price | None = None
    """Of a GiB of memory."""
    public_gb: Price | None = None
    """Of a GB (10^9 bytes) that leaves for the internet."""
    backbone_gb: Price | None = None
    """Of a GB between regions, once."""


class Region(_Section):
    """A place where users enter the fleet."""

    name: Annotated[Name, Field(max_length=16)]
    location: Location
    """Degrees: latitude, longitude."""
    users: float = Field(ge=0, le=1, allow_inf_nan=False)
    """The share of all users that are nearest to it."""
    cluster: bool = False
    """Whether there are transceivers, or only edge relays."""
    prices: Prices = Prices()
    """What costs something else here than in `prices` of the file."""


class Headroom(_Section):
    """What is bought beyond what is needed on average."""

    utilisation: float = Field(0.6, gt=0, le=1)
    """The share of a core that is used at peak."""
    spare: int = Field(1, ge=0, le=100)
    """Processes beyond those needed, of each kind in each region (N+1)."""
    lose_a_region: bool = True
    """Whether any one region may be lost, and the nearest others carry its load."""


class Sizes(_Section):
    """What processes and calls are like."""

    relay_cores: int = Field(4, ge=1, le=256)
    """Cores of a relay, a worker each."""
    candidates: int = Field(2, ge=1, le=2)
    """Ingresses that an answer names."""
    heartbeat_seconds: float = Field(1.0, ge=0.1, le=60)
    """How often a process tells the fleet's Redis how it is."""


class Own(_Section):
    """A figure of yours in the place of one of ours."""

    value: float = Field(gt=0, allow_inf_nan=False)
    where: str = Field(min_length=1, max_length=80)
    """Where it comes from; it is printed."""


class Regions(_Section):
    """All of the file."""

    regions: tuple[Region, ...] = Field(min_length=1, max_length=MAX_REGIONS)
    """Where users enter."""
    prices: Prices = Prices()
    headroom: Headroom = Headroom()
    sizes: Sizes = Sizes()
    measured: Mapping[str, Own] = Field(default_factory=dict)
    """By the name of the measurement whose place it takes."""

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        first: dict[str, int] = {}
        for place, region in enumerate(self.regions):
            if region.name in first:
                raise problem_at(
                    f"regions.{place}.name",
                    f"{region.name!r} is that of regions.{first[region.name]} already",
                )
            first[region.name] = place
        return self

    @model_validator(mode="after")
    def _shares_are_of_a_whole(self) -> Self:
        whole = sum(region.users for region in self.regions)
        if abs(whole - 1) > _SHARES_WITHIN:
            raise problem_at("regions.*.users", f"they add up to {whole:g}; expected 1")
        return self

    @model_validator(mode="after")
    def _someone_serves(self) -> Self:
        clusters = sum(region.cluster for region in self.regions)
        if clusters == 0:
            raise problem_at("regions.*.cluster", "no region has one; expected it of one at least")
        if self.headroom.lose_a_region and clusters == 1:
            raise problem_at(
                "headroom.lose_a_region",
                "there is one cluster, and nobody carries its load when it is lost; expected a "
                "second one, or false",
            )
        return self

    @model_validator(mode="after")
    def _own_figures_have_a_place(self) -> Self:
        for name in self.measured:
            if name not in shipped().measurements:
                have = ", ".join(shipped().measurements)
                raise problem_at(f"measured.{name}", f"no such measurement; there are {have}")
        return self

    def measurements(self) -> dict[str, Measurement]:
        """Return all measurements, those of this file in the place of ours."""
        ours = dict(shipped().measurements)
        for name, own in self.measured.items():
            ours[name] = Measurement(
                value=own.value,
                unit=ours[name].unit,
                what=ours[name].what,
                kind="yours",
                where=own.where,
            )
        return ours


def read(path: Path) -> Regions:
    """Read a regions file.

    Raises:
        ConfigError: Names the path, and the first place that is wrong.
    """
    return yamlfile.read_as(path, Regions, "regions, as docs/planning.md has them")
