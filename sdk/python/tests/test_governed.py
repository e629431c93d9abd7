"""Governed functions, through the real binary; and verdicts no gateway says yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

import tidegate
from conftest import Dev

ran: list[object] = []


@tidegate.governed(topic="job.demo.pay", capability="pay", tenant="acme", actor="agent-7", timeout=30)
def pay(to: str, amount: int = 5) -> str:
    ran.append(amount)
    return f"{to} got {amount}"


@tidegate.governed(topic="job.demo.pay", capability="pay-async", tenant="acme", timeout=30)
async def pay_later(amount: int) -> int:
    ran.append(amount)
    return amount


@tidegate.governed(topic="job.demo.ask", capability="approve", tenant="acme", timeout=30)
def ask(what: str) -> str:
    ran.append(what)
    return what.upper()


@tidegate.governed(topic="job.demo.nest", capability="nest", tenant="acme", timeout=300)
def nest(depth: int) -> int:
    return 1 + nest(depth - 1) if depth else 0


@tidegate.governed(topic="job.demo.nest", capability="nest-async", tenant="acme", timeout=300)
async def nest_later(depth: int) -> int:
    return 1 + await nest_later(depth - 1) if depth else 0


def test_bodies_that_call_governed_functions_keep_no_place_from_them() -> None:
    # More than run at once.
    assert nest(40) == 40
    assert asyncio.run(nest_later(40)) == 40


def test_an_allowed_call_runs_its_body_and_returns_its_value() -> None:
    assert pay("bob", amount=7) == "bob got 7"
    assert pay("eve") == "eve got 5"
    assert asyncio.run(pay_later(3)) == 3


def test_a_denied_call_never_runs_and_says_why_and_what_to_do_instead() -> None:
    for call in (lambda: pay("bob", 101), lambda: asyncio.run(pay_later(amount=102))):
        with pytest.raises(tidegate.Denied) as denied:
            call()
        assert (denied.value.reason, denied.value.rule_id) == ("too much", "not-so-much")
        assert [one.id for one in denied.value.remediations] == ["less"]
        assert denied.value.remediations[0].fields["replacement_topic"] == "job.demo.draft"
    assert not {101, 102} & set(ran)


def test_a_held_call_runs_once_people_have_approved_it(dev: Dev) -> None:
    with pytest.raises(tidegate.Held) as held:
        ask("quietly")
    assert "quietly" not in ran
    approved = dev.cli("approvals", "approve", held.value.approval_ref, "--reason", "looked at it")
    assert approved.returncode == 0, approved.stderr
    with tidegate.BlockingClient(tenant="acme") as client:
        job = tidegate.BlockingJob(client, held.value.approval_ref, "", "acme")
        assert job.result(30, wait_if_held=True) == "QUIETLY"


def test_a_function_whose_arguments_have_no_names_is_refused() -> None:
    with pytest.raises(TypeError, match="have names"):

        @tidegate.governed(topic="job.demo.pay", capability="unserved", tenant="acme")
        def pay_all(*amounts: int) -> None: ...


@pytest.mark.parametrize("state", ["observed", "duplicate", "transmogrified", None])
def test_a_verdict_this_version_does_not_know_counts_as_denied(state: str | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"source": "jobs.raw/0@1", "id": "1"})
        return httpx.Response(200, json={"source": "jobs.raw/0@1", "state": state})

    async def main() -> Any:
        async with tidegate.Client("http://x", "k", tenant="t", transport=httpx.MockTransport(answer)) as client:
            return await (await client.submit(topic="a", capability="b")).result(5)

    with pytest.raises(tidegate.Denied, match="unknown verdict"):
        asyncio.run(main())


@pytest.mark.parametrize("blocking", [True, False])
def test_a_wait_in_short_parts_ends_when_nothing_is_known_of_its_job_for_a_minute(
    blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, known = 1000.0, False

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"source": "jobs.raw/0@1", "state": "running"}) if known else httpx.Response(404)

    def part() -> None:
        transport = httpx.MockTransport(answer)
        if blocking:
            with tidegate.BlockingClient("http://x", "k", tenant="t", transport=transport) as client:
                one._client = client
                one.result(0)
        else:

            async def main() -> None:
                async with tidegate.Client("http://x", "k", tenant="t", transport=transport) as client:
                    other._client = client
                    await other.result(0)

            asyncio.run(main())

    monkeypatch.setattr("tidegate._client.time", SimpleNamespace(monotonic=lambda: now))
    one = tidegate.BlockingJob(cast(Any, None), "jobs.raw/0@1", "1", "t")
    other = tidegate.Job(cast(Any, None), "jobs.raw/0@1", "1", "t")
    for at, known in [(0, False), (50, False), (59, True), (61, False), (120, False)]:
        now = 1000.0 + at
        with pytest.raises(tidegate.NotFinished):
            part()
    now = 1000.0 + 121
    with pytest.raises(tidegate.Unknown):
        part()


def test_what_is_sent_again_after_an_error_is_the_same_job() -> None:
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        if len(bodies) == 1:
            raise httpx.ReadError("gone", request=request)
        if len(bodies) == 2:
            return httpx.Response(503, json={"error": "busy", "detail": "d", "hint": "h"})
        return httpx.Response(202, json={"source": "jobs.raw/0@1", "id": "1"})

    with tidegate.BlockingClient("http://x", "k", tenant="t", transport=httpx.MockTransport(answer)) as client:
        assert client.submit(topic="a", capability="b").source == "jobs.raw/0@1"
    assert len(bodies) == 3 and len(set(bodies)) == 1
