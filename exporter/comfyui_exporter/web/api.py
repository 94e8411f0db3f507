"""`/api/v1`: jobs, batches, servers and statistics for programs, and the registration of jobs."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from comfyui_exporter.config.webhook_urls import LONGEST_URL, NotAllowedError
from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.jobs.history import JobHistory, JobQuery, NotNowError
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.push.access import Access
from comfyui_exporter.push.local import statistics_of
from comfyui_exporter.push.messages import batch_data, job_data, server_data
from comfyui_exporter.tracker.observations import SystemStats
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.web.about import ABOUT
from comfyui_exporter.web.body import read_object
from comfyui_exporter.web.errors import ApiError
from comfyui_exporter.web.guard import WriteGuard

log = logging.getLogger("comfyui_exporter.web")

PAGE, LARGEST_PAGE = 50, 500
_LARGEST_BODY = 64 * 1024
_LONGEST = 1_000
"""Characters of an id; those of ComfyUI are UUIDs."""

_KEEP_PATIENCE = 1.0
"""Seconds that the answer to a registration waits for the store; what one that is away misses, it gets later."""

_FILTERS = ("server", "job_type", "batch_id")


class Register(Protocol):
    """Registers a job (`Monitor.register`)."""

    def __call__(
        self,
        *,
        job_id: int | str,
        prompt_id: str,
        job_type: str | None,
        batch_id: str | None,
        server: str | None,
        webhook_url: str | None,
    ) -> Registration:
        """Tell which job of an application a prompt is."""
        ...


@dataclass(frozen=True, slots=True)
class Api:
    """What the API answers from. `token_for` makes the push token of one job, None where none is asked for.

    `check_webhook` raises ValueError for a URL that cannot be called, NotAllowedError for one that may not be; without
    it registrations may not carry one.
    """

    board: JobBoard
    history: JobHistory
    register: Register
    kept: Callable[[float], Awaitable[bool]]
    token_for: Callable[[str], Awaitable[str | None]]
    access: Access
    guard: WriteGuard
    check_webhook: Callable[[str], object] | None = None

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.middlewares.append(self._errors)
        app.router.add_get("/api/v1/servers", self._servers)
        app.router.add_get("/api/v1/jobs", self._jobs)
        app.router.add_post("/api/v1/jobs", self._register)
        app.router.add_get("/api/v1/jobs/{id:.+}", self._job)
        app.router.add_get("/api/v1/batches/{id:.+}", self._batch)
        app.router.add_get("/api/v1/statistics", self._statistics)

    @property
    def _errors(self) -> Any:
        @web.middleware
        async def middleware(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if not request.path.startswith("/api/"):
                return await handler(request)
            try:
                if request.method != "POST" and request.path != ABOUT:
                    self.guard.check_reading(request)
                response = await handler(request)
            except ApiError as error:
                response = _error(error.status, error.code, error.message)
            except NotNowError as error:
                response = _error(503, "store_away", str(error))
            except web.HTTPException as error:
                response = _error(error.status, error.reason.lower().replace(" ", "_"), error.reason)
                response.headers.extend({"Allow": error.headers["Allow"]} if "Allow" in error.headers else {})
            except Exception:
                log.exception("a request of the API failed")
                response = _error(500, "internal", "this is a defect; the log of the exporter has more")
            origin = request.headers.get("Origin")
            if origin is not None:
                response.headers["Vary"] = "Origin"
                if request.method == "GET" and self.access.allows(origin, request.headers.get("Host")):
                    response.headers["Access-Control-Allow-Origin"] = origin
            return response

        return middleware

    # Reading

    async def _servers(self, _: web.Request) -> web.Response:
        items = [server_data(server) | _system(self.board.system(server.server)) for server in self.board.servers]
        return _json({"items": items})

    async def _jobs(self, request: web.Request) -> web.Response:
        query = request.query
        statuses = frozenset(query.getall("status", []))
        unknown = statuses - set(ProgressStatus)
        if unknown:
            raise ApiError(400, "bad_request", f"no such status; allowed: {', '.join(ProgressStatus)}")
        wanted = {name: frozenset(query.getall(name)) for name in _FILTERS if name in query}
        limit = min(_number(query.get("limit"), PAGE, "limit", least=1), LARGEST_PAGE)
        before = _number(query.get("cursor"), None, "cursor", least=0)

        asked = JobQuery(
            frozenset(map(ProgressStatus, statuses)) or None,
            wanted.get("server"),
            wanted.get("job_type"),
            wanted.get("batch_id"),
        )
        found = await self.history.page(asked, limit + 1, before)
        more = len(found) > limit
        return _json(
            {
                "items": [job_data(update) for _, update in found[:limit]],
                "next_cursor": str(found[limit - 1][0]) if more else None,
            }
        )

    async def _job(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        # What is in memory is given while the store is away too.
        update = self.board.find(job_id=wanted) or self.board.find(prompt_id=wanted)
        update = update or await self.history.find(job_id=wanted) or await self.history.find(prompt_id=wanted)
        if update is None:
            raise ApiError(404, "not_found", "no such job")
        return _json(job_data(update, self.board.find_nodes(update)))

    async def _batch(self, request: web.Request) -> web.Response:
        batch = await self.history.batch(request.match_info["id"])
        if batch is None:
            raise ApiError(404, "not_found", "no such batch")
        return _json(batch_data(batch))

    async def _statistics(self, _: web.Request) -> web.Response:
        return _json(statistics_of(self.board))

    # Writing

    async def _register(self, request: web.Request) -> web.Response:
        self.guard.check(request)
        body = await read_object(request, _LARGEST_BODY)
        unknown = body.keys() - {"job_id", "prompt_id", "job_type", "batch_id", "server", "webhook_url"}
        if unknown:
            raise ApiError(400, "bad_request", f"unknown key {min(unknown)[:50]!r}")
        server = _text(body, "server")
        if server is not None and server not in {known.server for known in self.board.servers}:
            raise ApiError(400, "unknown_server", "no server of this name is watched")
        prompt_id = _text(body, "prompt_id")
        if prompt_id is None:
            raise ApiError(400, "bad_request", "prompt_id is missing")
        job_id = _job_id(body)
        registration = self.register(
            job_id=job_id,
            prompt_id=prompt_id,
            job_type=_text(body, "job_type", 200),
            batch_id=_text(body, "batch_id", 200),
            server=server,
            webhook_url=self._webhook_url(body),
        )
        await self.kept(_KEEP_PATIENCE)
        update = self.board.find(job_id=job_id, prompt_id=registration.prompt_id)
        answer = {} if update is None else job_data(update)
        token = await self.token_for(registration.prompt_id)
        return _json(answer if token is None else {**answer, "push_token": token}, status=201)

    def _webhook_url(self, body: dict[str, Any]) -> str | None:
        url = _text(body, "webhook_url", LONGEST_URL)
        if url is None:
            return None
        if self.check_webhook is None:
            raise ApiError(403, "webhook_not_allowed", "webhook_url needs registered_webhooks in the configuration")
        try:
            self.check_webhook(url)
        except ValueError as error:
            raise ApiError(400, "bad_request", f"webhook_url {error}") from None
        except NotAllowedError as error:
            raise ApiError(403, "webhook_not_allowed", f"webhook_url: {error}") from None
        return url


def _system(stats: SystemStats | None) -> dict[str, Any]:
    """What is known of a server's version and memory. Only who asks gets it: memory changes all the time."""
    if stats is None:
        return {"version": None, "ram_total": None, "ram_free": None, "devices": []}
    return {
        "version": stats.version or None,
        "ram_total": stats.ram_total,
        "ram_free": stats.ram_free,
        "devices": [
            {"name": each.name, "type": each.type, "vram_total": each.vram_total, "vram_free": each.vram_free}
            for each in stats.devices
        ],
    }


def _json(data: object, status: int = 200) -> web.Response:
    return web.json_response(data, status=status, dumps=_dumps)


def _dumps(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _error(status: int, code: str, message: str) -> web.Response:
    return _json({"error": {"code": code, "message": message}}, status)


def _number(text: str | None, default: Any, name: str, *, least: int) -> Any:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise ApiError(400, "bad_request", f"{name} is not valid")
    return int(text)


def _text(body: dict[str, Any], name: str, longest: int = _LONGEST) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise ApiError(400, "bad_request", f"{name} is not a printable text of 1 to {longest} characters")
    return value


def _job_id(body: dict[str, Any]) -> int | str:
    value = body.get("job_id")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return value
    text = _text(body, "job_id", 200) if isinstance(value, str) else None
    if text is None:
        raise ApiError(400, "bad_request", "job_id is missing, or neither a number nor a text")
    return text
