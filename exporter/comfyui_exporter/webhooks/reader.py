"""From changes of a job's status to deliveries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

from comfyui_exporter.jobs.board import JobBoard, Reader
from comfyui_exporter.jobs.update import ProgressStatus, ProgressUpdate
from comfyui_exporter.push.frames import payload_of
from comfyui_exporter.push.messages import job_data, message_frame
from comfyui_exporter.webhooks.delivery import REGISTRATION, Delivery
from comfyui_exporter.webhooks.hooks import Hook
from comfyui_exporter.webhooks.outbox import Outbox

log = logging.getLogger("comfyui_exporter.webhooks")


class WebhookReader(Reader):
    """Puts a delivery into the outbox for each change of a status that somebody wants to know of.

    `registered` are the statuses that URLs of registrations are told, `wall` gives Unix seconds, `new_id` the ids of
    deliveries. It remembers one status for each job of the board.
    """

    def __init__(
        self,
        hooks: Sequence[Hook],
        registered: Collection[ProgressStatus],
        outbox: Outbox,
        wall: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._hooks = tuple(hooks)
        self._registered = frozenset(registered)
        self._outbox = outbox
        self._wall = wall
        self._new_id = new_id
        self._told: dict[str, tuple[ProgressStatus, str | None]] = {}
        self._url_of: Callable[[str], str | None] = lambda _run_id: None
        self._attaching = False

    def attach(self, board: JobBoard) -> None:
        """Be told by this board from now on; what it shows already is no change."""
        self._url_of = board.webhook_of if self._registered else self._url_of
        self._attaching = True
        try:
            board.add_reader(self)
        finally:
            self._attaching = False

    def job(self, update: ProgressUpdate) -> None:
        """Tell of it if its status differs, or if it was registered just now."""
        before, url_before = self._told.get(update.run_id, (None, None))
        url = self._url_of(update.run_id)
        self._told[update.run_id] = (update.status, url)
        if self._attaching:
            return
        try:
            for hook, target in self._called(update.status, url, before, url_before):
                self._outbox.add(self._delivery(hook, target, update))
        except Exception:
            # The board has other readers, and polling waits for them all.
            log.exception("a webhook call could not be made up")

    def removed(self, run_id: str) -> None:
        """It left memory, and its run_id will not be used again."""
        self._told.pop(run_id, None)

    def _called(
        self, status: ProgressStatus, url: str | None, before: ProgressStatus | None, url_before: str | None
    ) -> Iterator[tuple[str, str]]:
        if status is not before:
            yield from ((hook.key, hook.url) for hook in self._hooks if status in hook.statuses)
        # Whoever registers a job that has ended meanwhile would otherwise wait for ever.
        if url is not None and (status is not before or url != url_before) and status in self._registered:
            yield REGISTRATION, url

    def _delivery(self, hook: str, url: str, update: ProgressUpdate) -> Delivery:
        delivery_id, now = self._new_id(), self._wall()
        message = {
            "type": "progress_update",
            "id": delivery_id,
            "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
            "data": job_data(update),
        }
        body = payload_of(message_frame(message)).decode()
        return Delivery(delivery_id, hook, url, update.run_id, update.status.value, body, created_at=now, next_at=now)
