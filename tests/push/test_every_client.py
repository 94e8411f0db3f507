"""Whatever happens in whatever order, a client ends up with what the hub knows, and was told nothing backwards."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_exporter.push import backlog, delivery
from comfyui_exporter.push.frames import payload_of, text_frame
from comfyui_exporter.push.hub import Hub
from comfyui_exporter.push.messages import job_frame
from comfyui_exporter.push.subscription import EVERYTHING, subscription
from push.making import Counted, Questions, update

RUNS = ["a", "b", "c"]
JOBS = {"a": {"job_id": 1, "batch_id": "x"}, "b": {"job_id": 2, "batch_id": "x"}, "c": {"server": "gpu1"}}
SUBSCRIPTIONS = [
    {},
    {"job_ids": [1]},
    {"prompt_ids": ["p-a", "p-c"]},
    {"batch_ids": ["x"]},
    {"servers": ["gpu1"]},
    {"job_ids": [2], "batch_ids": ["x"]},
    {"job_ids": []},
]


class Socket(asyncio.Transport):
    """Takes what is written, or keeps it while it is full, as asyncio's transports do."""

    def __init__(self):
        super().__init__()
        self.taken = self.buffered = b""
        self.full = False

    def set_protocol(self, protocol):
        self.protocol = protocol

    def set_write_buffer_limits(self, high=None, low=None):
        assert (high, low) == (1, 0)

    def get_write_buffer_size(self):
        return len(self.buffered)

    def write(self, data):
        if not self.full:
            self.taken += data
            return
        first = not self.buffered
        self.buffered += data
        if first:
            self.protocol.pause_writing()

    def drain(self):
        self.full = False
        self.taken, was = self.taken + self.buffered, self.buffered
        self.buffered = b""
        if was:
            self.protocol.resume_writing()

    def abort(self):
        raise AssertionError("nobody is to be cut off here")

    def heard(self):
        """The messages, in order."""
        found, at = [], 0
        while at < len(self.taken):
            size = self.taken[at + 1]
            length = (
                size + 2
                if size < 126
                else 4 + int.from_bytes(self.taken[at + 2 : at + 4], "big")
                if size == 126
                else 10 + int.from_bytes(self.taken[at + 2 : at + 10], "big")
            )
            found.append(json.loads(payload_of(self.taken[at : at + length])))
            at += length
        return found


class Watcher:
    """One client, and what it has to have heard in the end."""

    def __init__(self, hub, wanted):
        self.socket = Socket()
        self.owed = []
        self.want(hub, wanted)
        hub.accept(self.socket, wanted=subscription(**wanted))

    def want(self, hub, wanted):
        self.wanted = subscription(**wanted)
        # The ends of earlier are in the snapshot, if the job is still there.
        self.owed = [number_of(job) for job in hub.state.jobs.values() if job.terminal and self.wanted.wants(job)]

    def told(self, job):
        if job.terminal and self.wanted.wants(job):
            self.owed.append(number_of(job))

    def judge(self, hub):
        heard = self.socket.heard()
        beginnings = [place for place, each in enumerate(heard) if each["type"] == "subscribed"]
        last = heard[beginnings[-1] :] if beginnings else heard
        assert [each["type"] for each in last].count("snapshot_end") == 1
        view, numbers = {}, []
        for each in last:
            if each["type"] == "progress_update":
                data = each["data"]
                assert data["current_step"] > view.get(data["run_id"], {"current_step": 0})["current_step"]
                view[data["run_id"]] = data
                numbers.append(data["current_step"])
            elif each["type"] == "job_removed":
                view.pop(each["data"]["run_id"], None)
        known = {run: number_of(job) for run, job in hub.state.jobs.items() if self.wanted.wants(job)}
        assert {run: data["current_step"] for run, data in view.items()} == known
        assert [number for number in self.owed if number not in numbers] == []


def number_of(job):
    return json.loads(payload_of(job.frame))["data"]["current_step"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("job"), st.sampled_from(RUNS), st.sampled_from(["processing", "processing", "completed"])),
        st.tuples(st.just("removed"), st.sampled_from(RUNS), st.none()),
        st.tuples(st.just("connect"), st.sampled_from(SUBSCRIPTIONS), st.none()),
        st.tuples(st.just("subscribe"), st.integers(0, 3), st.sampled_from([{}, {"job_ids": [1]}, *SUBSCRIPTIONS])),
        st.tuples(st.sampled_from(["full", "full", "drain"]), st.integers(0, 3), st.none()),
        st.tuples(st.just("turn"), st.integers(1, 3), st.none()),
    ),
    max_size=50,
)


async def play(script):  # noqa: C901  a step of each kind
    hub = Hub(answers=Questions(), counts=Counted(), queue_size=10_000)
    watchers = [Watcher(hub, {}), Watcher(hub, {"job_ids": [1]})]
    number = 0
    for what, which, how in script:
        if what == "job":
            number += 1
            job = update(which, how, current_step=number, **JOBS[which])
            hub.job(job)
            for watcher in watchers:
                watcher.told(job_frame(job))
        elif what == "removed":
            hub.removed(which)
        elif what == "connect":
            watchers.append(Watcher(hub, which))
        elif what == "turn":
            for _ in range(which):
                await asyncio.sleep(0)
        else:
            watcher = watchers[which % len(watchers)]
            if what == "subscribe":
                watcher.want(hub, how)
                message = {"type": "subscribe", **how}
                hub.heard(watcher.socket.protocol, json.dumps(message).encode())
            elif what == "full":
                watcher.socket.full = True
            else:
                watcher.socket.drain()
    for watcher in watchers:
        watcher.socket.drain()
    for _ in range(200):
        await asyncio.sleep(0)
    for watcher in watchers:
        watcher.judge(hub)
    hub._heartbeat.stop()


@given(steps, st.sampled_from([1, 2, 250]), st.sampled_from([1, 700, 65536]))
@settings(max_examples=500, deadline=None)
def test_every_client_ends_up_with_what_the_hub_knows(script, a_slice, chunk):
    before = delivery.SLICE, backlog.CHUNK
    # Small pieces: in between, anything may happen.
    delivery.SLICE, backlog.CHUNK = a_slice, chunk
    try:
        asyncio.run(play(script))
    finally:
        delivery.SLICE, backlog.CHUNK = before


async def test_a_large_snapshot_is_written_a_piece_in_each_turn():
    hub = Hub(answers=Questions())
    for number in range(1000):
        hub.job(update(f"r{number}", "completed"))
    sockets = [Socket() for _ in range(100)]
    for socket in sockets:
        hub.accept(socket, wanted=EVERYTHING)
    most = 0
    turns = 0
    while not all(socket.taken.endswith(text_frame(b'{"type":"snapshot_end"}')) for socket in sockets):
        before = sum(len(socket.taken) for socket in sockets)
        await asyncio.sleep(0)
        most = max(most, sum(len(socket.taken) for socket in sockets) - before)
        turns += 1
    # The frame that fills a piece may go beyond it.
    assert most <= delivery.CHUNKS * (backlog.CHUNK + 1000)
    assert turns >= 50
    hub._heartbeat.stop()


async def test_a_burst_to_many_clients_is_handed_over_in_slices():
    hub = Hub(answers=Questions())
    sockets = [Socket() for _ in range(1000)]
    for socket in sockets:
        hub.accept(socket)
    for _ in range(1000 // delivery.CHUNKS + 2):
        await asyncio.sleep(0)
    had = {socket: len(socket.taken) for socket in sockets}
    hub.job(update())
    served = []
    while not served or served[-1] < 1000:
        await asyncio.sleep(0)
        served.append(sum(len(socket.taken) > had[socket] for socket in sockets))
    assert served == [250, 500, 750, 1000]
    hub._heartbeat.stop()


async def test_one_client_that_fails_is_cut_off_alone(caplog):
    class Broken(Socket):
        cut = False

        def write(self, data):
            if b"progress_update" in data:
                raise RuntimeError("broken")
            super().write(data)

        def abort(self):
            self.cut = True

    hub = Hub(answers=Questions())
    sockets = [Socket(), Broken(), Socket()]
    for socket in sockets:
        hub.accept(socket)
    for _ in range(5):
        await asyncio.sleep(0)
    hub.job(update())
    for _ in range(5):
        await asyncio.sleep(0)
    assert [len(socket.heard()) for socket in sockets] == [2, 1, 2]
    assert sockets[1].cut
    assert "a push client failed" in caplog.text
    hub._heartbeat.stop()
