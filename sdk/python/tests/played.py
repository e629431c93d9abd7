"""A gateway that is played, so that it answers badly just when a test needs that."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Gateway(ThreadingHTTPServer):
    """Leases one job, and answers the first `deaf` words of it, heartbeats aside, with 503."""

    daemon_threads = True

    def __init__(self, deaf: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.deaf = deaf
        self.leased = False
        self.asked = threading.Event()
        self.said: list[tuple[str, int]] = []
        self.bodies: list[dict[str, Any]] = []
        """What was said, word for word of `said`."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()

    def answer(self, verb: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
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
            self.bodies.append(body)
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
        said_here = json.loads(self.rfile.read(int(self.headers["content-length"])))
        verb = self.path.rsplit("/", 1)[-1]
        status, said = self.server.answer(verb, said_here)
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


@contextlib.contextmanager
def playing(deaf: int, kind: type[Gateway] = Gateway) -> Iterator[Gateway]:
    """A gateway for the time of a `with`."""
    server = kind(deaf)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield server
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
