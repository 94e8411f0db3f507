"""The push service of the exporter: when it begins to tell."""

from __future__ import annotations

import asyncio

from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Push
from comfyui_exporter.metrics.families import PUSH_CLIENTS, PUSH_DROPPED, PUSH_MESSAGES
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.push.frames import text_frame
from comfyui_exporter.push_service import PushService
from push.test_every_client import Socket


class Looking(Monitor):
    """A monitor whose first look takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__(Config())
        self.looked = asyncio.Event()

    async def first_look(self) -> None:
        await self.looked.wait()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_snapshots_wait_for_the_first_look() -> None:
    monitor = Looking()
    push = PushService(monitor, Push(), held=True)
    push.start()
    socket = Socket()
    push.hub.accept(socket)
    await turns()
    assert socket.taken == b""
    monitor.looked.set()
    await turns()
    assert socket.taken == text_frame(b'{"type":"snapshot_end"}')
    socket.protocol.connection_lost(None)
    await push.close()


async def test_it_counts_from_the_start() -> None:
    monitor = Looking()
    push = PushService(monitor, Push())
    assert [monitor.metrics.get(family, None) for family in (PUSH_CLIENTS, PUSH_MESSAGES, PUSH_DROPPED)] == [0, 0, 0]
    socket = Socket()
    push.hub.accept(socket)
    await turns()
    assert [monitor.metrics.get(family, None) for family in (PUSH_CLIENTS, PUSH_MESSAGES, PUSH_DROPPED)] == [1, 1, 0]
    socket.protocol.connection_lost(None)
    assert monitor.metrics.get(PUSH_CLIENTS, None) == 0
    await push.close()


async def test_it_ends_while_the_first_look_goes_on() -> None:
    push = PushService(Looking(), Push(), held=True)
    push.start()
    await push.close()
    await turns()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "push: first look"] == []
