"""An exporter whose observations a test makes, and that commits when the test says so: all else is as `run` has it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from comfyui_exporter.config.model import Config
from comfyui_exporter.config.sections import Store
from comfyui_exporter.config.servers import ServerConfig
from comfyui_exporter.jobs.history import JobQuery
from comfyui_exporter.monitor import Monitor
from comfyui_exporter.tracker.observations import (
    Details,
    HistoryEntry,
    HistoryLookup,
    HistoryPage,
    Outcome,
    QueueItem,
    QueueRead,
)
from comfyui_exporter.tracker.runs import ENDS
from comfyui_exporter.tracker.transitions import Ended, Submitted

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""


class Time:
    """A clock that is moved; its own seconds have nothing to do with Unix time, nor with those of the next exporter."""

    def __init__(self, unix=NOON, ahead=1_000.0):
        self.unix = unix
        self._ahead = ahead

    def now(self):
        return self.unix + self._ahead

    def wall(self, at):
        return at - self._ahead

    def stamp(self, unix):
        return unix + self._ahead


class Silent:
    """A ComfyUI of which a test tells what it would answer."""

    def attend(self, *_):
        pass

    async def close(self):
        pass


class Exporter:
    """A Monitor that does not poll."""

    def __init__(self, url, servers=("gpu0",), *, time=None, **config):
        self.time = time or Time()
        self.servers = servers
        self.monitor = Monitor(
            Config(
                servers=tuple(ServerConfig(name=name, url="http://127.0.0.1:1") for name in servers),
                store=Store(url=url),
                **config,
            ),
            clock=self.time,
            connectors={name: Silent() for name in servers},
        )
        self.changes = []

    async def open(self):
        await self.monitor.open()
        for server in self.monitor._config.servers:
            self.monitor._begin(server)
            self.fleet.watched[server.name].task.cancel()  # the test tells what it would have read
        self.monitor._restored.clear()
        self.monitor._register_early()
        self.log.committed = self._committed  # nobody else commits
        return self

    async def _committed(self):
        if not await self.log.commit():
            raise TimeoutError

    @property
    def fleet(self):
        return self.monitor._fleet

    @property
    def log(self):
        return self.monitor.keeper.log

    @property
    def database(self):
        return self.monitor.keeper.database

    @property
    def board(self):
        return self.monitor.board

    def tracker(self, server="gpu0"):
        return self.fleet.watched[server].watch._tracker

    # What happens

    def look(self, mark=None, server="gpu0"):
        """The first look."""
        self.tracker(server).begin(mark)
        return self

    def tell(self, *observations, server="gpu0"):
        """What reads showed; the transitions."""
        watch = self.fleet.watched[server].watch
        told = []
        for observation in observations:
            changes = watch._tracker.apply(observation)
            if changes:
                watch._emit(changes)
            told += changes
        self.changes += told
        return told

    def queue(self, *running, pending=(), server="gpu0"):
        return self.tell(QueueRead(self.time.now(), tuple(running), tuple(pending)), server=server)

    def ends(self, *entries, server="gpu0"):
        return self.tell(HistoryPage(self.time.now(), entries), server=server)

    def misses(self, prompt_id, server="gpu0"):
        """It is not in the history, now and after the grace."""
        told = self.tell(HistoryLookup(self.time.now(), prompt_id, None), server=server)
        self.time.unix += 100
        return told + self.tell(HistoryLookup(self.time.now(), prompt_id, None), server=server)

    def view(self, server="gpu0"):
        """The end of a cycle."""
        self.fleet.watched[server].watch._show()

    async def commit(self):
        return await self.log.commit()

    async def crash(self):
        """Die: what was not committed is gone."""
        if self.monitor.keeper is not None:
            await self.database.close()
            self.monitor.keeper = None

    async def close(self):
        """End in order."""
        await self.monitor.stop()

    async def next(self, url, **config):
        """The one that is started after this one."""
        return await Exporter(url, self.servers, time=Time(self.time.unix + 60, self.time._ahead * 7), **config).open()

    # What is seen

    def scrape(self):
        """Every sample by name and labels, as Prometheus reads it."""
        text = b"".join(self.monitor.metrics.render(openmetrics=False)).decode()
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def total(self, name, **labels):
        """The sum of the samples with this name and at least these labels; None if there is none."""
        return _total(self.scrape(), name, **labels)

    def counted(self):
        """What is counted of jobs, without what stands at 0."""
        samples = self.scrape()
        ended = {state.value: _total(samples, "comfyui_jobs_total", status=state.value) for state in ENDS}
        submitted = _total(samples, "comfyui_jobs_submitted_total")
        return {"submitted": submitted, **{status: count for status, count in sorted(ended.items()) if count}}

    def degraded(self):
        return self.total("comfyui_exporter_store_degraded")

    def open_runs(self, server="gpu0"):
        return {run.prompt_id: run for run in self.tracker(server).open_runs}

    async def jobs(self, limit=100, before=None, **query):
        """A page of the API."""
        found = await self.monitor.history.page(JobQuery(**query), limit, before)
        return [(place, update.comfyui_prompt_id, update.status.value) for place, update in found]


def _total(samples, name, **labels):
    found = [
        value for (sample, *given), value in samples.items() if sample == name and labels.items() <= dict(given).items()
    ]
    return sum(found) if found else None


def item(prompt_id, number=0.0, **details):
    return QueueItem(prompt_id, number, Details(**details))


def listed(prompt_id, number=0.0):
    """An item that nobody has looked into yet."""
    return QueueItem(prompt_id, number, None)


def entry(prompt_id, number=0.0, started=1_000, took=2_000, outcome="completed", **fields):
    details = Details(**{name: fields.pop(name) for name in list(fields) if name in Details.__dataclass_fields__})
    return HistoryEntry(
        prompt_id, number, Outcome(outcome), details, started_ms=started, ended_ms=started + took, **fields
    )


def submitted(changes):
    return [change.run.prompt_id for change in changes if isinstance(change, Submitted)]


def ended(changes):
    return [(change.run.prompt_id, change.run.state.value) for change in changes if isinstance(change, Ended)]
