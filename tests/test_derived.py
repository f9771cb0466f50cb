"""Keys for one purpose each."""

from __future__ import annotations

import os

from firsthop.derived import derived


def test_the_key_of_one_purpose_is_not_that_of_another() -> None:
    master = os.urandom(32)
    assert derived(master, "one") != derived(master, "another")
    assert derived(master, "one", 64)[:32] == derived(master, "one")
