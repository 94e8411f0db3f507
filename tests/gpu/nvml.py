"""A module like pynvml, with the names and the errors of the real one, over GPUs that a test describes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace


class NVMLError(Exception):
    """Base of all."""


class NotSupportedError(NVMLError):
    def __init__(self):
        super().__init__("Not Supported")


class FunctionNotFoundError(NVMLError):
    def __init__(self):
        super().__init__("Function Not Found")


@dataclass
class FakeGpu:
    """What it tells; a value that is an exception is raised."""

    uuid: object = "GPU-0"
    name: object = "NVIDIA RTX 6000 Ada Generation"
    percent: object = 37
    used: object = 20_000_000_000
    celsius: object = 61
    milliwatts: object = 212_345


def told(value):
    if isinstance(value, Exception):
        raise value
    return value


@dataclass
class FakeNvml:
    """As the module; `hold` makes every look wait, as a driver does that hangs."""

    gpus: list[FakeGpu] = field(default_factory=lambda: [FakeGpu()])
    no_driver: Exception | None = None
    broken: Exception | None = None
    old_temperature: bool = True
    hold: threading.Event | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    NVMLError = NVMLError
    NVMLError_NotSupported = NotSupportedError
    NVMLError_FunctionNotFound = FunctionNotFoundError
    NVML_TEMPERATURE_GPU = 0

    def nvmlInit(self):  # noqa: N802
        if self.no_driver is not None:
            raise self.no_driver

    def nvmlShutdown(self):  # noqa: N802
        self.ended.set()

    def nvmlDeviceGetCount(self):  # noqa: N802
        if self.hold is not None:
            self.hold.wait()
        if self.broken is not None:
            raise self.broken
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return told(self.gpus[index])

    def nvmlDeviceGetUUID(self, device):  # noqa: N802
        return told(device.uuid)

    def nvmlDeviceGetName(self, device):  # noqa: N802
        return told(device.name)

    def nvmlDeviceGetUtilizationRates(self, device):  # noqa: N802
        return SimpleNamespace(gpu=told(device.percent), memory=3)

    def nvmlDeviceGetMemoryInfo(self, device):  # noqa: N802
        return SimpleNamespace(total=48_000_000_000, free=1, used=told(device.used))

    def nvmlDeviceGetTemperature(self, device, sensor):  # noqa: N802
        if not self.old_temperature:
            raise FunctionNotFoundError
        assert sensor == self.NVML_TEMPERATURE_GPU
        return told(device.celsius)

    def nvmlDeviceGetTemperatureV(self, device, sensor):  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return told(device.celsius)

    def nvmlDeviceGetPowerUsage(self, device):  # noqa: N802
        return told(device.milliwatts)
