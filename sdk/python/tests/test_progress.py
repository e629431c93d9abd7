"""What a job tells while it runs, where that goes wrong."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

import tidegate
from played import Gateway, playing
from tidegate import _client


def _work(gateway: Gateway, handler: Any) -> None:
    """Serves the one job until its end was said and understood."""

    async def main() -> None:
        worker = tidegate.Worker(url=gateway.url, key="key")
        worker.capability("dig")(handler)
        async with worker.running():
            async with asyncio.timeout(30):
                while ("complete", 200) not in gateway.said:
                    await asyncio.sleep(0.02)

    asyncio.run(main())


def test_what_no_json_can_hold_is_left_out_of_a_sign_and_the_result_arrives_once() -> None:
    def dig(payload: int, context: tidegate.Context) -> int:
        context.progress(float("nan"), "half a pair: \ud83d")
        context.output("\ude00 and a whole one: \ud83d\ude00")
        return payload

    with playing(deaf=0) as gateway:
        _work(gateway, dig)
        assert [verb for verb, _ in gateway.said if verb != "progress"] == ["complete"]
        signs = [body for (verb, _), body in zip(gateway.said, gateway.bodies, strict=True) if verb == "progress"]
        assert [sign["fraction"] for sign in signs if "fraction" in sign] == [None]
        assert [sign["note"] for sign in signs if "note" in sign] == ["half a pair: \ufffd"]
        assert "".join(sign.get("partial", "") for sign in signs) == "\ufffd and a whole one: \U0001f600"


def test_a_last_sign_that_cannot_be_written_costs_the_sign_alone() -> None:
    def dig(payload: int, context: tidegate.Context) -> int:
        # Past what a context cleans.
        context._held.gathered.progress(float("nan"), "")
        return payload

    with playing(deaf=0) as gateway:
        _work(gateway, dig)
        assert gateway.said == [("complete", 200)]


def test_whether_a_job_waits_is_said_until_it_was_heard() -> None:
    heard = threading.Event()

    with playing(deaf=2) as gateway:

        def dig(payload: int, context: tidegate.Context) -> int:
            with context.waiting():
                assert heard.wait(30)
            return payload

        def answer(verb: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            status, said = Gateway.answer(gateway, verb, body)
            if body.get("waits") and status == 200:
                heard.set()
            return status, said

        gateway.answer = answer  # type: ignore[method-assign]
        _work(gateway, dig)
        said = [(status, body["waits"]) for (_, status), body in zip(gateway.said, gateway.bodies, strict=True) if "waits" in body]
        assert said == [(503, True), (503, True), (200, True), (200, False)]


@pytest.mark.parametrize("seen", [False, True])
def test_who_watches_a_job_that_is_forgotten_is_told_so(seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "_UNKNOWN_S", 0.2)
    running = {"job": {"state": "running"}, "signs": [{"number": 1, "attempt": 1, "note": "here"}], "next": 1}

    def answers() -> httpx.MockTransport:
        left = [httpx.Response(200, json=running)] if seen else []
        return httpx.MockTransport(lambda request: left.pop() if left else httpx.Response(404, json={}))

    notes: list[str] = []

    async def main() -> None:
        async with tidegate.Client("http://played", "key", transport=answers()) as client:
            async for sign in tidegate.Job(client, "here/0/1", "one", "acme").progress():
                notes.append(sign.note)

    with pytest.raises(tidegate.Unknown, match=r"nothing of job one \(here/0/1\)"):
        asyncio.run(asyncio.wait_for(main(), 30))
    with tidegate.BlockingClient("http://played", "key", transport=answers()) as blocking:
        with pytest.raises(tidegate.Unknown):
            notes.extend(sign.note for sign in tidegate.BlockingJob(blocking, "here/0/1", "one", "acme").progress())
    assert notes[:1] == (["here"] if seen else [])


def test_who_waits_for_a_job_that_is_forgotten_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_client, "_UNKNOWN_S", 0.2)
    forgotten = httpx.MockTransport(lambda request: httpx.Response(404, json={}))

    async def main() -> None:
        async with tidegate.Client("http://played", "key", transport=forgotten) as client:
            await tidegate.Job(client, "here/0/1", "one", "acme").result()

    with pytest.raises(tidegate.Unknown, match=r"nothing of job one \(here/0/1\)"):
        asyncio.run(asyncio.wait_for(main(), 30))
    with tidegate.BlockingClient("http://played", "key", transport=forgotten) as blocking:
        job = tidegate.BlockingJob(blocking, "here/0/1", "one", "acme")
        with pytest.raises(tidegate.Unknown):
            job.result()
        with pytest.raises(tidegate.NotFinished):
            tidegate.BlockingJob(blocking, "here/0/1", "one", "acme").result(0)
