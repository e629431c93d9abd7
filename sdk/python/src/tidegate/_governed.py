"""`@governed`: a call of a function becomes a judged job."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from ._client import BlockingClient, Client
from ._errors import NotFinished, TidegateError
from ._worker import Worker, running_job

P = ParamSpec("P")
R = TypeVar("R")

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def governed(
    *,
    topic: str,
    capability: str,
    tenant: str | None = None,
    actor: Mapping[str, str] | str | None = None,
    pool: str = "default",
    url: str | None = None,
    key: str | None = None,
    worker_key: str | None = None,
    data: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    wait_if_held: bool = False,
    serve: bool = True,
    **attributes: Any,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes every call of the function a job that policy judges before the function's body can run.

    The job's payload is the call's arguments by name, so that rules can look at them (`job.amount`); they, and the
    result, must be JSON. The body runs where a worker has leased the job: in this process by itself, unless `serve` is
    false; any process with the same function may take it. A call raises `Denied(reason, rule_id, remediations)`,
    `Held(approval_ref)` unless `wait_if_held`, or what else ends the job; an unknown verdict counts as denied. An
    `async def` function stays one.

    A body, and any handler of a `Worker`, may call governed functions. Such a call acts for the job that runs: it is submitted with
    its ticket, may do no more than that job hands on (its `scope`; by itself its own capability and topic), and is judged for its whole
    chain; the job lends its place meanwhile (`Context.waiting`).
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            if parameter.kind not in _NAMED:
                raise TypeError(f"a governed function's arguments have names, for rules to look at: {parameter}")

        def payload(*args: Any, **kwargs: Any) -> dict[str, Any]:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return dict(bound.arguments)

        if serve:
            _serve(_Place(pool, url, worker_key, data), capability, function)
        submitted: dict[str, Any] = {"topic": topic, "capability": capability, "tenant": tenant, "actor": actor}
        submitted.update(attributes)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
                body = payload(*args, **kwargs)
                _begin()
                async with Client(url, key, data=data) as client:
                    job = await client.submit(**_acting({"payload": body, **submitted}))
                    with _lent():
                        for slice_s in _slices(timeout):
                            try:
                                return await job.result(slice_s, wait_if_held=wait_if_held)
                            except NotFinished:
                                _begin()
                    raise NotFinished(f"job {job.id} ({job.source}) had not ended after {timeout} s")

            return cast(Callable[P, R], call)

        @functools.wraps(function)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> Any:
            body = payload(*args, **kwargs)
            _begin()
            with BlockingClient(url, key, data=data) as client:
                job = client.submit(**_acting({"payload": body, **submitted}))
                with _lent():
                    for slice_s in _slices(timeout):
                        try:
                            return job.result(slice_s, wait_if_held=wait_if_held)
                        except NotFinished:
                            _begin()
                raise NotFinished(f"job {job.id} ({job.source}) had not ended after {timeout} s")

        return cast(Callable[P, R], blocking)

    return wrap


def _lent() -> contextlib.AbstractContextManager[None]:
    """Within this the job whose body calls, if any, lends its place."""
    running = running_job.get()
    return contextlib.nullcontext() if running is None else running.waiting()


def _acting(job: dict[str, Any]) -> dict[str, Any]:
    """The job as it is submitted: a child of the one whose body calls, if any."""
    running = running_job.get()
    return job if running is None else running._for_child(job)


def _slices(timeout: float | None) -> Iterator[float]:
    """A wait in parts, between which it is seen whether bodies are served at all."""
    until = None if timeout is None else time.monotonic() + timeout
    while until is None or time.monotonic() < until:
        yield 2.0 if until is None else max(0.0, min(2.0, until - time.monotonic()))


class _Place:
    """Where governed functions' bodies are served, one worker each."""

    def __init__(
        self, pool: str, url: str | None, key: str | None, data: str | os.PathLike[str] | None
    ) -> None:
        self.name = (pool, url, key, None if data is None else os.fspath(data))
        self.worker = Worker(pool, url=url, key=key, data=data, concurrency=32)
        self.thread: threading.Thread | None = None
        self.broken: BaseException | None = None

    def work(self) -> None:
        try:
            asyncio.run(self.worker.serve())
            if self.worker.told_to_leave:
                self.broken = TidegateError("an operator has told the worker of this process to leave")
        except BaseException as error:
            self.broken = error


_lock = threading.Lock()
_places: dict[tuple[str, str | None, str | None, str | None], _Place] = {}


def _serve(place: _Place, capability: str, function: Callable[..., Any]) -> None:
    with _lock:
        place = _places.setdefault(place.name, place)
        if inspect.iscoroutinefunction(function):

            async def handle_async(payload: Mapping[str, Any]) -> Any:
                return await function(**payload)

            place.worker.capability(capability)(handle_async)
        else:

            def handle(payload: Mapping[str, Any]) -> Any:
                return function(**payload)

            place.worker.capability(capability)(handle)


def _begin() -> None:
    """Bodies are served from the first call on, so that what is only imported asks for nothing."""
    with _lock:
        for place in _places.values():
            if place.broken is not None:
                raise TidegateError(f"the bodies of governed functions cannot be served: {place.broken}")
            if place.thread is None:
                place.thread = threading.Thread(target=place.work, name="tidegate-governed", daemon=True)
                place.thread.start()
                atexit.register(_end, place)


def _end(place: _Place) -> None:
    place.worker.stop()
    if place.thread is not None:
        place.thread.join(5.0)
