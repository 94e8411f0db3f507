"""Receivers on real sockets, a clock that is moved, and what a sender needs besides."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections import Counter
from contextlib import asynccontextmanager
from random import Random

from aiohttp import web
from aiohttp.abc import AbstractResolver

from comfyui_exporter.webhooks.allowed import AllowedHosts
from comfyui_exporter.webhooks.delivery import Delivery
from comfyui_exporter.webhooks.outbox import MemoryOutbox
from comfyui_exporter.webhooks.poster import Poster, Target
from comfyui_exporter.webhooks.schedule import Schedule
from comfyui_exporter.webhooks.sender import Sender

PATIENCE = 20.0
"""Seconds within which anything happens, on a slow machine too."""

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Time:
    """Unix seconds that stand still until they are moved, and a pause that ends when they are."""

    def __init__(self, now=NOON):
        self.now = now
        self._moved = asyncio.Event()

    def __call__(self):
        return self.now

    def move(self, seconds):
        self.now += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    async def pause(self, woken, seconds):
        end = self.now + seconds
        while not woken.is_set() and self.now < end:
            waits = [asyncio.ensure_future(event.wait()) for event in (woken, self._moved)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()


class Counted(Counter):
    """What the sender counted."""

    def delivered(self):
        self["delivered"] += 1

    def failed(self):
        self["failed"] += 1

    def dead(self):
        self["dead"] += 1

    def refused(self):
        self["refused"] += 1


class Receiver:
    """An application that takes calls: answers with `statuses`, one after the other, then with the last one."""

    def __init__(self, *statuses, headers=None, gate=None):
        self.statuses = list(statuses) or [204]
        self.headers = headers or {}
        self.gate = gate
        self.got = []
        self.url = ""

    @property
    def ids(self):
        return [headers["webhook-id"] for headers, _ in self.got]

    @property
    def bodies(self):
        return [json.loads(body) for _, body in self.got]

    async def answer(self, request):
        self.got.append((dict(request.headers), await request.text()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if self.gate is not None:
            await self.gate.wait()
        return web.Response(status=status, headers=self.headers)


@asynccontextmanager
async def serving(handler):
    """Serve every path by one handler; the base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def receiving(*statuses, **options):
    receiver = Receiver(*statuses, **options)
    async with serving(receiver.answer) as url:
        receiver.url = f"{url}/hook"
        yield receiver


def delivery(number=1, url="http://127.0.0.1:9/hook", hook="h", status="completed", at=NOON, **fields):
    body = json.dumps({"type": "progress_update", "id": f"msg_{number}", "data": {"run_id": f"r{number}"}})
    return Delivery(f"msg_{number}", hook, url, f"r{number}", status, body, created_at=at, next_at=at, **fields)


class Names(AbstractResolver):
    """A DNS of our own: each name has its addresses, and may have others the next time."""

    def __init__(self, **addresses):
        self.addresses = {name.replace("_", "."): list(found) for name, found in addresses.items()}
        self.asked = []

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        found = self.addresses.get(host)
        if not found:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        answer = found.pop(0) if len(found) > 1 else found[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in answer.split()
        ]

    async def close(self):
        pass


class Sending:
    """A sender at work, with all that it was given."""

    def __init__(self, targets=None, allowed=None, *, timeout=PATIENCE, names=None, outbox=None, wall=None):
        self.time = wall or Time()
        self.counts = Counted()
        self.outbox = MemoryOutbox(self.counts.dead) if outbox is None else outbox
        options = {} if names is None else {"resolver": lambda: names}
        targets = {"h": Target()} if targets is None else targets
        self.poster = Poster(targets, allowed or AllowedHosts(()), self.time, timeout=timeout, **options)
        schedule = Schedule(Random(1))
        self.sender = Sender(self.outbox, self.poster.post, schedule, self.time, self.counts, self.time.pause)

    async def counted(self, **expected):
        await until(lambda: self.counts == expected)
        return self

    async def __aenter__(self):
        self._task = asyncio.create_task(self.sender.run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.poster.close()


def signed(key, headers, body):
    """Whether a call proves that it comes from who has the key: the specification, told in other words."""
    content = b".".join(part.encode() for part in (headers["webhook-id"], headers["webhook-timestamp"], body))
    version, _, signature = headers["webhook-signature"].partition(",")
    return version == "v1" and base64.b64decode(signature) == hmac.digest(key, content, hashlib.sha256)
