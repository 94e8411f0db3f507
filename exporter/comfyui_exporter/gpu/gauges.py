"""From NVML to the metric store: a thread that reads, and the loop that takes what it has read."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import threading
from collections.abc import Callable
from typing import cast

from comfyui_exporter.gpu.reading import Gpu, Nvml, Reading, read
from comfyui_exporter.metrics import families
from comfyui_exporter.metrics.family import Family
from comfyui_exporter.metrics.store import MetricStore

log = logging.getLogger("comfyui_exporter.gpu")

INTERVAL = 10.0
"""Seconds between two looks: no scrape is much more frequent, and a look may wake a GPU that sleeps."""
PATIENCE = 30.0
"""Seconds until a look that has not returned counts as stuck. A driver that was idle takes seconds to begin."""

_GAUGES: tuple[tuple[Family, Callable[[Gpu], float | None]], ...] = (
    (families.GPU_UTILIZATION, lambda gpu: gpu.utilization),
    (families.GPU_MEMORY_USED, lambda gpu: gpu.memory_used),
    (families.GPU_TEMPERATURE, lambda gpu: gpu.temperature),
    (families.GPU_POWER, lambda gpu: gpu.power),
)


class _Off(Exception):  # noqa: N818  no error of ours
    """There is nothing to read on this host."""


def load_nvml() -> Nvml | None:
    """The module of the extra `gpu`; None if it is not installed."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    return cast("Nvml", importlib.import_module("pynvml"))


class GpuMetrics:
    """The gauges of the GPUs, from `start` to `stop`; without the extra nothing happens.

    NVML is a library of the driver, and a call of it may hang for good. So it has a thread that nobody ever waits for.
    """

    def __init__(
        self,
        metrics: MetricStore,
        load: Callable[[], Nvml | None] = load_nvml,
        *,
        interval: float = INTERVAL,
        patience: float = PATIENCE,
    ) -> None:
        self._metrics = metrics
        self._load = load
        self._interval = interval
        self._patience = patience
        self._ended = threading.Event()
        self._news: asyncio.Queue[Reading | Exception | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._problems: dict[int, str] = {}
        self._failing = False

    def start(self) -> None:
        """Begin to read; needs a running loop."""
        loop = asyncio.get_running_loop()
        # A daemon: the process may end while it hangs.
        threading.Thread(target=self._read_on, args=(loop,), name="nvml", daemon=True).start()
        self._task = asyncio.create_task(self._take_on(), name="gpu metrics")

    async def stop(self) -> None:
        """Take nothing more; the thread ends when it can."""
        self._ended.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # In the thread

    def _read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        def tell(news: Reading | Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._news.put_nowait, news)

        try:
            nvml = self._load()
            if nvml is None:
                tell(None)
                return
            nvml.nvmlInit()
        except Exception as error:  # also what a broken installation raises: there are no GPU metrics then
            tell(_Off(str(error)))
            return
        while not self._ended.is_set():
            try:
                tell(read(nvml))
            except Exception as error:
                tell(error)
            self._ended.wait(self._interval)
        with contextlib.suppress(Exception):
            nvml.nvmlShutdown()

    # In the loop

    async def _take_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._interval + self._patience):
                    news = await self._news.get()
            except TimeoutError:
                self._nothing("no answer")
                continue
            if news is None:
                return
            if isinstance(news, _Off):
                log.info("no GPU metrics: %s", news)
                return
            if isinstance(news, Exception):
                self._nothing(str(news))
                continue
            self._take(news)

    def _take(self, reading: Reading) -> None:
        if self._failing:
            self._failing = False
            log.info("the GPUs can be read again")
        for index, problem in reading.problems.items():
            if index not in self._problems:
                log.warning("a GPU cannot be read: %s", problem, extra={"gpu": index})
        self._problems = reading.problems
        for family, value_of in _GAUGES:
            series: dict[tuple[str, ...], float] = {
                (str(gpu.index), gpu.uuid, gpu.name): value
                for gpu in reading.gpus
                if (value := value_of(gpu)) is not None
            }
            self._metrics.replace(family, None, series)

    def _nothing(self, reason: str) -> None:
        """What was read before is no more than history."""
        if not self._failing:
            self._failing = True
            log.warning("the GPUs cannot be read: %s", reason)
        for family, _ in _GAUGES:
            self._metrics.clear(family, None)
