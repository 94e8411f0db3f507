"""The listening socket and the connections of a simulated ComfyUI, which can die and come back on the same port."""

from __future__ import annotations

from aiohttp import web


class Server:
    """An aiohttp application behind a port.

    Args:
        app: What is served.
        host: Address to listen on.
        port: 0: any free one, which is kept over restarts.
    """

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        # A handler whose client is gone is cancelled, so that what was not sent does not count as delivered.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        """Where it listens, or listened before it died."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        server = self._runner.server
        return 0 if server is None else len(server.connections)

    async def start(self) -> None:
        """Set up and listen; OSError when the port is taken."""
        await self._runner.setup()
        try:
            await self.listen()
        except OSError:
            await self._runner.cleanup()
            raise

    async def listen(self) -> None:
        """Accept connections."""
        self._site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def die(self) -> None:
        """Refuse connections, and end those that exist without a word."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
        server = self._runner.server
        for connection in list(server.connections) if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def stop(self) -> None:
        """End for good."""
        await self.die()
        await self._runner.cleanup()
