"""Submitting jobs and waiting for them: `Client` for asyncio, `BlockingClient` for threads."""

from __future__ import annotations

import asyncio
import base64
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from . import _connect
from ._errors import NotFinished, TidegateError, Unavailable, Unknown, concluded, stands_at
from ._progress import Progress, goes_on, signs

Story = Mapping[str, Any]
"""All that the gateway knows of a job."""

_WAIT_S = 25.0
_RETRIES = 6
_MOMENT_S = 0.1
_UNKNOWN_S = 60.0
"""How long a job that was accepted, or was seen before, may be unknown: a gateway that has just begun reads its past first."""
_HOPS = 4
"""Most records that stand for one another and are followed."""


def _job(
    default_tenant: str | None,
    topic: str,
    capability: str,
    payload: Any,
    tenant: str | None,
    id: str | None,
    actor: Mapping[str, str] | str | None,
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    of = tenant or default_tenant or os.environ.get("TIDEGATE_TENANT")
    if not of:
        raise TidegateError("no tenant was given: name it here, at the client, or in TIDEGATE_TENANT")
    job: dict[str, Any] = {
        # So that sending it again after an error runs it once.
        "id": id or str(uuid.uuid4()),
        "tenant": of,
        "topic": topic,
        "capability": capability,
    }
    if isinstance(payload, bytes):
        job["payload_base64"] = base64.b64encode(payload).decode()
    else:
        job["payload"] = payload
    if actor is not None:
        job["actor"] = {"id": actor} if isinstance(actor, str) else dict(actor)
    job.update(attributes)
    return job


def _trace(traceparent: str | None) -> dict[str, str]:
    return {"traceparent": traceparent} if traceparent else {}


def _said(response: httpx.Response) -> Any:
    if response.is_success:
        return response.json()
    try:
        body = response.json()
        said = f"{body['error']}: {body['detail']} ({body['hint']})"
    except (ValueError, KeyError, TypeError):
        said = response.text[:200]
    kind = Unavailable if response.status_code >= 500 else TidegateError
    raise kind(f"HTTP {response.status_code}: {said}")


def _again(error: Exception, attempt: int) -> float:
    """The pause before the same is asked again; raises what cannot be mended by that."""
    if attempt >= _RETRIES or not isinstance(error, (httpx.TransportError, Unavailable)):
        if isinstance(error, httpx.HTTPError):
            raise Unavailable(f"the gateway does not answer: {error}") from error
        raise error
    return float(min(0.1 * 2**attempt, 2.0))


def _path(source: str, wait_s: float) -> str:
    return f"/v1/jobs/{quote(source, safe='')}?wait={max(0, int(wait_s * 1000))}ms"


def _progress_path(source: str, since: int) -> str:
    return f"/v1/jobs/{quote(source, safe='')}/progress?since={since}&wait={int(_WAIT_S * 1000)}ms"


class _Whereabouts:
    """Where the story of a job is told: at its own record, or at the one that stands for it."""

    def __init__(self, source: str, id: str) -> None:
        self.at = source
        """The record that is asked for."""
        self._id = id
        self._hops = 0
        # Over calls: one that waits in short parts is to hear of it too.
        self._unknown_since: float | None = None

    def unknown(self) -> None:
        """Nothing is known of it; raises `Unknown` where that is so for too long."""
        now = time.monotonic()
        since = self._unknown_since = now if self._unknown_since is None else self._unknown_since
        if now - since >= _UNKNOWN_S:
            raise Unknown(
                f"the gateway has known nothing of job {self._id} ({self.at}) for {_UNKNOWN_S:g} s: it is not judged yet, or ended "
                f"so long ago that it is forgotten (its result is on `finished`)"
            )

    def moves(self, story: Story) -> bool:
        """Whether another record stands for it, which is asked for from now on; raises `Unknown` where that has no end."""
        self._unknown_since = None
        first = stands_at(story)
        if first is None:
            return False
        if self._hops == _HOPS:
            raise Unknown(f"more than {_HOPS} records stand for one another, up to {self.at}: what became of job {self._id} is not told")
        self._hops += 1
        self.at = first
        return True


def _left(deadline: float | None) -> float:
    return _WAIT_S if deadline is None else min(_WAIT_S, deadline - time.monotonic())


class Job:
    """A submitted job."""

    def __init__(self, client: Client, source: str, id: str, tenant: str) -> None:
        self._client = client
        self.source = source
        """Its record's position: its identity."""
        self.id = id
        self.tenant = tenant
        self._whereabouts = _Whereabouts(source, id)

    async def result(self, timeout: float | None = None, *, wait_if_held: bool = False) -> Any:
        """Waits for it to succeed, and returns its output.

        Raises `Denied`, `Held` (unless `wait_if_held`), `Failed`, `Cancelled`, `TimedOut` or `Dead` when it ends
        otherwise, `NotFinished` when it has not ended after `timeout` seconds, `Unknown` when the gateway has known nothing of
        it for a minute. Where an earlier record of the same job stands for this one, its end is told.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        while True:
            left = _left(deadline)
            # A held job answers nobody's wait until people spoke: look for that state now and then.
            story = await self._client.story(self._whereabouts.at, wait_s=min(left, pause))
            if story is None:
                self._whereabouts.unknown()
            elif self._whereabouts.moves(story):
                continue
            else:
                ended, output = concluded(story, wait_if_held=wait_if_held)
                if ended:
                    return output
            if deadline is not None and time.monotonic() >= deadline:
                raise NotFinished(f"job {self.id} ({self.source}) had not ended after {timeout} s")
            pause = min(pause * 2, 2.0)

    async def story(self) -> Story | None:
        """What is known of it now; nothing before it is judged."""
        return await self._client.story(self.source)

    async def progress(self) -> AsyncIterator[Progress]:
        """What it says while it runs, progress and pieces of its output, from now until it ends however that is. Best effort,
        and no part of its result. A job that is held is waited for.

        Raises `Unknown` when the gateway has known nothing of the job for a minute.
        """
        since = 0
        while True:
            said = await self._client._said(self._whereabouts.at, since)
            if said is None:
                # Not judged yet, or forgotten.
                self._whereabouts.unknown()
                await asyncio.sleep(_MOMENT_S)
                continue
            if self._whereabouts.moves(said["job"]):
                since = 0
                continue
            for sign in signs(said):
                yield sign
            if not goes_on(said):
                return
            since = said["next"]


class Client:
    """Submits jobs and waits for them, in an asyncio program.

    URL and key are those given, else of `TIDEGATE_URL` and `TIDEGATE_KEY`, else of the `tidegate dev` whose folder is
    `data`, `TIDEGATE_DATA` or `.tidegate`.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        tenant: str | None = None,
        data: str | os.PathLike[str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._tenant = tenant
        self._http = httpx.AsyncClient(
            base_url=_connect.address(url, data),
            headers={"authorization": f"Bearer {_connect.client_key(key, data)}"},
            timeout=httpx.Timeout(10.0, read=_WAIT_S + 35.0),
            transport=transport,
        )

    async def submit(
        self,
        *,
        topic: str,
        capability: str,
        payload: Any = None,
        tenant: str | None = None,
        id: str | None = None,
        actor: Mapping[str, str] | str | None = None,
        traceparent: str | None = None,
        **attributes: Any,
    ) -> Job:
        """Submits a job; it is sent again on errors and runs once. `attributes` are further members of the job's envelope
        (`priority`, `labels`, `requires`, `risk_tags`, `deadline`, …); `traceparent` is the trace it belongs to (W3C)."""
        job = _job(self._tenant, topic, capability, payload, tenant, id, actor, attributes)
        for attempt in range(_RETRIES + 1):
            try:
                answer = _said(await self._http.post("/v1/jobs", json=job, headers=_trace(traceparent)))
                return Job(self, answer["source"], answer["id"], job["tenant"])
            except (httpx.HTTPError, TidegateError) as error:
                await asyncio.sleep(_again(error, attempt))
        raise Unavailable("the gateway does not answer")

    async def story(self, source: str, *, wait_s: float = 0.0) -> Story | None:
        """What is known of a job, by position or id, after waiting up to so long for it to end."""
        for attempt in range(_RETRIES + 1):
            try:
                response = await self._http.get(_path(source, wait_s))
                if response.status_code == 404:
                    return None
                story: Story = _said(response)
                return story
            except (httpx.HTTPError, TidegateError) as error:
                await asyncio.sleep(_again(error, attempt))
        return None

    async def _said(self, source: str, since: int) -> Mapping[str, Any] | None:
        for attempt in range(_RETRIES + 1):
            try:
                response = await self._http.get(_progress_path(source, since))
                if response.status_code == 404:
                    return None
                said: Mapping[str, Any] = _said(response)
                return said
            except (httpx.HTTPError, TidegateError) as error:
                await asyncio.sleep(_again(error, attempt))
        return None

    async def aclose(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class BlockingJob:
    """A submitted job, for threads."""

    def __init__(self, client: BlockingClient, source: str, id: str, tenant: str) -> None:
        self._client = client
        self.source = source
        self.id = id
        self.tenant = tenant
        self._whereabouts = _Whereabouts(source, id)

    def result(self, timeout: float | None = None, *, wait_if_held: bool = False) -> Any:
        """As `Job.result`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        while True:
            story = self._client.story(self._whereabouts.at, wait_s=min(_left(deadline), pause))
            if story is None:
                self._whereabouts.unknown()
            elif self._whereabouts.moves(story):
                continue
            else:
                ended, output = concluded(story, wait_if_held=wait_if_held)
                if ended:
                    return output
            if deadline is not None and time.monotonic() >= deadline:
                raise NotFinished(f"job {self.id} ({self.source}) had not ended after {timeout} s")
            pause = min(pause * 2, 2.0)

    def story(self) -> Story | None:
        """As `Job.story`."""
        return self._client.story(self.source)

    def progress(self) -> Iterator[Progress]:
        """As `Job.progress`."""
        since = 0
        while True:
            said = self._client._said(self._whereabouts.at, since)
            if said is None:
                self._whereabouts.unknown()
                time.sleep(_MOMENT_S)
                continue
            if self._whereabouts.moves(said["job"]):
                since = 0
                continue
            yield from signs(said)
            if not goes_on(said):
                return
            since = said["next"]


class BlockingClient:
    """As `Client`, for programs without asyncio. May be shared by threads."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        tenant: str | None = None,
        data: str | os.PathLike[str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._tenant = tenant
        self._http = httpx.Client(
            base_url=_connect.address(url, data),
            headers={"authorization": f"Bearer {_connect.client_key(key, data)}"},
            timeout=httpx.Timeout(10.0, read=_WAIT_S + 35.0),
            transport=transport,
        )

    def submit(
        self,
        *,
        topic: str,
        capability: str,
        payload: Any = None,
        tenant: str | None = None,
        id: str | None = None,
        actor: Mapping[str, str] | str | None = None,
        traceparent: str | None = None,
        **attributes: Any,
    ) -> BlockingJob:
        """As `Client.submit`."""
        job = _job(self._tenant, topic, capability, payload, tenant, id, actor, attributes)
        for attempt in range(_RETRIES + 1):
            try:
                answer = _said(self._http.post("/v1/jobs", json=job, headers=_trace(traceparent)))
                return BlockingJob(self, answer["source"], answer["id"], job["tenant"])
            except (httpx.HTTPError, TidegateError) as error:
                time.sleep(_again(error, attempt))
        raise Unavailable("the gateway does not answer")

    def story(self, source: str, *, wait_s: float = 0.0) -> Story | None:
        """As `Client.story`."""
        for attempt in range(_RETRIES + 1):
            try:
                response = self._http.get(_path(source, wait_s))
                if response.status_code == 404:
                    return None
                story: Story = _said(response)
                return story
            except (httpx.HTTPError, TidegateError) as error:
                time.sleep(_again(error, attempt))
        return None

    def _said(self, source: str, since: int) -> Mapping[str, Any] | None:
        for attempt in range(_RETRIES + 1):
            try:
                response = self._http.get(_progress_path(source, since))
                if response.status_code == 404:
                    return None
                said: Mapping[str, Any] = _said(response)
                return said
            except (httpx.HTTPError, TidegateError) as error:
                time.sleep(_again(error, attempt))
        return None

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
