"""What a region costs a month, as far as prices are given. None is ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from firsthop.plan.demand import Input
from firsthop.plan.quantity import Quantity, total
from firsthop.plan.regions import Region, Regions
from firsthop.plan.sizing import Basis, Load, Sizing

#: Fields of `Prices`, and what they are the price of.
_PRICES: Final = {
    "core": "of a core, a month",
    "gib": "of a GiB of memory, a month",
    "public_gb": "of a GB to the internet",
    "backbone_gb": "of a GB between regions",
}


def inputs(regions: Regions) -> dict[str, Input]:
    """Return all prices that are given; of others, that they are not."""
    found = {
        f"price.{name}": _input(getattr(regions.prices, name), what)
        for name, what in _PRICES.items()
    }
    for region in regions.regions:
        for name, what in _PRICES.items():
            if getattr(region.prices, name) is not None:
                own = _input(getattr(region.prices, name), f"{what}, in {region.name}")
                found[_own(name, region)] = own
    return found


def costs(
    figures: Mapping[str, Quantity], calm: Load, region: Region, sizing: Sizing
) -> dict[str, Quantity]:
    """Return the cost of a region, by what it is for and in all.

    Traffic is that of a month in which all is well.
    """
    of = {
        "core": figures["cores"],
        "gib": figures["memory"],
        "public_gb": sizing.month_gb(calm.public_out),
        # Each end counts half of what is between two.
        "backbone_gb": sizing.month_gb(calm.backbone) / 2,
    }
    cost = {
        f"cost_{name}": amount * _price(name, region, sizing.basis) for name, amount in of.items()
    }
    return cost | {"cost": total(cost.values())}


def _price(name: str, region: Region, basis: Basis) -> Quantity:
    own = _own(name, region)
    return basis[own if own in basis.inputs else f"price.{name}"]


def _own(name: str, region: Region) -> str:
    return f"price.{name}.{region.name}"


def _input(value: float | None, what: str) -> Input:
    return Input(value, "a month" if what.endswith("month") else "", what, value is not None)
