"""What a scrape shows of batches."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from comfyui_exporter.jobs.board import JobBoard
from comfyui_exporter.jobs.update import ProgressStatus
from comfyui_exporter.metrics.batches import BatchSink
from comfyui_exporter.metrics.families import BATCHES_SHOWN
from comfyui_exporter.metrics.store import MetricStore
from comfyui_exporter.tracker.estimate import Forecast
from comfyui_exporter.tracker.observations import Details
from comfyui_exporter.tracker.registration import Registration
from comfyui_exporter.tracker.runs import Run, State
from comfyui_exporter.tracker.transitions import Changed, Ended, Forgotten, Submitted
from comfyui_exporter.tracker.view import ServerView
from metrics.reading import read


def run(run_id: str, state: State = State.QUEUED, batch_id: str = "b") -> Run:
    return Run(
        run_id,
        f"p-{run_id}",
        1.0,
        state,
        Details(batch_id=batch_id),
        0,
        first_seen=0.0,
        ended_at=1.0 if state.ended else None,
    )


class Scrape:
    """A board and the sink after it, for two servers."""

    def __init__(self) -> None:
        self.store = MetricStore()
        self.board = JobBoard(lambda at: datetime(2026, 1, 1, tzinfo=UTC).timestamp() + at, str)
        self.sink = BatchSink(self.store, self.board.batches_on)
        for server in ("gpu0", "gpu1"):
            self.store.add_server(server)
            self.board.add_server(server)

    def tell(self, server: str, *changes: Submitted | Changed | Ended | Forgotten, up: bool | None = True) -> None:
        self.board.transitions(server, changes)
        view = ServerView(up, True, None, None, None, None, (), (), None, Forecast())
        self.board.view(server, view, 0.0)
        self.sink.view(server, view, 0.0)

    def shown(self) -> dict[tuple[str, str, str], float]:
        """Values by (server, batch_id, status)."""
        shown = {}
        for (name, labels), value in read(self.store).items():
            assert name == "comfyui_batch_jobs"
            assert [label for label, _ in labels] == ["server", "batch_id", "status"]
            server, batch_id, status = (label for _, label in labels)
            shown[server, batch_id, status] = value
        return shown


@pytest.fixture
def scrape() -> Scrape:
    return Scrape()


def test_a_batch_is_shown_by_server_and_status(scrape: Scrape) -> None:
    scrape.tell("gpu0", Submitted(0.0, run("1")), Submitted(0.0, run("2")))
    scrape.tell("gpu1", Ended(1.0, run("3", State.COMPLETED)))
    assert scrape.shown() == {("gpu0", "b", "queued"): 2, ("gpu1", "b", "completed"): 1}


def test_ended_jobs_are_shown_as_long_as_one_has_not_ended_even_after_they_left_memory(scrape: Scrape) -> None:
    scrape.tell("gpu0", Submitted(0.0, run("1")), Ended(0.0, run("2", State.INTERRUPTED)))
    scrape.tell("gpu0", Forgotten(1.0, run("2", State.INTERRUPTED)))
    assert scrape.shown() == {("gpu0", "b", "queued"): 1, ("gpu0", "b", "cancelled"): 1}
    scrape.tell("gpu0", Ended(2.0, run("1", State.LOST)))
    assert scrape.shown() == {}


def test_a_batch_is_gone_from_every_server_when_none_of_its_jobs_is_open(scrape: Scrape) -> None:
    scrape.tell("gpu0", Submitted(0.0, run("1")))
    scrape.tell("gpu1", Ended(0.0, run("2", State.COMPLETED)))
    scrape.tell("gpu0", Ended(1.0, run("1", State.COMPLETED)))
    scrape.tell("gpu1")
    assert scrape.shown() == {}


def test_the_newest_batches_of_a_server_are_shown(scrape: Scrape) -> None:
    batches = [f"b{number}" for number in range(BATCHES_SHOWN + 5)]
    scrape.tell("gpu0", *(Submitted(0.0, run(name, batch_id=name)) for name in batches))
    assert [batch for _, batch, _ in scrape.shown()] == batches[: -BATCHES_SHOWN - 1 : -1]
    scrape.tell("gpu0", Ended(1.0, run("b24", State.COMPLETED, "b24")))
    assert [batch for _, batch, _ in scrape.shown()] == batches[-2 : -BATCHES_SHOWN - 2 : -1]


def test_of_a_server_that_is_down_no_batch_is_shown_until_it_is_back(scrape: Scrape) -> None:
    scrape.tell("gpu0", Submitted(0.0, run("1")))
    scrape.tell("gpu0", up=False)
    assert scrape.shown() == {}
    scrape.tell("gpu0")
    assert scrape.shown() == {("gpu0", "b", "queued"): 1}


def test_a_registered_job_is_shown_from_when_a_server_has_it(scrape: Scrape) -> None:
    scrape.board.registered(Registration("1", "p-1", 1, batch_id="b"), 0.0, ProgressStatus.INITIALIZING)
    scrape.tell("gpu0")
    assert scrape.shown() == {}
    scrape.tell("gpu0", Submitted(0.0, run("1")))
    assert scrape.shown() == {("gpu0", "b", "queued"): 1}


def test_a_server_that_is_removed_takes_its_series_along(scrape: Scrape) -> None:
    scrape.tell("gpu0", Submitted(0.0, run("1")))
    scrape.tell("gpu1", Submitted(0.0, run("2")))
    scrape.store.remove_server("gpu0")
    scrape.board.remove_server("gpu0")
    scrape.tell("gpu1")
    assert scrape.shown() == {("gpu1", "b", "queued"): 1}
