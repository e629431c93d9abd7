"""Jobs that act for others: spawned by a handler, or by a governed function that it calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

import tidegate

WIDE = {"capabilities": ["plan", "look", "lead", "follow", "sort"], "topics": ["job.demo.>"]}
"""More than a job hands on by itself."""

followed: list[int] = []


@tidegate.governed(topic="job.demo.follow", capability="follow", timeout=60)
def follow(n: int) -> int:
    followed.append(n)
    return n * 2


@tidegate.governed(topic="job.demo.lead", capability="lead", tenant="acme", timeout=60, scope=WIDE)
def lead(n: int) -> int:
    # Of the tenant of the job that runs, without saying so.
    return follow(n) + 1


@tidegate.governed(topic="job.demo.lead", capability="sort", tenant="acme", timeout=60)
async def sort(n: int) -> str:
    try:
        return str(await asyncio.to_thread(follow, n))
    except tidegate.Denied as denied:
        return denied.reason


def _chain(job: Mapping[str, Any]) -> list[str]:
    return [one["job"] for one in (job.get("delegation") or {}).get("chain", [])]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_job_that_a_handler_spawns_acts_for_it_and_is_of_its_tenant_and_trace(blocking: bool) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    async def main() -> None:
        worker = tidegate.Worker()

        @worker.capability("look")
        async def look(payload: Any, context: tidegate.Context) -> dict[str, Any]:
            return {"chain": _chain(context.job), "tenant": context.job["tenant"], "trace": context.traceparent}

        async with tidegate.Client() as client:
            below: dict[str, Any] = {"topic": "job.demo.look", "capability": "look"}

            if blocking:

                @worker.capability("plan")
                def plan(payload: Any, context: tidegate.Context) -> Any:
                    with tidegate.BlockingClient() as own, context.waiting():
                        return context.spawn(own, **below).result(60)

            else:

                @worker.capability("plan")
                async def plan_async(payload: Any, context: tidegate.Context) -> Any:
                    with context.waiting():
                        return await (await context.spawn(client, **below)).result(60)

            async with worker.running():
                planned: dict[str, Any] = {"topic": "job.demo.plan", "capability": "plan", "tenant": "acme", "scope": WIDE}
                job = await client.submit(traceparent=trace, **planned)
                assert await job.result(60) == {"chain": [job.id], "tenant": "acme", "trace": trace}

    asyncio.run(main())


def test_a_job_that_is_spawned_may_do_no_more_than_the_one_it_acts_for_hands_on() -> None:
    async def main() -> None:
        worker = tidegate.Worker()

        async with tidegate.Client() as client:

            @worker.capability("plan")
            async def plan(payload: Any, context: tidegate.Context) -> str:
                try:
                    await (await context.spawn(client, topic="job.demo.look", capability="look")).result(60)
                except tidegate.Denied as denied:
                    return denied.reason
                return "it ran"

            async with worker.running():
                # By itself it hands on what it does itself.
                job = await client.submit(topic="job.demo.plan", capability="plan", tenant="acme")
                assert "`look`, which was not handed on" in await job.result(60)

    asyncio.run(main())


def test_a_governed_function_that_another_calls_is_judged_for_the_whole_chain() -> None:
    assert (lead(20), follow_of_acme(30)) == (41, 60)
    before = len(followed)
    # The same call from a body that hands on nothing of it: never run.
    assert "`follow`, which was not handed on" in asyncio.run(sort(1))
    assert len(followed) == before


def follow_of_acme(n: int) -> int:
    """Called by nobody's job it is nobody's child."""
    return int(tidegate.governed(topic="job.demo.follow", capability="follow", tenant="acme", timeout=60, serve=False)(_none)(n))


def _none(n: int) -> int:
    raise AssertionError("served elsewhere")


def test_a_child_says_neither_parent_nor_ticket_itself_and_has_none_without_a_ticket() -> None:
    lease: dict[str, Any] = {"job": {"id": "p", "tenant": "t"}, "token": "1.1", "ticket": "proof"}
    context = tidegate.Context(lease, held=None)  # type: ignore[arg-type]
    with tidegate.BlockingClient("http://x", "k") as client:
        for own in ("parent", "parent_ticket"):
            with pytest.raises(tidegate.TidegateError, match=f"`{own}`"):
                context.spawn(client, topic="a", capability="b", **{own: "x"})
        del lease["ticket"]
        with pytest.raises(tidegate.TidegateError, match="without its ticket"):
            tidegate.Context(lease, held=None).spawn(client, topic="a", capability="b")  # type: ignore[arg-type]
