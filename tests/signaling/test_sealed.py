"""Seals: each opens what it closed, and nothing else."""

from __future__ import annotations

import os
from typing import Any

import pytest

from firsthop.config import Settings
from firsthop.signaling.sealed import MAX_SEALED, Seal

KEY = os.urandom(32)
VALUE: dict[str, Any] = {"instructions": "Be kind.", "half a character": "\ud800"}


@pytest.mark.parametrize("prefix", ["", "ek_"])
def test_what_is_sealed_is_opened_with_its_expiry(prefix: str) -> None:
    seal = Seal({0: KEY}, 0, "a purpose", prefix)
    text = seal.close(VALUE, 2_000_000_000)
    assert text.startswith(prefix)
    assert seal.open(text) == (VALUE, 2_000_000_000)


@pytest.mark.parametrize(
    "other",
    [
        Seal({0: KEY}, 0, "another purpose"),
        Seal({0: os.urandom(32)}, 0, "a purpose"),
        Seal({1: KEY}, 1, "a purpose"),
        Seal({0: KEY}, 0, "a purpose", "ek_"),
    ],
    ids=["purpose", "key", "key id", "prefix"],
)
def test_what_is_sealed_for_another_does_not_open(other: Seal) -> None:
    seal = Seal({0: KEY}, 0, "a purpose")
    assert seal.open(other.close(VALUE, 1)) is None
    assert other.open(seal.close(VALUE, 1)) is None


def test_what_is_too_long_or_changed_does_not_open() -> None:
    seal = Seal({0: KEY}, 0, "a purpose")
    text = seal.close(VALUE, 1)
    for changed in (text[:-1], text + "A", text[:-1] + "=", "", "!", text + "\n"):
        assert seal.open(changed) is None
    assert seal.open(seal.close(os.urandom(MAX_SEALED).hex(), 1)) is None


def test_without_keys_a_seal_is_good_for_itself() -> None:
    settings = Settings()
    seal = Seal.of(settings, "a purpose")
    assert seal.open(seal.close(VALUE, 1)) == (VALUE, 1)
    assert Seal.of(settings, "a purpose").open(seal.close(VALUE, 1)) is None
