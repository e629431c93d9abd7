"""Jobs that are submitted more than once under one id: whoever asks hears how the one that ran has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

import tidegate

Stories = Mapping[str, Mapping[str, Any]]


def _transport(stories: Stories) -> httpx.MockTransport:
    """A gateway that tells these stories by position, whether it is asked for them or for progress."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"source": "jobs.raw/0@9", "id": "a"})
        path = unquote(request.url.raw_path.decode().split("?")[0]).removeprefix("/v1/jobs/")
        story = stories.get(path.removesuffix("/progress"))
        if story is None:
            return httpx.Response(404)
        signs = [{"number": 1, "attempt": 1, "note": path.removesuffix("/progress")}]
        return httpx.Response(200, json={"job": story, "signs": signs, "next": 1} if path.endswith("/progress") else story)

    return httpx.MockTransport(answer)


def _asked(stories: Stories, blocking: bool) -> Any:
    """What the job at `jobs.raw/0@9` gave back, after its progress was read to the end."""
    if blocking:
        with tidegate.BlockingClient("http://x", "k", tenant="t", transport=_transport(stories)) as client:
            one = client.submit(topic="a", capability="b")
            # One question is enough where the answers are there.
            return one.result(0), [sign.note for sign in client.submit(topic="a", capability="b").progress()]

    async def main() -> Any:
        async with tidegate.Client("http://x", "k", tenant="t", transport=_transport(stories)) as client:
            one = await client.submit(topic="a", capability="b")
            other = await client.submit(topic="a", capability="b")
            return await one.result(0), [sign.note async for sign in other.progress()]

    return asyncio.run(main())


def _repeats(*offsets: int) -> dict[str, dict[str, Any]]:
    """Each of them stands for the one before."""
    return {
        f"jobs.raw/0@{at}": {"state": "duplicate", "duplicate_of": f"jobs.raw/0@{first}"}
        for at, first in zip(offsets, offsets[1:], strict=False)
    }


@pytest.mark.parametrize("blocking", [True, False])
def test_the_end_of_a_repeat_is_that_of_the_record_that_stands_for_it(blocking: bool) -> None:
    stories = {**_repeats(9, 7, 6, 5, 3), "jobs.raw/0@3": {"state": "succeeded", "output": 42}}
    assert _asked(stories, blocking) == (42, ["jobs.raw/0@3"])


@pytest.mark.parametrize("blocking", [True, False])
def test_a_repeat_of_a_job_that_did_not_succeed_raises_as_that_one_does(blocking: bool) -> None:
    failed = {**_repeats(9, 8), "jobs.raw/0@8": {"state": "failed", "reason": "no money"}}
    with pytest.raises(tidegate.Failed, match="no money"):
        _asked(failed, blocking)
    held = {**_repeats(9, 8), "jobs.raw/0@8": {"state": "held", "source": "jobs.raw/0@8"}}
    with pytest.raises(tidegate.Held) as raised:
        _asked(held, blocking)
    assert raised.value.approval_ref == "jobs.raw/0@8"


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("offsets", [(9, 8, 9), (9, 8, 7, 6, 5, 4), (9, 9)])
def test_records_that_stand_for_one_another_without_end_are_no_success(blocking: bool, offsets: tuple[int, ...]) -> None:
    with pytest.raises(tidegate.Unknown, match="stand for one another"):
        _asked({**_repeats(*offsets), "jobs.raw/0@4": {"state": "succeeded"}}, blocking)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_repeat_of_a_job_that_is_forgotten_ends_as_unknown(blocking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate._client._UNKNOWN_S", 0.0)
    with pytest.raises(tidegate.Unknown, match="jobs.raw/0@8"):
        _asked(_repeats(9, 8), blocking)


@pytest.mark.parametrize("first", [None, "", 7])
def test_a_repeat_that_does_not_say_of_what_counts_as_denied(first: Any) -> None:
    with pytest.raises(tidegate.Denied, match="unknown verdict `duplicate`"):
        _asked({"jobs.raw/0@9": {"state": "duplicate", "duplicate_of": first}}, True)


def test_a_job_that_is_submitted_often_runs_once_and_every_submission_hears_its_result() -> None:
    ran: list[int] = []

    async def main() -> None:
        worker = tidegate.Worker()

        @worker.capability("repeated")
        async def repeated(payload: int) -> int:
            ran.append(payload)
            return payload + 1

        async with worker.running(), tidegate.Client(tenant="acme") as client:
            # More than a gateway's view remembers as repeats of one record: the last are told by themselves.
            job: dict[str, Any] = {"topic": "job.demo.count", "capability": "repeated", "payload": 1, "id": "often"}
            jobs = [await client.submit(**job) for _ in range(18)]
            assert [await one.result(60) for one in jobs] == [2] * 18
            stories = [await one.story() for one in jobs]
            states = {story["state"] for story in stories if story is not None}
            assert states == {"succeeded", "duplicate"}, "the last ones are followed"

    asyncio.run(main())
    assert ran == [1]
