"""Workers, through the real binary."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tidegate
from conftest import Dev


def test_jobs_run_at_once_in_the_loop_and_in_threads_and_progress_is_told() -> None:
    async def main() -> None:
        worker = tidegate.Worker(concurrency=4)
        here, both = 0, asyncio.Event()

        @worker.capability("count")
        async def count(payload: Any, context: tidegate.Context) -> Any:
            nonlocal here
            context.progress(0.5, "half")
            here += 1
            if here == 2:
                both.set()
            await both.wait()
            return {"tenant": context.job["tenant"], "n": payload}

        @worker.capability("bytes")
        def reverse(payload: bytes) -> bytes:
            assert threading.current_thread() is not threading.main_thread()
            return payload[::-1]

        async with worker.running(), tidegate.Client(tenant="acme") as client:
            jobs = [await client.submit(topic="job.demo.count", capability="count", payload=n) for n in (1, 2)]
            # Neither ends before the other has begun.
            assert [(await job.result(30))["n"] for job in jobs] == [1, 2]
            binary = await client.submit(topic="job.demo.bytes", capability="bytes", payload=b"abc")
            assert await binary.result(30) == "Y2Jh"

    asyncio.run(main())


def test_who_watches_a_job_sees_how_far_it_is_and_its_output_before_it_ends() -> None:
    async def main() -> None:
        worker = tidegate.Worker(concurrency=1)
        watched = asyncio.Event()

        @worker.capability("tell")
        async def tell(payload: Any, context: tidegate.Context) -> str:
            # Said again until somebody watches: what is said before is not told.
            while not watched.is_set():
                context.progress(0.25, "waiting to be watched")
                await asyncio.sleep(0.05)
            context.output("one ")
            context.output("two")
            context.progress(0.5, "half")
            return "done"

        async with worker.running(), tidegate.Client(tenant="acme") as client:
            job = await client.submit(topic="job.demo.tell", capability="tell")
            seen = []
            async for sign in job.progress():
                seen.append(sign)
                watched.set()
            assert await job.result(30) == "done"
            assert (seen[0].fraction, seen[0].note, seen[0].attempt) == (0.25, "waiting to be watched", 1)
            assert "".join(sign.output for sign in seen) == "one two"
            assert any((sign.fraction, sign.note) == (0.5, "half") for sign in seen)
            with tidegate.BlockingClient(tenant="acme") as blocking:
                again = blocking.submit(topic="job.demo.tell", capability="tell")
                # Of another thread than the loop's, which the worker needs.
                told = await asyncio.to_thread(lambda: list(again.progress()))
                assert "".join(sign.output for sign in told) in ("", "one two") and again.result(30) == "done"

    asyncio.run(main())


def test_a_job_that_waits_for_one_it_submitted_lends_its_place() -> None:
    async def main() -> None:
        worker = tidegate.Worker(concurrency=1)

        async with tidegate.Client(tenant="acme") as client:

            @worker.capability("outer")
            async def outer(payload: Any, context: tidegate.Context) -> Any:
                with context.waiting():
                    inner = await client.submit(topic="job.demo.count", capability="inner", payload=payload)
                    return await inner.result(30)

            @worker.capability("inner")
            def inner(payload: int) -> int:
                return payload + 1

            async with worker.running():
                job = await client.submit(topic="job.demo.count", capability="outer", payload=1)
                assert await job.result(30) == 2

    asyncio.run(main())


def test_a_handler_in_a_thread_that_waits_for_another_in_a_thread_lends_its_place() -> None:
    async def main() -> None:
        worker = tidegate.Worker(concurrency=1)

        with tidegate.BlockingClient(tenant="acme") as client:

            @worker.capability("outer")
            def outer(payload: Any, context: tidegate.Context) -> Any:
                if payload == 0:
                    return 0
                with context.waiting():
                    below = client.submit(topic="job.demo.count", capability="outer", payload=payload - 1)
                    return 1 + below.result(20)

            async with worker.running(), tidegate.Client(tenant="acme") as top:
                job = await top.submit(topic="job.demo.count", capability="outer", payload=3)
                assert await job.result(30) == 3

    asyncio.run(main())


def test_what_a_handler_raises_or_cannot_say_is_a_failure_with_its_reason() -> None:
    async def main() -> None:
        worker = tidegate.Worker()

        @worker.capability("fail")
        async def fail(payload: Any) -> None:
            raise ValueError("not today")

        @worker.capability("nan")
        def nan(payload: str) -> float | str:
            return float("nan") if payload == "number" else "half a pair: \ud800"

        async with worker.running(), tidegate.Client(tenant="acme") as client:
            job = await client.submit(topic="job.demo.fail", capability="fail")
            with pytest.raises(tidegate.Failed, match="ValueError: not today"):
                await job.result(30)
            for payload in ("number", "text"):
                job = await client.submit(topic="job.demo.fail", capability="nan", payload=payload)
                with pytest.raises(tidegate.Failed, match="cannot be written as JSON"):
                    await job.result(30)

    asyncio.run(main())


def test_a_retryable_failure_is_tried_again() -> None:
    async def main() -> None:
        worker = tidegate.Worker()
        attempts: list[str] = []

        @worker.capability("again")
        def again(payload: Any, context: tidegate.Context) -> int:
            attempts.append(context.token)
            if len(attempts) == 1:
                raise tidegate.Retryable("not yet", after_s=0.05)
            return len(attempts)

        async with worker.running(), tidegate.Client(tenant="acme") as client:
            retry = {"max_attempts": 3}
            job = await client.submit(topic="job.demo.again", capability="again", retry=retry)
            assert await job.result(30) == 2
        assert len(set(attempts)) == 2

    asyncio.run(main())


def test_a_job_past_its_runtime_is_stopped_in_the_loop_and_told_in_a_thread() -> None:
    async def main() -> None:
        worker = tidegate.Worker()
        told: list[str] = []

        @worker.capability("slow")
        async def slow(payload: Any) -> None:
            await asyncio.sleep(60)

        @worker.capability("stubborn")
        def stubborn(payload: Any, context: tidegate.Context) -> None:
            until = time.monotonic() + 30
            while not context.cancelled and time.monotonic() < until:
                time.sleep(0.01)
            told.append(context.cancelled)
            raise RuntimeError("stopped")

        async with worker.running(), tidegate.Client(tenant="acme") as client:
            jobs = [await client.submit(topic="job.demo.short", capability=name) for name in ("slow", "stubborn")]
            for job in jobs:
                with pytest.raises(tidegate.TimedOut):
                    await job.result(30)
        assert told == ["it ran for as long as its constraints allow"]

    asyncio.run(main())


def test_sigterm_lets_what_runs_finish_and_takes_nothing_new(dev: Dev) -> None:
    program = textwrap.dedent("""\
        import threading, sys, tidegate
        worker = tidegate.Worker(concurrency=1)

        @worker.capability("drained")
        def drained(payload):
            print("begun", flush=True)
            assert sys.stdin.readline() == "go on\\n"
            return payload

        worker.run()
        print("drained", flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=dev.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        with tidegate.BlockingClient(tenant="acme") as client:
            first = client.submit(topic="job.demo.drained", capability="drained", payload=1)
            assert process.stdout.readline() == "begun\n"
            second = client.submit(topic="job.demo.drained", capability="drained", payload=2)
            process.send_signal(signal.SIGTERM)
            process.stdin.write("go on\n")
            process.stdin.flush()
            assert first.result(30) == 1
            assert (process.stdout.readline(), process.wait(30)) == ("drained\n", 0)
            story = second.story()
            assert story is not None and story["state"] == "approved"
            # It waits for another worker; no other test serves its capability.
            with pytest.raises(tidegate.NotFinished):
                second.result(0.2)
    finally:
        process.kill()
        process.wait()


def test_a_worker_without_handler_or_with_two_of_a_kind_is_refused() -> None:
    worker = tidegate.Worker()
    with pytest.raises(tidegate.TidegateError, match="at least one capability"):
        asyncio.run(worker.serve())
    worker.capability("greet")(lambda payload: payload)
    with pytest.raises(ValueError, match="has a handler already"):
        worker.capability("greet")(lambda payload: payload)


def test_a_key_that_does_not_cover_what_is_asked_for_ends_the_worker_with_the_reason() -> None:
    worker = tidegate.Worker(pool="other")
    worker.capability("greet")(lambda payload: payload)
    with pytest.raises(tidegate.TidegateError, match="not_covered"):
        asyncio.run(worker.serve())


def test_a_handler_that_calls_sys_exit_fails_its_job_and_the_worker_goes_on() -> None:
    async def main() -> None:
        worker = tidegate.Worker(concurrency=2)

        @worker.capability("bytes")
        def thread(payload: int) -> int:
            return payload or sys.exit(3)

        @worker.capability("count")
        async def loop(payload: int) -> int:
            return payload or sys.exit("no")

        async with worker.running(), tidegate.Client(tenant="acme") as client:
            for capability, said in (("bytes", "sys.exit(3)"), ("count", "sys.exit('no')")):
                leaving = await client.submit(topic="job.demo.leave", capability=capability, payload=0)
                with pytest.raises(tidegate.Failed) as failed:
                    await leaving.result(30)
                assert said in str(failed.value)
                staying = await client.submit(topic="job.demo.leave", capability=capability, payload=7)
                assert await staying.result(30) == 7

    asyncio.run(main())


def test_what_is_missing_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIDEGATE_URL", "TIDEGATE_KEY", "TIDEGATE_WORKER_KEY", "TIDEGATE_DATA"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(tidegate.TidegateError, match="TIDEGATE_URL.*is `tidegate dev` running"):
        tidegate.BlockingClient(tenant="acme", data=tmp_path)
    worker = tidegate.Worker()
    worker.capability("one")(lambda payload: payload)
    with pytest.raises(ValueError, match="a capability of its own"):
        worker.capability("one")(lambda payload: payload)
