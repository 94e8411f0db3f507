"""A client of the push service that watches jobs, for Python 3.11 with `pip install websockets`.

python examples/push_client.py ws://127.0.0.1:8329/ws 123 124
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

log = logging.getLogger("push_client")

Update = dict[str, Any]
Callback = Callable[[Update | None], None]
"""Is given each update of a job, as the push protocol has it; None when nothing is known of the job any more."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds between tries to connect, doubled each time."""


class PushClient:
    """Watches up to 1000 jobs: `async with PushClient(url) as client: await client.watch(123, callback)`.

    Args:
        url: Of the push service, such as ws://127.0.0.1:8329/ws.
        token: For a push service that asks for one.
        jitter: Gives a number from 0 to 1, so that clients who lost the same server do not come back all at once.

    """

    def __init__(self, url: str, *, token: str | None = None, jitter: Callable[[], float] = random.random) -> None:
        self._url = url
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._jitter = jitter
        self._callbacks: dict[str, Callback] = {}
        self._runs: dict[str, Update] = {}
        """The newest update of each run; a job that was submitted twice has two."""
        self._told: set[str] | None = None
        """The runs that the present snapshot told of so far; None when it is over."""
        self._socket: ClientConnection | None = None
        self._asked = self._answered = 0
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def watch(self, job_id: int | str, callback: Callback) -> None:
        """Call back for this job, beginning with what is known of it, and not for earlier watchers of it."""
        self._drop(str(job_id))
        self._callbacks[str(job_id)] = callback
        await self._subscribe()

    async def unwatch(self, job_id: int | str) -> None:
        """Call back no more."""
        self._callbacks.pop(str(job_id), None)
        self._drop(str(job_id))
        await self._subscribe()

    def _drop(self, job_id: str) -> None:
        self._runs = {run_id: update for run_id, update in self._runs.items() if str(update["job_id"]) != job_id}

    async def _run(self) -> None:
        while True:
            try:
                # The empty job_id is nobody's, so nothing comes before `subscribe` says what is wanted.
                async with connect(f"{self._url}?job_id=", additional_headers=self._headers) as socket:
                    await self._attend(socket)
            except (OSError, TimeoutError, WebSocketException) as error:
                log.warning("no push service: %s", error)
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failures, 10))
            self._failures += 1
            await asyncio.sleep(wait * (0.5 + self._jitter() / 2))

    async def _attend(self, socket: ClientConnection) -> None:
        self._socket, self._told = socket, set()
        self._asked = self._answered = 0
        try:
            await self._subscribe()
            async for message in socket:
                self._hear(json.loads(message))
        finally:
            self._socket = None

    async def _subscribe(self) -> None:
        """Say which jobs are wanted now. An answer follows, then a snapshot of them, then what changes."""
        if self._socket is None:
            return
        self._asked += 1
        request = {"type": "subscribe", "job_ids": list(self._callbacks), "id": self._asked}
        try:
            await self._socket.send(json.dumps(request))
        except ConnectionClosed:
            log.debug("closed before it was told; the next connection is told of all jobs")

    def _hear(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "subscribed":
                self._answered, self._told = message["id"], set()
            case "progress_update":
                self._updated(message["data"])
            case "snapshot_end" if self._answered == self._asked and self._told is not None:
                # What is known here and was not told is gone: it was removed while we were not connected.
                for run_id in [run_id for run_id in self._runs if run_id not in self._told]:
                    self._removed(run_id)
                self._told = None
                self._failures = 0
            case "job_removed":
                self._removed(message["data"]["run_id"])
            case "error":
                log.error("the push service refuses: %s", message["error"])
            case _:
                pass  # a later version may say more

    def _updated(self, update: Update) -> None:
        run_id = update["run_id"]
        if self._told is not None:
            self._told.add(run_id)
        # A snapshot repeats what is known.
        if str(update["job_id"]) in self._callbacks and update != self._runs.get(run_id):
            self._runs[run_id] = update
            self._call(update["job_id"], update)

    def _removed(self, run_id: str) -> None:
        update = self._runs.pop(run_id, None)
        if update is not None:
            job_id = str(update["job_id"])
            if all(str(other["job_id"]) != job_id for other in self._runs.values()):
                self._call(job_id, None)

    def _call(self, job_id: int | str, update: Update | None) -> None:
        try:
            self._callbacks[str(job_id)](update)
        except Exception:
            log.exception("a callback failed")


async def main(url: str, job_ids: Sequence[str]) -> None:
    """Print what happens to some jobs."""

    def show(update: Update | None) -> None:
        if update is None:
            print("a job is known no more")
        else:
            print(update["job_id"], update["status"], f"{update['progress_percent']:.1f} %")

    async with PushClient(url) as client:
        for job_id in job_ids:
            await client.watch(job_id, show)
        await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2:]))
    except KeyboardInterrupt:
        pass
    except IndexError:
        sys.exit(__doc__)
