"""The exporter as a client sees it: questions by HTTP, and the push socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from comfyui_exporter.terminal.messages import ENDED, Job
from comfyui_exporter.terminal.plain import plain
from comfyui_exporter.terminal.way import Way

PATIENCE = 10.0
"""Seconds for connecting, and for an answer: what is asked for comes from memory, or from a database."""

LARGEST_PAGE = 500
"""Jobs that the API gives at once."""

_HEARTBEAT = 20.0
"""Seconds between our pings; half of that later an exporter that does not answer is given up."""

_FAREWELL = 1.0
"""Seconds for the exporter to agree that a socket is closed: whoever quits does not want to wait for that."""

_TURNS = 10
_LONGEST_MESSAGE = 16 * 1024 * 1024
_TRY_AGAIN = {408, 429}
"""Statuses that say nothing against asking once more, besides those from 500 on."""
_CLOCKS_AGREE = timedelta(seconds=2)
"""The header has whole seconds: less is no difference."""

Query = Sequence[tuple[str, str]]
T = TypeVar("T")


class UnreachableError(Exception):
    """Nothing answers, or not now; it may later."""


class RefusedError(Exception):
    """It answers, and will not give what was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Exporter:
    """Asks one exporter: `async with Exporter(way) as exporter`."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.ahead = timedelta(0)
        """By how much its clock is ahead of ours, as its last answer showed."""
        self.followed = False
        """Whether a push socket was ever open: it is an exporter, and lets us in."""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        if self._session is not None:
            await self._session.close()
            # A handshake of TLS that was broken off closes its socket some turns later, and then there may be no loop.
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def now(self) -> datetime:
        """The time by the exporter's clock, which all times that it tells are of."""
        return datetime.now(UTC) + self.ahead

    async def get(self, path: str, query: Query = ()) -> dict[str, Any]:
        """Read from the API; what it says, decoded.

        Raises:
            UnreachableError: nothing answers, or not now.
            RefusedError: it says no, or is no exporter.

        """
        headers, tls = await self._way_in()
        async with _told(self.way.url):
            async with asyncio.timeout(PATIENCE):
                request = self._http.get(
                    f"{self.way.url}/api/v1/{path}", params=query, headers=headers, ssl=tls, allow_redirects=False
                )
                async with request as response:
                    body = await response.read()
            self._notice(response.headers.get("Date"))
            _check(response.status, body)
            try:
                said = msgspec.json.decode(body)
            except msgspec.MsgspecError:
                said = None
            if not isinstance(said, dict):
                raise RefusedError(response.status, f"what answers at {self.way.url} is no comfyui-exporter")
            return said

    async def servers(self) -> list[dict[str, Any]]:
        """Give all servers, as the API has them. Raises what `get` raises."""
        return _items(await self.get("servers"))

    async def jobs(self, query: Query, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """Give up to so many jobs, page by page, and the cursor of those after them. Raises what `get` raises."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = [*query, ("limit", str(min(limit - len(found), LARGEST_PAGE)))]
            said = await self.get("jobs", page if cursor is None else [*page, ("cursor", cursor)])
            found += _items(said)
            cursor = said.get("next_cursor")
            if cursor is None or len(found) >= limit:
                return found[:limit], cursor

    async def results(self, servers: Sequence[str], limit: int) -> list[Job]:
        """Give the jobs that ended last. Raises what `get` raises."""
        query = [*(("status", status) for status in ENDED), *(("server", server) for server in servers)]
        return typed((await self.jobs(query, limit))[0], Job)

    async def job(self, name: str) -> tuple[Job, dict[str, Any]] | None:
        """Give the newest run of a job by its job_id or prompt_id; None if the exporter knows none, or does not say."""
        with contextlib.suppress(UnreachableError, RefusedError):
            data = await self.get(f"jobs/{quote(name, safe='')}")
            return typed([data], Job)[0], data
        return None

    async def titles(self) -> dict[str, str]:
        """Give failure patterns in words; none of an exporter that does not say."""
        with contextlib.suppress(UnreachableError, RefusedError, ValueError):
            return msgspec.convert((await self.get("about")).get("failure_patterns"), dict[str, str])
        return {}

    async def socket(self, query: Query = ()) -> aiohttp.ClientWebSocketResponse:
        """Open the push socket; the caller closes it.

        Raises:
            UnreachableError: nothing answers, or not now.
            RefusedError: it says no, or is no exporter.

        """
        headers, tls = await self._way_in()
        async with _told(self.way.url):
            try:
                async with asyncio.timeout(PATIENCE):
                    socket = await self._http.ws_connect(
                        f"{self.way.url}/ws",
                        params=query,
                        headers=headers,
                        ssl=tls,
                        heartbeat=_HEARTBEAT,
                        timeout=aiohttp.ClientWSTimeout(ws_close=_FAREWELL),
                        max_msg_size=_LONGEST_MESSAGE,
                        compress=0,
                    )
            except aiohttp.WSServerHandshakeError as error:
                if error.status == 200:
                    raise RefusedError(200, f"what answers at {self.way.url} has no push socket") from None
                _check(error.status, b"")
                raise
        self.followed = True
        return socket

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("it is not open: use `async with`")
        return self._session

    async def _way_in(self) -> tuple[dict[str, str], ssl.SSLContext | bool]:
        try:
            headers, tls = await asyncio.to_thread(lambda: (self.way.headers(), self.way.tls()))
        except (OSError, ValueError) as error:
            # They could be read at the start: somebody is about to change them.
            raise UnreachableError(f"a file that opens the way cannot be used: {error}") from error
        return dict(headers), tls

    def _notice(self, date: str | None) -> None:
        with contextlib.suppress(TypeError, ValueError):
            ahead = parsedate_to_datetime(date or "") + timedelta(seconds=0.5) - datetime.now(UTC)
            self.ahead = timedelta(0) if abs(ahead) < _CLOCKS_AGREE else ahead


def typed(items: Sequence[dict[str, Any]], kind: type[T]) -> list[T]:
    """Read items of the API.

    Raises:
        RefusedError: they are not what an exporter says.

    """
    try:
        return [msgspec.convert(item, kind) for item in items]
    except msgspec.ValidationError as error:
        raise RefusedError(200, f"the answer is not that of a comfyui-exporter: {error}") from error


def _items(said: dict[str, Any]) -> list[dict[str, Any]]:
    items = said.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RefusedError(200, "the answer is not that of a comfyui-exporter")
    return items


@contextlib.asynccontextmanager
async def _told(url: str) -> AsyncIterator[None]:
    """Turn what can go wrong on the way into words."""
    try:
        yield
    except TimeoutError as error:
        raise UnreachableError(f"{url} does not answer within {PATIENCE:g} s") from error
    except aiohttp.ClientConnectorCertificateError as error:
        why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        message = f"the certificate of {url} is not trusted: {why} (--ca-file FILE, or --insecure)"
        raise RefusedError(0, message) from error
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno
        # asyncio has words of its own for the first; those of a name that is not found have a negative number.
        why = os.strerror(number) if number and number > 0 else error.os_error.strerror or str(error.os_error)
        raise UnreachableError(f"{url} cannot be reached: {plain(why, 200)}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UnreachableError(f"{url} cannot be reached: {plain(str(error) or type(error).__name__, 200)}") from error


def _check(status: int, body: bytes) -> None:
    """Raises unless an answer is what was asked for."""
    if status == 200:
        return
    message = f"the exporter answers {status}"
    if status == 401:
        message = "the exporter asks for a password or token (--basic-auth-file FILE or --token-file FILE)"
    elif 300 <= status < 400:
        message = f"the answer is {status}, a redirect: is this the address of an exporter?"
    elif words := _words(body):
        message = f"{message}: {words}"
    if status >= 500 or status in _TRY_AGAIN:
        raise UnreachableError(message)
    raise RefusedError(status, message)


def _words(body: bytes) -> str:
    try:
        error = msgspec.json.decode(body)["error"]
        return plain(error["message"], 300)
    except (msgspec.MsgspecError, LookupError, TypeError):
        return ""
