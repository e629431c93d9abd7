"""Drains, towards a gateway that is slow to understand: played here, so that it is slow just then."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import tidegate


class Gateway(ThreadingHTTPServer):
    """Leases one job, and refuses to hear of its end `deaf` times."""

    daemon_threads = True

    def __init__(self, deaf: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.deaf = deaf
        self.leased = False
        self.asked = threading.Event()
        self.said: list[tuple[str, int]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()

    def answer(self, verb: str) -> tuple[int, dict[str, Any]]:
        with self.lock:
            if verb == "lease":
                leases = [] if self.leased else [LEASE]
                self.leased = True
                return 200, {"leases": leases}
            if verb == "heartbeat":
                return 200, {"state": "held", "term_ms": 30_000}
            status = 503 if self.deaf > 0 else 200
            self.deaf -= 1
            self.said.append((verb, status))
            self.asked.set()
            return status, {"state": "accepted"}


LEASE = {
    "lease": "one",
    "token": "1.1",
    "job": {"id": "one", "tenant": "acme", "topic": "job.demo", "capability": "dig"},
    "payload": 7,
    "term_ms": 30_000,
    "heartbeat_ms": 7_500,
}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        verb = self.path.rsplit("/", 1)[-1]
        status, said = self.server.answer(verb)
        if verb == "lease" and not said["leases"]:
            # A long poll: nothing more comes.
            threading.Event().wait(0.2)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(name="gateway", params=[3])
def _gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    server = Gateway(request.param)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


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
