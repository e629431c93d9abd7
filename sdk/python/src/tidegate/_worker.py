"""A worker: leases jobs over HTTP, keeps the leases by heartbeats, runs handlers, says how they ended."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import inspect
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar, overload
from urllib.parse import quote

import httpx

from . import _connect
from ._client import BlockingClient, BlockingJob, Client, Job
from ._errors import Retryable, TidegateError
from ._progress import Gathered, finite, text_of

_log = logging.getLogger("tidegate")

Handler = Callable[..., Any]
"""`handler(payload)` or `handler(payload, context)`; `async def`, or plain and then run in a thread."""

_H = TypeVar("_H", bound=Handler)

_POLL_S = 20.0
_MOST_PER_POLL = 100
_MOST_HELD = 1000
"""Jobs that a worker holds, those that wait for others included: as many as a gateway gives it."""
_MOMENT_S = 0.5
_EVERY_S = 0.25
"""What a job says is gathered for so long."""
_LEAVING = "the worker is shutting down"
_REPORT_S = 5.0
"""How long what is to be said of jobs may take once a drain is over."""


running_job: contextvars.ContextVar[Context | None] = contextvars.ContextVar("tidegate_running_job", default=None)
"""The job whose handler runs here: what it calls that is governed acts for it, and is a job it waits for."""


class Context:
    """A running job, as its handler sees it."""

    def __init__(self, lease: Mapping[str, Any], held: _Held) -> None:
        self.job: Mapping[str, Any] = lease["job"]
        """The job: id, tenant, topic, actor, labels, …"""
        self.constraints: Mapping[str, Any] = lease.get("constraints") or {}
        """What the job must keep to. The gateway sees to runtime and output size, the rest is the handler's."""
        self.deadline_ms: int | None = lease.get("deadline_ms")
        """When nobody wants the result any more, milliseconds since the Unix epoch."""
        self.ticket: str = lease.get("ticket") or ""
        """The approved record's exact text: what proves that the job may run."""
        self.token: str = lease["token"]
        """Names the attempt; only a result with the current one counts."""
        self.traceparent: str | None = lease.get("traceparent")
        """The trace it belongs to (W3C trace context), where it has one: to be handed on to whatever it calls."""
        self._held = held
        self._stop = threading.Event()
        self._why = ""
        self.lease_in_doubt = False
        """The gateway could not tell the scheduler of its jobs for a whole lease, as in an outage of the broker: another worker may have been
        given this job and run it too. A matter for whoever is about to do what must not happen twice; what guards that is `token`."""

    @property
    def cancelled(self) -> str:
        """Why the job is to stop; empty while it may go on. A plain handler looks at it now and then; an `async def` one
        is cancelled."""
        return self._why if self._stop.is_set() else ""

    def progress(self, fraction: float | None = None, note: str = "") -> None:
        """Says how far it is; of several signs at once the latest is sent. Best effort; never waits. A fraction that is no
        finite number is left out."""
        self._held.tell(self._held.gathered.progress(finite(fraction), text_of(note)))

    def output(self, text: str) -> None:
        """Tells a piece of the output before the job ends, to whoever watches it: text as it is made, a line of a log. Best
        effort like progress, in order; what is more than 64 KiB at once is dropped. It is no part of the result. Never waits."""
        self._held.tell(self._held.gathered.output(text_of(text)))

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Within this the job waits for one that it submitted: meanwhile the worker may run one job more, and nobody takes the
        wait for a lack of progress."""
        self._held.waits(1)
        try:
            yield
        finally:
            self._held.waits(-1)

    @overload
    def spawn(self, client: Client, **job: Any) -> Coroutine[Any, Any, Job]: ...

    @overload
    def spawn(self, client: BlockingClient, **job: Any) -> BlockingJob: ...

    def spawn(self, client: Client | BlockingClient, **job: Any) -> Coroutine[Any, Any, Job] | BlockingJob:
        """Submits a job that acts for this one, with its ticket: it may do no more than this one hands on (`scope`; by itself what it
        does itself), is judged for everybody above it, and is of the same tenant and trace. What it takes is what `submit` takes. An
        `id` made from this job's own lets it run once though this one runs again. To wait for its result, do so within `waiting`."""
        return client.submit(**self._for_child(job))

    def _for_child(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The job with what makes it this one's child."""
        for own in ("parent", "parent_ticket"):
            if own in job:
                raise TidegateError(f"a job that is spawned says no `{own}` itself")
        if not self.ticket:
            raise TidegateError("this job came without its ticket, and cannot spawn others")
        of = {"parent": self.job["id"], "parent_ticket": self.ticket, "traceparent": self.traceparent}
        return {**job, "tenant": job.get("tenant") or self.job["tenant"], **of}

    def _cancel(self, why: str) -> None:
        if not self._stop.is_set():
            self._why = why
            self._stop.set()


class Worker:
    """Workers of one process for one pool.

    URL and key are those given, else of `TIDEGATE_URL` and `TIDEGATE_WORKER_KEY`, else of the `tidegate dev` whose folder
    is `data`, `TIDEGATE_DATA` or `.tidegate`. At most `concurrency` jobs run at once. `labels` are what jobs may ask for (`select`,
    `prefer`), as far as the key allows. When it is told to stop, or an operator says that it is to leave (`tidegate workers drain`), running
    jobs may finish for `drain_s` seconds; what then still runs is stopped and goes back. What had ended by then is still
    reported, tried again for up to 10 seconds more.

    `when_unproven` says what becomes of a job whose lease is in doubt (`Context.lease_in_doubt`): `"keep"` lets it run on, `"stop"` stops it with
    the next heartbeat, and it is tried again. For jobs that two must not run at a time, at the price that an outage of a lease's length interrupts
    them all.
    """

    def __init__(
        self,
        pool: str = "default",
        *,
        url: str | None = None,
        key: str | None = None,
        data: str | os.PathLike[str] | None = None,
        name: str | None = None,
        concurrency: int = 8,
        drain_s: float = 30.0,
        labels: Mapping[str, str] | None = None,
        when_unproven: Literal["keep", "stop"] = "keep",
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        if when_unproven not in ("keep", "stop"):
            raise ValueError(f"when_unproven must be 'keep' or 'stop', not {when_unproven!r}")
        self._stops_unproven = when_unproven == "stop"
        self._labels = dict(labels or {})
        self.told_to_leave = False
        """An operator has said that it is to leave."""
        self._pool = pool
        self._where = (url, key, data)
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._concurrency = concurrency
        self._drain_s = drain_s
        self._handlers: dict[str, Handler] = {}
        self._running: dict[asyncio.Task[None], _Held] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._stopping: asyncio.Event | None = None

    def capability(self, name: str) -> Callable[[_H], _H]:
        """Registers what runs jobs of a capability."""

        def register(handler: _H) -> _H:
            if name in self._handlers:
                raise ValueError(
                    f"capability {name!r} has a handler already, and its jobs do not say which they are for; "
                    "give this one a capability of its own"
                )
            self._handlers[name] = handler
            if self._loop is not None and self._changed is not None:
                self._loop.call_soon_threadsafe(self._changed.set)
            return handler

        return register

    def run(self) -> None:
        """Works until SIGTERM or SIGINT, drains, and returns. For the main thread."""

        async def until_told() -> None:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            await self.serve()

        asyncio.run(until_told())

    def stop(self) -> None:
        """Begins the drain; from any thread."""
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        """Works beside the body of an `async with`, and drains at its end."""
        serving = asyncio.create_task(self.serve())
        serving.add_done_callback(_said_why)
        try:
            yield self
        finally:
            await asyncio.sleep(0)
            self.stop()
            await serving

    async def serve(self) -> None:
        """Works until `stop`, and drains."""
        if self._loop is not None:
            raise TidegateError("this worker works already")
        if not self._handlers:
            raise TidegateError("a worker needs at least one capability")
        url, key, data = self._where
        self._loop, self._changed, self._stopping = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self.told_to_leave = False
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self._concurrency + 4)
        # One for every job that is held: those that wait keep theirs. How many run at once is seen to where they are leased.
        threads = ThreadPoolExecutor(max(_MOST_HELD, self._concurrency), thread_name_prefix="tidegate")
        try:
            async with httpx.AsyncClient(
                base_url=_connect.address(url, data),
                headers={"authorization": f"Bearer {_connect.worker_key(key, data)}"},
                timeout=httpx.Timeout(10.0, read=_POLL_S + 15.0),
                limits=limits,
            ) as http:
                try:
                    await self._pull(http, threads, self._changed, self._stopping)
                finally:
                    # Also when no more can be had: what runs still has its lease, and the client to report by.
                    await self._drain()
        finally:
            threads.shutdown(wait=False)
            self._loop = self._changed = self._stopping = None

    async def _pull(
        self, http: httpx.AsyncClient, threads: ThreadPoolExecutor, changed: asyncio.Event, stopping: asyncio.Event
    ) -> None:
        pause = 0.1
        stop = asyncio.ensure_future(stopping.wait())
        while not stopping.is_set():
            changed.clear()
            # One that waits for another lends its place; when it goes on, one more runs for that time.
            free = self._concurrency - sum(not held.is_waiting for held in self._running.values())
            free = min(free, max(_MOST_HELD, self._concurrency) - len(self._running))
            if free <= 0:
                lent = asyncio.ensure_future(changed.wait())
                await asyncio.wait([stop, lent, *self._running], return_when=asyncio.FIRST_COMPLETED)
                lent.cancel()
                continue
            change = asyncio.ensure_future(changed.wait())
            ask = asyncio.ensure_future(self._ask(http, min(free, _MOST_PER_POLL)))
            await asyncio.wait([stop, change, ask], return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
            if not ask.done():
                # What is on its way here is given to nobody else until its lease runs out: wait for it a moment.
                await asyncio.wait([ask], timeout=_MOMENT_S)
            if not ask.done():
                ask.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ask
                continue
            error = ask.exception()
            if error is not None:
                if not isinstance(error, (httpx.HTTPError, _Retry)):
                    stop.cancel()
                    raise error
                _log.warning("no jobs can be had: %s", error)
                await asyncio.wait([stop], timeout=pause)
                pause = min(pause * 2, 5.0)
                continue
            pause = 0.1
            for lease in ask.result():
                held = _Held(self._handlers, http, threads, lease, (changed.set, self._leave), self._stops_unproven)
                task = asyncio.create_task(held.run())
                self._running[task] = held
                task.add_done_callback(self._running.pop)
        stop.cancel()

    def _leave(self) -> None:
        """An operator wants it to leave: it drains, as on SIGTERM."""
        if not self.told_to_leave:
            _log.info("told to leave; what runs may finish")
            self.told_to_leave = True
            self.stop()

    async def _ask(self, http: httpx.AsyncClient, most: int) -> list[Mapping[str, Any]]:
        body: dict[str, Any] = {
            "worker": self._name,
            "capabilities": sorted(self._handlers),
            "max": most,
            "wait_ms": int(_POLL_S * 1000),
        }
        if self._labels:
            body["labels"] = self._labels
        response = await http.post(f"/v1/pools/{quote(self._pool, safe='')}/lease", json=body)
        if response.status_code >= 500 or response.status_code == 429:
            raise _Retry(f"HTTP {response.status_code}: {response.text[:200]}")
        if not response.is_success:
            raise TidegateError(f"HTTP {response.status_code}: {response.text[:300]}")
        try:
            answer = response.json()
            leases: list[Mapping[str, Any]] = answer["leases"]
        except (ValueError, KeyError, TypeError) as error:
            raise _Retry(f"that is no answer of a gateway: {response.text[:200]}") from error
        if answer.get("drain") is True:
            self._leave()
        return leases

    async def _drain(self) -> None:
        if self._running:
            await asyncio.wait(set(self._running), timeout=self._drain_s)
        for held in self._running.values():
            held.leave()
        if self._running:
            await asyncio.wait(set(self._running), timeout=_REPORT_S)
        # A handler that will not be stopped, or a gateway that is away: the leases run out.
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(set(self._running), timeout=_REPORT_S)


def _said_why(serving: asyncio.Task[None]) -> None:
    if not serving.cancelled() and serving.exception() is not None:
        _log.error("the worker has ended, and its jobs wait for another: %s", serving.exception())


class _Retry(Exception):
    """The gateway cannot at present."""


class _Held:
    """One leased job, from the lease to its end."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        http: httpx.AsyncClient,
        threads: ThreadPoolExecutor,
        lease: Mapping[str, Any],
        tell: tuple[Callable[[], None], Callable[[], None]],
        stops_unproven: bool,
    ) -> None:
        self._stops_unproven = stops_unproven
        self._http = http
        self._threads = threads
        self._lease = lease
        self._path = f"/v1/leases/{lease['lease']}"
        self._token = {"token": lease["token"]}
        self._handler = handlers.get(lease["job"]["capability"])
        self._term_s = lease["term_ms"] / 1000
        self._beat_s = lease["heartbeat_ms"] / 1000
        # One word that hangs must leave time for the next within the term.
        self._patience_s = max(self._term_s / 4, 0.5)
        self._loop = asyncio.get_running_loop()
        self.gathered = Gathered()
        # That a place was lent or taken back, and that the worker is to leave.
        self._changed, self._leave_worker = tell
        self._waiting = 0
        self._waits_told: bool | None = False
        self._over = False
        self._context = Context(lease, self)
        self._lost = False
        self._unproven = False
        self._leaving = False
        self._in_thread = False
        self._work: asyncio.Future[Any] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._settles = asyncio.Lock()

    async def run(self) -> None:
        """Never raises: an error here is this job's alone."""
        beats = asyncio.create_task(self._beat())
        try:
            if self._handler is None or self._leaving:
                await self._report("release", {})
                return
            try:
                output = await self._call(self._handler)
            except asyncio.CancelledError:
                if self._context.cancelled and not self._leaving:
                    # Nothing is wrong with a job that was stopped for its lease alone.
                    stopped: dict[str, Any] = {"error": f"stopped: {self._context.cancelled}"}
                    await self._report("fail", {**stopped, "retryable": True} if self._unproven else stopped)
                else:
                    self._context._cancel(_LEAVING)
                    await self._report("release", {})
                return
            except Retryable as error:
                again: dict[str, Any] = {"error": text_of(error), "retryable": True}
                if error.after_s is not None:
                    again["retry_after_ms"] = max(0, round(error.after_s * 1000))
                await self._report("fail", again)
                return
            except Exception as error:
                _log.warning("job %s failed", self._lease["job"]["id"], exc_info=True)
                await self._report("fail", {"error": text_of(f"{type(error).__name__}: {error}")})
                return
            await self._report(*_ending(output))
        except Exception:
            _log.exception("job %s: its end could not be reported", self._lease["job"]["id"])
        finally:
            self._over = True
            beats.cancel()
            if self._sending is not None:
                self._sending.cancel()

    def leave(self) -> None:
        """The worker is shutting down and waited long enough: what still runs is stopped and goes back. What has ended is
        reported all the same, so that it need not run again."""
        if self._work is None:
            self._leaving = True
        elif not self._work.done():
            self._leaving = True
            # A handler in a thread cannot be stopped: it sees this in its context.
            self._context._cancel(_LEAVING)
            self._work.cancel()

    async def _call(self, handler: Handler) -> Any:
        arguments = (self._payload(), self._context)[: _takes(handler)]
        around = contextvars.copy_context()
        around.run(running_job.set, self._context)
        if inspect.iscoroutinefunction(handler):
            self._work = self._loop.create_task(_contained(handler(*arguments)), context=around)
        else:
            # A thread cannot be stopped from outside: the handler looks at `context.cancelled`.
            self._in_thread = True
            def call() -> Any:
                try:
                    return around.run(handler, *arguments)
                except SystemExit as error:
                    raise _left(error) from error

            self._work = self._loop.run_in_executor(self._threads, call)
        return await self._work

    def _payload(self) -> Any:
        binary = self._lease.get("payload_base64")
        return base64.b64decode(binary) if binary is not None else self._lease.get("payload")

    async def _beat(self) -> None:
        heard = time.monotonic()
        while True:
            await asyncio.sleep(self._beat_s)
            try:
                response = await self._http.post(f"{self._path}/heartbeat", json=self._token, timeout=self._patience_s)
                if response.status_code >= 500:
                    raise _Retry(f"HTTP {response.status_code}")
                said = response.json()
            except (httpx.HTTPError, _Retry, ValueError) as error:
                if time.monotonic() - heard >= self._term_s:
                    self._lose(f"no heartbeat came through for a whole term: {error}")
                    return
                continue
            heard = time.monotonic()
            if said.get("drain") is True:
                self._leave_worker()
            state = said.get("state")
            self._doubt(said.get("in_doubt") is True)
            if state == "cancel":
                self._stop(str(said.get("reason")))
            elif state == "ended":
                # Its own end is being reported.
                return
            elif state != "held":
                self._lose(str(said.get("reason") or said.get("detail") or state))
                return

    def _doubt(self, doubt: bool) -> None:
        if doubt and not self._context.lease_in_doubt:
            _log.warning("job %s: its lease is in doubt: the gateway cannot reach its broker", self._lease["job"]["id"])
        self._context.lease_in_doubt = doubt
        if doubt and self._stops_unproven and not self._context.cancelled:
            self._unproven = True
            self._stop("its lease is in doubt")

    def _lose(self, why: str) -> None:
        self._lost = True
        _log.warning("job %s: its lease is lost: %s", self._lease["job"]["id"], why)
        self._stop(why)

    def _stop(self, why: str) -> None:
        self._context._cancel(why)
        if self._work is not None and not self._in_thread:
            self._work.cancel()

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a job that it submitted."""
        return self._waiting > 0

    def waits(self, by: int) -> None:
        """From any thread: one part more, or less, of the job waits."""

        def change() -> None:
            before = self.is_waiting
            self._waiting += by
            if self.is_waiting != before:
                self._send()
                self._changed()

        self._loop.call_soon_threadsafe(change)

    def tell(self, first: bool) -> None:
        """From any thread: something was gathered. Only the first of it needs to call for sending."""
        if first:
            self._loop.call_soon_threadsafe(self._send)

    def _send(self) -> None:
        # A handler in a thread may outlive its job.
        if not self._over and (self._sending is None or self._sending.done()):
            self._sending = asyncio.ensure_future(self._send_all())

    async def _send_all(self) -> None:
        """Sends what is gathered until there is nothing, one word at a time and not all too often. Whether it waits is
        state: that is said until it was heard, with the next heartbeat at the latest."""
        pause = _EVERY_S
        while await self._send_once():
            await asyncio.sleep(pause)
            pause = _EVERY_S if self._waits_told is not None else min(pause * 2, max(self._beat_s, _EVERY_S))

    async def _send_once(self) -> bool:
        """Whether there was anything to say. Never raises: nothing of this may cost the job."""
        async with self._settles:
            sign, waits = self.gathered.take(), self.is_waiting
            state = {} if waits == self._waits_told else {"waits": waits}
            if not sign and not state:
                return False
            try:
                content = json.dumps({**self._token, **sign, **state}, allow_nan=False)
            except Exception as error:
                _log.warning("job %s: its progress cannot be written: %s", self._lease["job"]["id"], error)
                if not state:
                    return True
                content = json.dumps({**self._token, **state})
            if state:
                # What gets no answer may have come through all the same.
                self._waits_told = None
            try:
                headers, patience = {"content-type": "application/json"}, self._patience_s
                answer = await self._http.post(f"{self._path}/progress", content=content, headers=headers, timeout=patience)
                if state and answer.status_code < 500 and answer.status_code != 429:
                    self._waits_told = waits
            except Exception as error:
                _log.debug("job %s: progress: %s", self._lease["job"]["id"], error)
            return True

    async def _report(self, verb: str, body: Mapping[str, Any]) -> None:
        """Says how it ended until the gateway has understood, for as long as the lease can last."""
        # What it told belongs before its end.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._send_once(), _MOMENT_S)
        until, pause = time.monotonic() + self._term_s, 0.1
        # The text, once: said again it must be the same.
        content = json.dumps({**self._token, **body}, allow_nan=False)
        headers = {"content-type": "application/json"}
        while not self._lost:
            try:
                response = await self._http.post(f"{self._path}/{verb}", content=content, headers=headers)
                if response.status_code < 500:
                    if not response.is_success:
                        _log.warning("job %s: %s does not count: %s", self._lease["job"]["id"], verb, response.text[:300])
                    return
            except httpx.HTTPError as error:
                _log.warning("job %s: %s: %s", self._lease["job"]["id"], verb, error)
            if time.monotonic() >= until:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)


def _ending(output: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(output, bytes):
        return "complete", {"result_base64": base64.b64encode(output).decode()}
    try:
        written = json.dumps(output, allow_nan=False, ensure_ascii=False)
        # Half a surrogate pair is no text.
        written.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except (TypeError, ValueError, RecursionError) as error:
        return "fail", {"error": f"the result cannot be written as JSON: {error}"}
    return "complete", {"result": output}


def _left(error: SystemExit) -> RuntimeError:
    """`sys.exit()` in a handler (a parser of arguments does it) ends its job and not the worker with all its other jobs."""
    return RuntimeError(f"the handler called sys.exit({error.code!r})")


async def _contained(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await work
    except SystemExit as error:
        raise _left(error) from error


def _takes(handler: Handler) -> int:
    """One or two arguments."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [one for one in inspect.signature(handler).parameters.values() if one.kind in kinds]
    return min(len(wanted), 2)
