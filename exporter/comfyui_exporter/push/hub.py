"""The hub: takes what changes and tells those whom it concerns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from comfyui_exporter.jobs.board import Reader
from comfyui_exporter.jobs.update import BatchUpdate, ProgressUpdate, ServerUpdate
from comfyui_exporter.push import messages
from comfyui_exporter.push.audience import Audience
from comfyui_exporter.push.client import Client
from comfyui_exporter.push.conversation import Conversation
from comfyui_exporter.push.delivery import Delivery
from comfyui_exporter.push.frames import CloseCode
from comfyui_exporter.push.heartbeat import Heartbeat
from comfyui_exporter.push.news import AlertFrame, BatchFrame, JobFrame, News, ServerFrame
from comfyui_exporter.push.ports import Answers, Counts, NoCounts, Unavailable
from comfyui_exporter.push.rate import CLIENT, Limits
from comfyui_exporter.push.state import State
from comfyui_exporter.push.subscription import EVERYTHING, Subscription

__all__ = ["HEARTBEAT", "Answers", "Counts", "Hub", "NoCounts", "Unavailable"]

HEARTBEAT = 30.0
"""Seconds between pings: below the minute after which proxies take a socket for idle."""

LEAVE = 5.0
"""Seconds that a client has to agree to being closed."""

READ_BUFFER = 64 * 1024


class Hub(Reader):
    """Keeps the newest of everything and the clients that are told. One event loop owns it.

    Publishing never waits and never fails because of a client. As long as the hub is `held`, clients that connect wait
    for their snapshot: one that tells of nothing because nothing is known yet would be taken for the truth.

    Args:
        answers: Who answers questions.
        queue_size: How many final updates may wait for a client before it is closed.
        max_clients: How many clients may be connected at once.
        counts: Who counts.
        now: The clock, in seconds from anywhere.
        heartbeat: Seconds between pings.
        leave: Seconds that a client has to agree to being closed.
        held: Whether to wait for `release`.

    """

    def __init__(
        self,
        *,
        answers: Answers,
        queue_size: int = 64,
        max_clients: int = 10_000,
        counts: Counts | None = None,
        now: Callable[[], float] = time.monotonic,
        heartbeat: float = HEARTBEAT,
        leave: float = LEAVE,
        held: bool = False,
    ) -> None:
        self.queue_size = queue_size
        self.max_clients = max_clients
        self.read_buffer = memoryview(bytearray(READ_BUFFER))
        self.now = now
        self.state = State()
        """The newest of everything; to be looked at only."""
        self._counts = counts or NoCounts()
        self._audience: Audience[Client] = Audience()
        self._delivery = Delivery(self._counts)
        self._conversation = Conversation(answers, self.state)
        self._heartbeat = Heartbeat(heartbeat, leave, now)
        self._clients: set[Client] = set()
        self._held: dict[Client, None] | None = {} if held else None
        self._closed = False
        self._empty: asyncio.Event | None = None

    # What changes

    def job(self, update: ProgressUpdate) -> None:
        """Tell how a job is now; that nothing but `updated_at` changed is not told."""
        self.publish(messages.job_frame(update))

    def batch(self, update: BatchUpdate) -> None:
        """Tell how a batch is now, unless nothing changed."""
        self.publish(messages.batch_frame(update))

    def server(self, update: ServerUpdate) -> None:
        """Tell how a server is now, unless nothing changed."""
        self.publish(messages.server_frame(update))

    def alert(self, data: Mapping[str, Any]) -> None:
        """Tell of an alert, as Alertmanager puts it; a resolved one is forgotten thereafter."""
        self.publish(messages.alert_frame(data))

    def publish(self, news: JobFrame | BatchFrame | ServerFrame | AlertFrame) -> None:
        """Tell what is framed already, unless nothing changed."""
        match news:
            case JobFrame():
                known = self.state.jobs.get(news.run_id)
                if known is not None and messages.same_but_time(known, news):
                    return
                self.state.put_job(news)
            case _:
                if self._known(news):
                    return
                self.state.put(news)
        self._tell(news)

    def removed(self, run_id: str) -> None:
        """Forget a run, and tell those who knew of it."""
        job = self.state.remove_job(run_id)
        if job is not None:
            self._tell(messages.removed_frame(job))

    def batch_removed(self, batch_id: str) -> None:
        """Forget a batch; its jobs tell of themselves."""
        self.state.remove_batch(batch_id)

    def server_removed(self, name: str) -> None:
        """Forget a server, and tell those who knew of it; its jobs are removed one by one."""
        if name in self.state.servers:
            self.state.remove_server(name)
            self._tell(messages.server_removed_frame(name))

    def alert_removed(self, labels: Mapping[str, Any]) -> None:
        """Forget an alert of which nobody said that it is resolved, and tell that it is over."""
        known = self.state.alerts.get(messages.alert_identity(labels))
        if known is not None:
            self.publish(messages.over_frame(known))

    def _known(self, news: BatchFrame | ServerFrame | AlertFrame) -> bool:
        known: News | None
        match news:
            case BatchFrame():
                known = self.state.batches.get(news.batch_id)
            case ServerFrame():
                known = self.state.servers.get(news.server)
            case AlertFrame():
                known = self.state.alerts.get(news.identity)
        return known is not None and known.frame == news.frame

    def _tell(self, news: News) -> None:
        for group in self._audience.concerned(news):
            self._delivery.put(group, news)

    def release(self) -> None:
        """Give everybody who waits a snapshot: what is known is complete."""
        waiting, self._held = self._held, None
        for client in waiting or ():
            client.begin_snapshot()

    # Clients

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    @property
    def full(self) -> bool:
        """Whether nobody more may come: too many are there, or it ends."""
        return self._closed or len(self._clients) >= self.max_clients

    def accept(
        self,
        transport: asyncio.Transport,
        *,
        wanted: Subscription = EVERYTHING,
        scope: str | None = None,
        limits: Limits = CLIENT,
        early: bytes = b"",
    ) -> None:
        """Take over a socket whose handshake is done.

        Args:
            transport: The connection.
            wanted: What it subscribed to.
            scope: The prompt that it is confined to, if there is one.
            limits: How much it may send.
            early: What came behind the handshake.

        """
        client = Client(self, wanted if scope is None else wanted.confined_to(scope), scope, limits)
        self._clients.add(client)
        self._counts.clients(len(self._clients))
        self._heartbeat.watch(client)
        client.begin(transport, early)

    async def close(self, grace: float = 1.0) -> None:
        """Say goodbye to everybody and let nobody in any more; those who do not answer within `grace` are cut off."""
        self._closed = True
        self._heartbeat.stop()
        if self._clients:
            self._empty = asyncio.Event()
            for client in list(self._clients):
                client.close(CloseCode.GOING_AWAY, "the service ends")
            try:
                async with asyncio.timeout(grace):
                    await self._empty.wait()
            except TimeoutError:
                for client in list(self._clients):
                    client.abort()
        self._heartbeat.stop()

    # What clients need (see `client.Host`)

    def joined(self, client: Client) -> Iterator[News | None] | None:
        """Put a client into the group of its subscription, and give what its snapshot is made of; None: later."""
        if self._held is not None:
            self._held[client] = None
            return None
        if client.group is not None:
            self._audience.leave(client, client.group)
        client.group = self._audience.group(client.wanted)
        self._delivery.join(client.group, client)
        return self.state.snapshot(client.wanted)

    def later(self, client: Client) -> None:
        """Let it write more in a later turn."""
        self._delivery.later(client)

    def heard(self, client: Client, text: bytes) -> None:
        """Do what it says."""
        self._conversation.hear(client, text)

    def answer_more(self, client: Client) -> None:
        """Go on answering."""
        self._conversation.answer_more(client)

    def sent(self, messages: int) -> None:
        """Count what was written."""
        self._counts.sent(messages)

    def dropped(self, messages: int) -> None:
        """Count what will not be."""
        if messages:
            self._counts.dropped(messages)

    def closing(self, client: Client) -> None:
        """Abort it, if it is not gone soon."""
        self._heartbeat.closing(client)

    def left(self, client: Client) -> None:
        """Forget it."""
        self._delivery.forget(client)
        if self._held is not None:
            self._held.pop(client, None)
        if client.group is not None:
            self._audience.leave(client, client.group)
            client.group = None
        self._clients.discard(client)
        self._counts.clients(len(self._clients))
        if self._empty is not None and not self._clients:
            self._empty.set()
