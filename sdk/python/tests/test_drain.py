"""Drains, towards a gateway that is slow to understand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import tidegate
from played import Gateway, playing


@pytest.fixture(name="gateway")
def _gateway() -> Iterator[Gateway]:
    with playing(deaf=3) as gateway:
        yield gateway


def test_a_result_that_is_being_reported_when_the_drain_ends_is_reported_until_it_is_understood(gateway: Gateway) -> None:
    async def main() -> None:
        worker = tidegate.Worker(url=gateway.url, key="key", drain_s=0.0)

        @worker.capability("dig")
        async def dig(payload: int) -> int:
            return payload

        async with worker.running():
            # The job has ended and its end was not understood; now the worker is told to stop, with no time to drain.
            assert await asyncio.to_thread(gateway.asked.wait, 30)

    asyncio.run(main())
    assert gateway.said == [("complete", 503)] * 3 + [("complete", 200)]


@pytest.mark.parametrize("in_thread", [False, True])
def test_what_still_runs_when_the_drain_ends_is_stopped_and_goes_back(gateway: Gateway, in_thread: bool) -> None:
    begun, stopped = threading.Event(), threading.Event()

    async def main() -> None:
        worker = tidegate.Worker(url=gateway.url, key="key", drain_s=0.0)

        async def dig(payload: int) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

        def dig_in_thread(payload: int, context: tidegate.Context) -> None:
            begun.set()
            while not context.cancelled:
                stopped.wait(0.01)
            stopped.set()

        worker.capability("dig")(dig_in_thread if in_thread else dig)
        async with worker.running():
            assert await asyncio.to_thread(begun.wait, 30)

    asyncio.run(main())
    assert stopped.wait(30)
    assert gateway.said == [("release", 503)] * 3 + [("release", 200)]
