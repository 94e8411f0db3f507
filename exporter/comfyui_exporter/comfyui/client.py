"""The HTTP client of one ComfyUI: typed reads, failures with kinds, and an account of what they cost."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from comfyui_exporter.comfyui.connection import Access, open_session, refused, why
from comfyui_exporter.comfyui.errors import ErrorKind, ReadError
from comfyui_exporter.comfyui.history import HistoryPayload, Knows, read_history
from comfyui_exporter.comfyui.json import Body, PayloadError
from comfyui_exporter.comfyui.queue import Known, QueuePayload, read_job_details, read_jobs, read_prompt, read_queue
from comfyui_exporter.comfyui.submission import SubmissionReader
from comfyui_exporter.comfyui.submit import Submitter
from comfyui_exporter.comfyui.system import read_system_stats
from comfyui_exporter.tracker.observations import Details, SystemStats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")

_CLOSE = 1.0
"""Seconds that the other side of a socket gets to say goodbye; a frozen one never does."""

_SMALL = 1024 * 1024
"""Bytes that the answers of /prompt and /system_stats never have; the others grow with queue and history."""

_PAGE = 64 * 1024 * 1024
"""Bytes of a page of the history, one entry, or a list without graphs. Pages are asked for by size: 1.5 MB, or one."""

_NO_OBJECT = re.compile(rb"[ \t\r\n]*[^ \t\r\n{]")
"""Every answer that is read is a JSON object."""

_LARGE = 1024 * 1024
"""Bytes from which decoding is done in a thread, so that others need not wait for the graphs of a deep queue."""

_MAX_FRAME = 64 * 1024 * 1024
"""A preview of a large image is some MB."""


RequestObserver = Callable[[str, str, float, int], None]
"""Is told of each request: (route, result, seconds, received bytes); the route never has an id in it."""


def _unheard() -> None:
    pass


def _unobserved(_route: str, _result: str, _seconds: float, _received_bytes: int) -> None:
    pass


def _unreported(_route: str, _problem: str) -> None:
    pass


@dataclass(slots=True)
class Cost:
    """What the last read brought over the wire."""

    received_bytes: int = 0


@dataclass
class ComfyUIClient:
    """Reads one ComfyUI. An async context manager; without one, `close` it.

    Every read raises ReadError when there is no usable answer.
    """

    url: str | None = None
    """None: what COMFYUI_URL says, or else http://127.0.0.1:8188."""
    access: Access = field(default_factory=Access)
    request_timeout: float = 10.0
    max_response_size: int = 256 * 1024 * 1024
    submissions: SubmissionReader = field(default_factory=SubmissionReader)
    observe: RequestObserver = _unobserved
    report_problem: Callable[[str, str], None] = _unreported
    """Is told of each part of a payload that could not be used: (route, what is wrong)."""
    on_reconnect: Callable[[], None] = _unheard
    """Is called when reads need a new connection although the other side had left the last one open."""

    def __post_init__(self) -> None:
        self.url = self.url or os.environ.get("COMFYUI_URL") or "http://127.0.0.1:8188"
        self._base = self.url.rstrip("/")
        self._http: aiohttp.ClientSession | None = None
        self._sockets: aiohttp.ClientSession | None = None
        self._headers: Mapping[str, str] | None = None
        self._socket_headers: Mapping[str, str] | None = None
        self._opening = asyncio.Lock()
        self._closing = False
        self._connected = False
        self.last = Cost()

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    def attend(
        self,
        observe: RequestObserver,
        report_problem: Callable[[str, str], None],
        on_reconnect: Callable[[], None],
    ) -> None:
        """Tell these of requests, of payloads that could not be used, and of new connections."""
        self.observe, self.report_problem, self.on_reconnect = observe, report_problem, on_reconnect

    async def close(self) -> None:
        """Close every connection."""
        for session in (self._http, self._sockets):
            if session is not None:
                await session.close()
        self._http = self._sockets = None

    # Reads

    async def queue_remaining(self) -> int:
        """GET /prompt: running and pending jobs together, the cheapest read there is."""
        return await self._read("/prompt", "/prompt", read_prompt, limit=_SMALL)

    async def queue(self, known: Known) -> QueuePayload:
        """GET /queue: everything that runs and waits."""
        return self._reported(
            "/queue", await self._read("/queue", "/queue", lambda body: read_queue(body, self.submissions, known))
        )

    async def history_entry(self, prompt_id: str, knows: Knows) -> HistoryPayload:
        """GET /history/{prompt_id}; empty where ComfyUI knows no such job."""
        return await self._history("/history/{prompt_id}", f"/history/{quote(prompt_id, safe='')}", knows)

    async def history_page(self, max_items: int, knows: Knows, offset: int | None = None) -> HistoryPayload:
        """GET /history?max_items=N: the newest N entries, or those from `offset` on, counted from the oldest."""
        query = f"?max_items={max_items}" + ("" if offset is None else f"&offset={offset}")
        return await self._history("/history", f"/history{query}", knows)

    async def _history(self, route: str, path: str, knows: Knows) -> HistoryPayload:
        return self._reported(
            route, await self._read(route, path, lambda body: read_history(body, self.submissions, knows), limit=_PAGE)
        )

    async def jobs(self) -> QueuePayload | None:
        """GET /api/jobs of the jobs in the queue, without details; None where this ComfyUI has no such route."""
        path = "/api/jobs?status=in_progress,pending&sort_by=created_at&sort_order=asc"
        try:
            return self._reported(
                "/api/jobs", await self._read("/api/jobs", path, read_jobs, may_be_absent=True, limit=_PAGE)
            )
        except ReadError as error:
            if error.status == 404:
                return None
            raise

    async def job_details(self, prompt_id: str) -> Details | None:
        """GET /api/jobs/{id}; None where this ComfyUI doesn't tell what was submitted, a 404 if it is gone."""
        path = f"/api/jobs/{quote(prompt_id, safe='')}"
        return await self._read(
            "/api/jobs/{id}",
            path,
            lambda body: read_job_details(body, self.submissions),
            may_be_absent=True,
            limit=_PAGE,
        )

    async def system_stats(self) -> SystemStats:
        """GET /system_stats."""
        return await self._read("/system_stats", "/system_stats", read_system_stats, limit=_SMALL)

    def _reported(self, route: str, payload: _Payload) -> _Payload:
        for problem in payload.problems:
            self.report_problem(route, problem)
        return payload

    # The wire

    async def _read(
        self,
        route: str,
        path: str,
        decode: Callable[[Body], T],
        *,
        may_be_absent: bool = False,
        limit: int | None = None,
    ) -> T:
        """GET one path and decode its body. With `may_be_absent`, a 404 is counted as a good answer (and raised).

        `limit` is how many bytes it has at most, whatever `max_response_size` says.
        """
        began = time.perf_counter()
        result, self.last = ErrorKind.CONNECTION.value, Cost()
        try:
            status, body = await self._get(path, min(limit or self.max_response_size, self.max_response_size))
            if status != 200:
                raise ReadError(ErrorKind.HTTP, f"GET {route}: status {status}", status=status)
            read = decode(body) if len(body) < _LARGE else await asyncio.to_thread(decode, body)
        except PayloadError as error:
            result = ErrorKind.PAYLOAD.value
            raise ReadError(ErrorKind.PAYLOAD, f"GET {route}: {error}") from None
        except ReadError as error:
            result = "ok" if may_be_absent and error.status == 404 else error.kind.value
            raise
        except TimeoutError:
            result = ErrorKind.TIMEOUT.value
            raise ReadError(ErrorKind.TIMEOUT, f"GET {route}: no answer in {self.request_timeout:g} s") from None
        except aiohttp.ClientResponseError as error:
            result = ErrorKind.HTTP.value
            raise ReadError(ErrorKind.HTTP, f"GET {route}: {error.message}"[:300]) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            result = ErrorKind.CONNECTION.value
            raise ReadError(ErrorKind.CONNECTION, f"GET {route}: {why(error)}", refused=refused(error)) from None
        else:
            result = "ok"
            return read
        finally:
            self.observe(route, result, time.perf_counter() - began, self.last.received_bytes)

    async def _get(self, path: str, limit: int) -> tuple[int, Body]:
        status, body = await self._get_once(path, limit)
        if status in {401, 403} and await self._new_secrets():
            status, body = await self._get_once(path, limit)
        return status, body

    async def _get_once(self, path: str, limit: int) -> tuple[int, Body]:
        session = await self._session()
        try:
            async with session.get(URL(self._base + path, encoded=True), allow_redirects=False) as response:
                usual = "keep-alive" if response.version == aiohttp.HttpVersion11 else "close"
                self._closing = (response.headers.get("Connection") or usual).lower() == "close"
                return response.status, await self._body(response, limit)
        except aiohttp.ClientConnectionError:
            await self._forget(session)
            raise

    async def _body(self, response: aiohttp.ClientResponse, limit: int) -> Body:
        if (response.content_length or 0) > limit:
            raise ReadError(ErrorKind.PAYLOAD, f"an answer of {response.content_length} bytes is over the limit")
        body = bytearray()  # grows in place: pieces and what they are joined to would be twice as much
        async for chunk in response.content.iter_any():
            self.last.received_bytes += len(chunk)
            if self.last.received_bytes > limit:
                raise ReadError(ErrorKind.PAYLOAD, f"an answer is over the limit of {limit} bytes")
            if response.status == 200 and not body and _NO_OBJECT.match(chunk):
                # Whatever it is, the rest of it is not worth its way.
                raise PayloadError("it is no JSON object")
            body += chunk
        return body

    async def _new_secrets(self) -> bool:
        """Read the secrets again after a refusal; True if they changed since."""
        before, self._headers = self._headers, await asyncio.to_thread(self.access.headers)
        if self._headers == before:
            return False
        if self._http is not None:
            await self._http.close()
            self._http = None
            self._closing = True  # by us: no news of the other side
        return True

    async def _forget(self, session: aiohttp.ClientSession) -> None:
        """Begin anew after a broken connection, if TLS may be why: certificates are replaced before they expire."""
        if not self._base.startswith("https:"):
            return
        if session is self._http:
            self._http = None
        if session is self._sockets:
            self._sockets = None
        await session.close()

    async def _session(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._http is None:
                self._http = await self._open_session()
            return self._http

    async def _open_session(self, *, for_reads: bool = True) -> aiohttp.ClientSession:
        if self._headers is None:
            self._headers = await asyncio.to_thread(self.access.headers)
        tls = await asyncio.to_thread(self.access.tls)
        connected = self._count_connection if for_reads else _unheard
        return open_session(self._headers, tls, self.request_timeout, connected, follows_redirects=not for_reads)

    def _count_connection(self) -> None:
        if self._connected and not self._closing:
            self.on_reconnect()
        self._connected = True

    # Submitting

    async def submit_workflow(
        self, workflow: Mapping[str, Any], client_id: str | None = None, extra_data: Mapping[str, Any] | None = None
    ) -> str | None:
        """POST /prompt: queue a workflow in ComfyUI's API format and give its prompt_id.

        None if it was refused or ComfyUI was not reached, with the reason in the log. After a timeout, or where
        ComfyUI fails with a 500, it may be queued nevertheless.
        """
        submitter = Submitter(self._base, self.access.headers, self.access.tls, self.request_timeout)
        return await submitter.submit(workflow, client_id, extra_data)

    # The event stream

    @asynccontextmanager
    async def socket(self, client_id: str, heartbeat: float) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open /ws under a clientId, which must be fresh: a second socket of one id makes the first one deaf.

        Raises:
            ReadError: it can't be opened.

        """
        route = "/ws"
        began = time.perf_counter()
        result = ErrorKind.CONNECTION.value
        try:
            if self._sockets is not None and self._socket_headers != self._headers:
                await self._sockets.close()
                self._sockets = None
            if self._sockets is None:
                self._sockets = await self._open_session(for_reads=False)
                self._socket_headers = self._headers
            url = URL(f"{self._base}/ws?clientId={quote(client_id, safe='')}", encoded=True)
            async with asyncio.timeout(self.request_timeout):
                socket = await self._sockets.ws_connect(
                    url,
                    heartbeat=heartbeat,
                    max_msg_size=_MAX_FRAME,
                    compress=0,
                    autoping=True,
                    timeout=aiohttp.ClientWSTimeout(ws_close=min(_CLOSE, self.request_timeout)),
                )
            result = "ok"
        except TimeoutError:
            result = ErrorKind.TIMEOUT.value
            raise ReadError(ErrorKind.TIMEOUT, f"{route}: no answer in {self.request_timeout:g} s") from None
        except aiohttp.ClientResponseError as error:
            result = ErrorKind.HTTP.value
            raise ReadError(ErrorKind.HTTP, f"{route}: status {error.status}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            result = ErrorKind.CONNECTION.value
            if self._sockets is not None:
                await self._forget(self._sockets)
            raise ReadError(ErrorKind.CONNECTION, f"{route}: {why(error)}", refused=refused(error)) from None
        finally:
            self.observe(route, result, time.perf_counter() - began, 0)
        try:
            yield socket
        finally:
            await socket.close()


_Payload = TypeVar("_Payload", QueuePayload, HistoryPayload)


_NEVER_ASKED = frozenset("{}\ufffd")


def askable(prompt_id: str) -> bool:
    """Whether /history/{prompt_id} can be asked: ComfyUI takes any string as an id, a URL does not.

    The empty string has no route, nor has one with a brace (a 404 of ComfyUI's router, however it is quoted), dots are
    folded away by URL rules, and very long ones exceed a request line.
    """
    return 0 < len(prompt_id) <= 500 and prompt_id not in {".", ".."} and not _NEVER_ASKED.intersection(prompt_id)
