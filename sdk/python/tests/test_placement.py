"""Which jobs a worker gets, and how it leaves when an operator says so."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import tidegate
from conftest import Dev
from played import LEASE, Gateway, playing


def _says(name: str) -> Callable[[Any], str]:
    return lambda payload: name


def test_a_job_that_asks_for_labels_comes_to_the_worker_that_has_them() -> None:
    async def main() -> None:
        plain, labelled = tidegate.Worker(), tidegate.Worker(labels={"zone": "eu"})
        for worker, name in ((plain, "plain"), (labelled, "labelled")):
            worker.capability("look")(_says(name))
        async with plain.running(), labelled.running(), tidegate.Client(tenant="acme") as client:
            for select, who in (({"zone": "eu"}, "labelled"), ({"zone": False}, "plain")):
                for _ in range(3):
                    job = await client.submit(topic="job.demo.look", capability="look", select=select)
                    assert await job.result(60) == who

    asyncio.run(main())


def test_a_worker_that_an_operator_drains_ends_what_it_runs_and_then_itself(dev: Dev) -> None:
    begun, go_on = threading.Event(), threading.Event()

    async def main() -> None:
        worker = tidegate.Worker(concurrency=2, labels={"for": "leaving"})

        @worker.capability("leave")
        def leave(payload: Any) -> str:
            begun.set()
            assert go_on.wait(60)
            return "done"

        serving = asyncio.create_task(worker.serve())
        async with tidegate.Client(tenant="acme") as client:
            job = await client.submit(topic="job.demo.leave", capability="leave")
            assert await asyncio.to_thread(begun.wait, 60)
            listed = await asyncio.to_thread(dev.cli, "workers", "list", "--output", "json")
            workers = json.loads(listed.stdout.splitlines()[-1])["workers"]
            name = next(one["worker"] for one in workers if one.get("labels") == {"for": "leaving"})
            told = await asyncio.to_thread(dev.cli, "workers", "drain", name)
            assert told.returncode == 0, told.stdout + told.stderr
            async with asyncio.timeout(60):
                while not worker.told_to_leave:
                    await asyncio.sleep(0.02)
            go_on.set()
            assert await job.result(60) == "done"
            await asyncio.wait_for(serving, 60)
        assert (await asyncio.to_thread(dev.cli, "workers", "uncordon", name)).returncode == 0

    asyncio.run(main())


class Leaving(Gateway):
    """Says with heartbeats alone that the worker is to leave."""

    def answer(self, verb: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if verb == "lease" and not self.leased:
            self.leased = True
            return 200, {"leases": [{**LEASE, "heartbeat_ms": 50}]}
        if verb == "heartbeat":
            return 200, {"state": "held", "term_ms": 30_000, "drain": True}
        return super().answer(verb, body)


def test_a_worker_that_asks_for_no_job_hears_from_its_heartbeats_that_it_is_to_leave() -> None:
    with playing(deaf=0, kind=Leaving) as gateway:

        async def main() -> None:
            worker = tidegate.Worker(url=gateway.url, key="key", concurrency=1)

            @worker.capability("dig")
            async def dig(payload: int) -> int:
                async with asyncio.timeout(60):
                    while not worker.told_to_leave:
                        await asyncio.sleep(0.01)
                return payload

            # Until it ends by itself, with the job that it had.
            await asyncio.wait_for(worker.serve(), 60)

        asyncio.run(main())
        assert gateway.said == [("complete", 200)]
