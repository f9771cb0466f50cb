"""Numbers that know what they rest on: whatever is computed from them knows it too.

A plan is worth what its measurements are. Whoever adds or divides need not keep account of them,
and cannot forget one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """A number, and the names of the measurements and inputs that it was computed from."""

    value: float | None
    """None: something that it rests on was not measured, or not given."""
    rests_on: tuple[str, ...]
    """In the order of their first use, each once."""
    missing: tuple[str, ...] = ()
    """Those of them that have no value, if it has none."""

    @classmethod
    def of(cls, name: str, value: float | None) -> Quantity:
        """Return the number that is called `name`."""
        return cls(value, (name,), () if value is not None else (name,))

    def __add__(self, other: Quantity) -> Quantity:
        """Add."""
        return self._with(other, lambda one, two: one + two)

    def __mul__(self, other: Quantity | float) -> Quantity:
        """Multiply; a plain number is a matter of units. Nothing of an unknown cost is nothing."""
        if not isinstance(other, Quantity):
            return self._as(lambda value: value * other)
        if 0.0 in (self.value, other.value):
            return Quantity(0.0, joined((self, other)))
        return self._with(other, lambda one, two: one * two)

    def __truediv__(self, other: Quantity | float) -> Quantity:
        """Divide; a plain number is a matter of units."""
        if not isinstance(other, Quantity):
            return self._as(lambda value: value / other)
        return self._with(other, lambda one, two: one / two)

    def whole(self) -> Quantity:
        """Return it rounded up: half a machine cannot be had."""
        # What is whole but for the rounding of floats stays what it is.
        return self._as(lambda value: float(math.ceil(round(value, 9))))

    def where(self, condition: Quantity) -> Quantity:
        """Return it where `condition` is more than 0, and 0 elsewhere."""
        if condition.value == 0.0:
            return Quantity(0.0, joined((self, condition)))
        return self._with(condition, lambda one, _: one)

    def _as(self, change: Callable[[float], float]) -> Quantity:
        value = None if self.value is None else change(self.value)
        return Quantity(value, self.rests_on, self.missing)

    def _with(self, other: Quantity, change: Callable[[float, float], float]) -> Quantity:
        known = self.value is not None and other.value is not None
        value = change(self.value, other.value) if known else None  # type: ignore[arg-type]
        return Quantity(value, joined((self, other)), _each_once((*self.missing, *other.missing)))


def most(quantities: Iterable[Quantity]) -> Quantity:
    """Return the largest. It rests on all of them, for any might have been it."""
    return _folded(quantities, max)


def least(quantities: Iterable[Quantity]) -> Quantity:
    """Return the smallest. It rests on all of them, for any might have been it."""
    return _folded(quantities, min)


def total(quantities: Iterable[Quantity]) -> Quantity:
    """Return the sum."""
    return _folded(quantities, sum)


def joined(quantities: Iterable[Quantity]) -> tuple[str, ...]:
    """Return what all of them rest on."""
    return _each_once(name for quantity in quantities for name in quantity.rests_on)


def _folded(quantities: Iterable[Quantity], fold: Callable[[Iterable[float]], float]) -> Quantity:
    each = list(quantities)
    missing = _each_once(name for quantity in each for name in quantity.missing)
    known = [quantity.value for quantity in each if quantity.value is not None]
    value = float(fold(known)) if len(known) == len(each) else None
    return Quantity(value, joined(each), missing)


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
