"""Leases in doubt: the gateway says that it cannot reach its broker, and the worker does as it was told for that case."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import tidegate
from played import LEASE, Gateway, playing


class _CutOff(Gateway):
    """Its broker is away, as the first heartbeat is told, until the test says that it is back."""

    def __init__(self, deaf: int) -> None:
        super().__init__(deaf)
        self.back = threading.Event()
        self.beats = 0

    def answer(self, verb: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if verb == "lease":
            status, said = super().answer(verb, body)
            return status, {"leases": [{**lease, "heartbeat_ms": 20} for lease in said["leases"]]}
        if verb == "heartbeat":
            self.beats += 1
            doubt = {} if self.back.is_set() else {"in_doubt": True}
            return 200, {"state": "held", "term_ms": LEASE["term_ms"], **doubt}
        return super().answer(verb, body)


def test_a_job_whose_lease_is_in_doubt_runs_on_and_sees_it_and_sees_that_it_is_over() -> None:
    seen: list[bool] = []

    async def main(gateway: _CutOff) -> None:
        worker = tidegate.Worker(url=gateway.url, key="key")

        @worker.capability("dig")
        async def dig(payload: int, context: tidegate.Context) -> int:
            seen.append(context.lease_in_doubt)
            for doubt in (True, False):
                while context.lease_in_doubt is not doubt:
                    await asyncio.sleep(0.005)
                seen.append(context.lease_in_doubt)
                gateway.back.set()
            return payload

        async with worker.running():
            assert await asyncio.to_thread(gateway.asked.wait, 30)

    with playing(0, _CutOff) as gateway:
        assert isinstance(gateway, _CutOff)
        asyncio.run(main(gateway))
        assert seen == [False, True, False]
        assert gateway.said == [("complete", 200)]


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_worker_that_cannot_bear_an_overlap_stops_it_and_it_is_to_be_tried_again(in_thread: bool) -> None:
    why: list[str] = []

    async def main(gateway: Gateway) -> None:
        worker = tidegate.Worker(url=gateway.url, key="key", when_unproven="stop")

        async def dig(payload: int) -> None:
            await asyncio.sleep(60)

        def dig_in_thread(payload: int, context: tidegate.Context) -> None:
            while not context.cancelled:
                threading.Event().wait(0.005)
            why.append(context.cancelled)
            raise tidegate.Retryable(context.cancelled)

        worker.capability("dig")(dig_in_thread if in_thread else dig)
        async with worker.running():
            assert await asyncio.to_thread(gateway.asked.wait, 30)

    with playing(0, _CutOff) as gateway:
        asyncio.run(main(gateway))
        assert gateway.said == [("fail", 200)]
        (said,) = gateway.bodies
        assert said["retryable"] is True and "its lease is in doubt" in said["error"]
        assert why == (["its lease is in doubt"] if in_thread else [])


def test_another_word_for_that_case_is_refused() -> None:
    with pytest.raises(ValueError, match="'keep' or 'stop'"):
        tidegate.Worker(when_unproven="halt")  # type: ignore[arg-type]
