"""The HTTP server of a simulated ComfyUI: its routes, with the answers and the errors of the real one."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from comfyui_exporter.simulator.answer import Answer
from comfyui_exporter.simulator.comfy import ComfyUI
from comfyui_exporter.simulator.node_classes import NODE_CLASSES
from comfyui_exporter.simulator.respond import Responder
from comfyui_exporter.simulator.sockets import Sockets
from comfyui_exporter.simulator.submission import canonical_prompt_id
from comfyui_exporter.simulator.system import features

Make = Callable[[web.Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class ComfyRoutes:
    """The handlers; each makes an `Answer`, which the responder delivers or, with a fault, does not."""

    comfy: ComfyUI
    sockets: Sockets
    responder: Responder

    def add_to(self, app: web.Application) -> None:
        """Register every route, with and without /api in front; /api/jobs exists only with it."""
        for method, path, route, make in self._routes():
            for prefix in ("", "/api"):
                app.router.add_route(method, prefix + path, self.responder.handler(route, make))
        for path in ("/ws", "/api/ws"):
            app.router.add_get(path, self.responder.socket_handler(self.sockets.serve))
        if self.comfy.profile.jobs_api:
            app.router.add_get("/api/jobs", self.responder.handler("jobs", self._jobs))
            app.router.add_get("/api/jobs/{prompt_id}", self.responder.handler("job", self._job))
        if self.comfy.profile.cancel_api:
            cancel_one = self.responder.handler("cancel", self._cancel)
            app.router.add_post("/api/jobs/cancel", self.responder.handler("cancel", self._cancel_batch))
            app.router.add_post("/api/jobs/{prompt_id}/cancel", cancel_one)
        app.router.add_get("/", self.responder.handler("root", self._root))
        app.router.add_route("*", "/{path:.*}", self.responder.handler("unknown", self._unknown))

    def _routes(self) -> list[tuple[str, str, str, Make]]:
        return [
            ("GET", "/prompt", "prompt", self._prompt_info),
            ("GET", "/queue", "queue", self._queue),
            ("GET", "/history", "history", self._history),
            ("GET", "/history/{prompt_id}", "history_one", self._history_one),
            ("GET", "/system_stats", "system_stats", self._system_stats),
            ("GET", "/features", "features", self._features),
            ("GET", "/object_info", "object_info", self._object_info),
            ("GET", "/object_info/{class_type}", "object_info_one", self._object_info_one),
            ("POST", "/prompt", "post_prompt", self._post_prompt),
            ("POST", "/queue", "post_queue", self._post_queue),
            ("POST", "/interrupt", "interrupt", self._interrupt),
            ("POST", "/history", "post_history", self._post_history),
            ("POST", "/free", "free", self._free),
        ]

    async def _prompt_info(self, _: web.Request) -> Answer:
        return self.comfy.prompt_info()

    async def _queue(self, _: web.Request) -> Answer:
        return self.comfy.queue()

    async def _history(self, request: web.Request) -> Answer:
        max_items, offset = request.query.get("max_items"), request.query.get("offset")
        # What is no number raises ValueError, and that is a 500 here as it is in ComfyUI.
        return self.comfy.history(None if max_items is None else int(max_items), -1 if offset is None else int(offset))

    async def _history_one(self, request: web.Request) -> Answer:
        return self.comfy.history_one(request.match_info["prompt_id"])

    async def _system_stats(self, _: web.Request) -> Answer:
        return self.comfy.system_stats()

    async def _features(self, _: web.Request) -> Answer:
        return self._plain(features(self.comfy.profile))

    async def _object_info(self, _: web.Request) -> Answer:
        return self._plain({name: node_class.object_info() for name, node_class in NODE_CLASSES.items()})

    async def _object_info_one(self, request: web.Request) -> Answer:
        name = request.match_info["class_type"]
        return self._plain({name: NODE_CLASSES[name].object_info()} if name in NODE_CLASSES else {})

    async def _jobs(self, request: web.Request) -> Answer:
        return self.comfy.jobs(request.query)

    async def _job(self, request: web.Request) -> Answer:
        return self.comfy.job(request.match_info["prompt_id"])

    async def _post_prompt(self, request: web.Request) -> Answer:
        status, body = self.comfy.submit(await request.json())
        return self._plain(body, status)

    async def _post_queue(self, request: web.Request) -> Answer:
        body = await request.json()
        if "clear" in body and body["clear"]:  # noqa: RUF019 - the body may be a list, as for the real one
            self.comfy.clear_pending()
        if "delete" in body:
            self.comfy.delete_pending(body["delete"])
        return self._plain("")

    async def _interrupt(self, request: web.Request) -> Answer:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        self.comfy.interrupt(body.get("prompt_id"))
        return self._plain("")

    async def _post_history(self, request: web.Request) -> Answer:
        body = await request.json()
        if "clear" in body and body["clear"]:  # noqa: RUF019 - as above
            self.comfy.clear_history()
        if "delete" in body:
            self.comfy.delete_history(body["delete"])
        return self._plain("")

    async def _free(self, request: web.Request) -> Answer:
        body = await request.json()
        if body.get("unload_models") or body.get("free_memory"):
            self.comfy.machine.unload()
        return self._plain("")

    async def _cancel(self, request: web.Request) -> Answer:
        return self._plain({"cancelled": self.comfy.cancel(request.match_info["prompt_id"])})

    async def _cancel_batch(self, request: web.Request) -> Answer:
        body = await request.json()
        prompt_ids = body.get("job_ids") if isinstance(body, dict) else None
        if not isinstance(prompt_ids, list):
            return self._plain({"error": "job_ids must be a list"}, 400)
        if not all(canonical_prompt_id(prompt_id) for prompt_id in prompt_ids):
            return self._plain({"error": "job_ids must be UUIDs"}, 400)
        cancelled = [self.comfy.cancel(prompt_id) for prompt_id in prompt_ids]
        return self._plain({"cancelled": any(cancelled)})

    async def _root(self, _: web.Request) -> Answer:
        return self._plain("A simulated ComfyUI, without a user interface.\n")

    async def _unknown(self, request: web.Request) -> Answer:
        # ComfyUI looks for a file of its web root here, which can only be read.
        if request.method not in {"GET", "HEAD"}:
            return self._plain("405: Method Not Allowed", 405)
        return self._plain("", 404)

    def _plain(self, body: Any, status: int = 200) -> Answer:
        return Answer(status, body, self.comfy.ledger.receipt())
