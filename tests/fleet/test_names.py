"""What names stand for, and what stays when nobody says."""

from __future__ import annotations

import asyncio

import pytest

from firsthop.fleet.names import MAX_ADDRESSES, Names


class Resolver:
    """Says what the test wants it to."""

    def __init__(self, *addresses: str) -> None:
        self.answer: list[str] | Exception = list(addresses)
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, name: str) -> list[str]:
        self.asked += 1
        await self.go.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_all_addresses_of_a_name_are_told_once_and_in_an_order_that_stays() -> None:
    names = Names(Resolver("10.0.0.10", "fd00::1", "10.0.0.9", "10.0.0.10"))
    assert await names.addresses("pods", 5) == ("10.0.0.9", "10.0.0.10", "fd00::1")


@pytest.mark.parametrize(
    "answer",
    [OSError("no such name"), UnicodeError("label too long"), ["what?"], []],
    ids=["refused", "no_name", "garbage", "none"],
)
async def test_what_was_said_last_stays_when_a_resolver_fails(
    answer: list[str] | Exception,
) -> None:
    resolver = Resolver("10.0.0.1")
    names = Names(resolver)
    assert await names.addresses("pods", 5) == ("10.0.0.1",)
    resolver.answer = answer
    assert await names.addresses("pods", 5) == ("10.0.0.1",)
    assert await names.addresses("other", 5) == ()
    resolver.answer = ["10.0.0.2"]
    assert await names.addresses("pods", 5) == ("10.0.0.2",)


async def test_a_resolver_that_hangs_is_asked_once_and_its_answer_taken_when_it_comes() -> None:
    resolver = Resolver("10.0.0.1")
    names = Names(resolver)
    resolver.go.clear()
    for _ in range(3):
        assert await names.addresses("pods", 0) == ()
    assert resolver.asked == 1
    resolver.go.set()
    assert await names.addresses("pods", 5) == ("10.0.0.1",)


async def test_closing_waits_for_no_resolver() -> None:
    resolver = Resolver("10.0.0.1")
    names = Names(resolver)
    resolver.go.clear()
    assert await names.addresses("pods", 0) == ()
    await names.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert left == set()


async def test_a_name_has_no_more_addresses_than_can_be_asked() -> None:
    names = Names(Resolver(*(f"10.0.{number // 250}.{number % 250}" for number in range(1000))))
    assert len(await names.addresses("pods", 5)) == MAX_ADDRESSES


async def test_the_system_knows_its_own_name() -> None:
    assert "127.0.0.1" in await Names().addresses("localhost", 5)
