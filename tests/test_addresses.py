"""The addresses of this machine."""

from __future__ import annotations

from firsthop.addresses import own_address


def test_own_address_is_one_that_a_socket_can_have() -> None:
    assert own_address().count(".") == 3
