"""What a scrape shows of the GPUs of the host, and what the log says."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import threading
import time
from contextlib import asynccontextmanager

import pytest

from comfyui_exporter.gpu.gauges import GpuMetrics, load_nvml
from comfyui_exporter.metrics.store import MetricStore
from gpu.nvml import FakeGpu, FakeNvml, NotSupportedError, NVMLError

SOON = 5.0


class Store(MetricStore):
    """Tells when gauges change."""

    def __init__(self):
        super().__init__()
        self.changed = asyncio.Event()

    def replace(self, family, server, series):
        super().replace(family, server, series)
        self.changed.set()

    def clear(self, family, server):
        super().clear(family, server)
        self.changed.set()


class Host:
    """A scrape of an exporter on a host with these GPUs."""

    def __init__(self, nvml):
        self.nvml = nvml
        self.metrics = Store()
        self.gpus = GpuMetrics(self.metrics, lambda: nvml, interval=0.01, patience=0.1)

    def lines(self):
        text = b"".join(self.metrics.render(openmetrics=False)).decode()
        return [line for line in text.splitlines() if line.startswith("comfyui_gpu_")]

    async def shows(self, wanted):
        """Wait until the lines are as wanted."""
        async with asyncio.timeout(SOON):
            while not wanted(self.lines()):
                self.metrics.changed.clear()
                await self.metrics.changed.wait()
        return self.lines()


@asynccontextmanager
async def host(nvml):
    it = Host(nvml)
    it.gpus.start()
    try:
        yield it
    finally:
        await it.gpus.stop()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.DEBUG, "comfyui_exporter.gpu")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


async def test_a_scrape_shows_every_gpu_with_number_uuid_and_name(said):
    async with host(FakeNvml([FakeGpu("GPU-a", "A"), FakeGpu("GPU-b", "B", percent=100)])) as it:
        lines = await it.shows(bool)
    assert [line for line in lines if "GPU-a" in line] == [
        'comfyui_gpu_utilization_ratio{gpu="0",uuid="GPU-a",name="A"} 0.37',
        'comfyui_gpu_memory_used_bytes{gpu="0",uuid="GPU-a",name="A"} 20000000000',
        'comfyui_gpu_temperature_celsius{gpu="0",uuid="GPU-a",name="A"} 61',
        'comfyui_gpu_power_watts{gpu="0",uuid="GPU-a",name="A"} 212.345',
    ]
    assert 'comfyui_gpu_utilization_ratio{gpu="1",uuid="GPU-b",name="B"} 1' in lines
    assert said() == []


async def test_what_is_not_supported_is_absent():
    async with host(FakeNvml([FakeGpu(milliwatts=NotSupportedError())])) as it:
        lines = await it.shows(bool)
    assert len(lines) == 3
    assert not any("power" in line for line in lines)


async def test_a_gpu_that_fails_is_absent_and_told_once_and_the_others_stay(said):
    nvml = FakeNvml([FakeGpu("GPU-a"), FakeGpu("GPU-b")])
    async with host(nvml) as it:
        await it.shows(lambda lines: len(lines) == 8)
        nvml.gpus[0].uuid = NVMLError("GPU is lost")
        await it.shows(lambda lines: len(lines) == 4)
        nvml.gpus[1].percent = 99
        await it.shows(lambda lines: any(line.endswith("0.99") for line in lines))
    assert said() == [("WARNING", "a GPU cannot be read: GPU is lost")]


async def test_without_a_driver_one_line_says_so_and_nothing_is_shown(said):
    async with host(FakeNvml(no_driver=NVMLError("NVML Shared Library Not Found"))) as it:
        async with asyncio.timeout(SOON):
            await it.gpus._task
        assert it.lines() == []
    assert said() == [("INFO", "no GPU metrics: NVML Shared Library Not Found")]


async def test_without_the_extra_nothing_is_said(said):
    async with host(None) as it:
        async with asyncio.timeout(SOON):
            await it.gpus._task
        assert it.lines() == []
    assert said() == []


async def test_a_driver_that_fails_later_leaves_no_old_values_and_is_told_once_each_way(said):
    nvml = FakeNvml()
    async with host(nvml) as it:
        await it.shows(bool)
        nvml.broken = NVMLError("Driver/library version mismatch")
        await it.shows(lambda lines: not lines)
        nvml.broken = None
        await it.shows(bool)
    assert said() == [
        ("WARNING", "the GPUs cannot be read: Driver/library version mismatch"),
        ("INFO", "the GPUs can be read again"),
    ]


async def test_a_driver_that_hangs_holds_up_neither_the_loop_nor_the_end(said):
    nvml = FakeNvml()
    async with host(nvml) as it:
        await it.shows(bool)
        nvml.hold = threading.Event()
        await it.shows(lambda lines: not lines)
        assert said() == [("WARNING", "the GPUs cannot be read: no answer")]
        begun = time.monotonic()
        await it.gpus.stop()
        assert time.monotonic() - begun < 1
        nvml.hold.set()


async def test_the_library_of_the_driver_is_left_at_the_end():
    nvml = FakeNvml()
    async with host(nvml) as it:
        await it.shows(bool)
    assert await asyncio.to_thread(nvml.ended.wait, SOON)


def test_the_real_module_is_loaded_if_it_is_installed_and_only_then(monkeypatch):
    nvml = load_nvml()
    assert nvml is not None
    assert nvml.nvmlDeviceGetCount
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert load_nvml() is None
