"""Those who are notified: an HTTP server and a mail server that keep what they get."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
from contextlib import asynccontextmanager

from aiohttp import web

from alertmanager.programs import PATIENCE


class Kept(list):
    """What came; a test waits for what it expects."""

    def __init__(self):
        super().__init__()
        self._came = asyncio.Event()

    def put(self, item):
        self.append(item)
        self._came.set()

    async def find(self, wanted=lambda _: True):
        """The first one that is wanted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for item in self:
                    if wanted(item):
                        return item
                self._came.clear()
                await self._came.wait()


class Web:
    """Answers every POST as Slack does, and keeps (path, headers, JSON)."""

    def __init__(self):
        self.url = ""
        self.calls = Kept()

    async def body(self, wanted=lambda _: True):
        """The first body that is wanted."""
        return (await self.calls.find(lambda call: wanted(call[2])))[2]

    async def answer(self, request):
        self.calls.put((request.path, dict(request.headers), json.loads(await request.text())))
        if request.path.startswith("/v2/enqueue"):
            return web.json_response({"status": "success", "message": "", "dedup_key": "k"}, status=202)
        return web.Response(text="ok")


@asynccontextmanager
async def web_server():
    kept = Web()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/{path:.*}", kept.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield kept
    finally:
        await runner.cleanup()


class Mail:
    """As much of SMTP as a client with a password needs."""

    def __init__(self):
        self.address = ""
        self.letters = Kept()
        self.login = None

    async def serve(self, reader, writer):
        async def say(line):
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        await say("220 sink")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                await say("250-sink\r\n250 AUTH PLAIN")
            elif verb == "AUTH":
                self.login = base64.b64decode(line.split()[2]).decode().split("\0")[1:]
                await say("235 welcome")
            elif verb == "DATA":
                await say("354 go on")
                text = await reader.readuntil(b"\r\n.\r\n")
                self.letters.put(
                    email.message_from_bytes(text[:-3].replace(b"\r\n..", b"\r\n."), policy=email.policy.default)
                )
                await say("250 kept")
            elif verb == "QUIT":
                await say("221 bye")
                break
            else:
                await say("250 fine")
        writer.close()


@asynccontextmanager
async def mail_server():
    mail = Mail()
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0)
    async with server:
        mail.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield mail
