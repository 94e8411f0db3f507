"""One look at all GPUs. What cannot be read is left out, and costs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Utilization(Protocol):
    """Share of time that was busy, in percent."""

    gpu: int


class Memory(Protocol):
    """Bytes."""

    used: int


class Nvml(Protocol):
    """What we use of the module pynvml, by its names; a device is an opaque handle."""

    NVMLError: type[Exception]
    NVMLError_NotSupported: type[Exception]
    NVMLError_FunctionNotFound: type[Exception]
    NVML_TEMPERATURE_GPU: int

    def nvmlInit(self) -> None:  # noqa: D102, N802
        ...

    def nvmlShutdown(self) -> None:  # noqa: D102, N802
        ...

    def nvmlDeviceGetCount(self) -> int:  # noqa: D102, N802
        ...

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> object:  # noqa: D102, N802
        ...

    def nvmlDeviceGetUUID(self, device: object, /) -> str | bytes:  # noqa: D102, N802
        ...

    def nvmlDeviceGetName(self, device: object, /) -> str | bytes:  # noqa: D102, N802
        ...

    def nvmlDeviceGetUtilizationRates(self, device: object, /) -> Utilization:  # noqa: D102, N802
        ...

    def nvmlDeviceGetMemoryInfo(self, device: object, /) -> Memory:  # noqa: D102, N802
        ...

    def nvmlDeviceGetTemperature(self, device: object, sensor: int, /) -> int:  # noqa: D102, N802
        ...

    def nvmlDeviceGetTemperatureV(self, device: object, sensor: int, /) -> int:  # noqa: D102, N802
        ...

    def nvmlDeviceGetPowerUsage(self, device: object, /) -> int:  # noqa: D102, N802
        ...


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; None is what it does not tell."""

    index: int
    uuid: str
    name: str
    utilization: float | None
    """0 to 1."""
    memory_used: float | None
    """Bytes."""
    temperature: float | None
    """Degrees Celsius."""
    power: float | None
    """Watts."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All GPUs that could be read, and by index what went wrong with one."""

    gpus: tuple[Gpu, ...]
    problems: dict[int, str]


def read(nvml: Nvml) -> Reading:
    """Look at every GPU that there is now.

    Raises:
        nvml.NVMLError: not even their number is known.
    """
    gpus: list[Gpu] = []
    problems: dict[int, str] = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_gpu(nvml, index, problems))
        except nvml.NVMLError as error:
            problems[index] = str(error)
    return Reading(tuple(gpus), problems)


def _gpu(nvml: Nvml, index: int, problems: dict[int, str]) -> Gpu:
    device = nvml.nvmlDeviceGetHandleByIndex(index)

    def value(ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except nvml.NVMLError_NotSupported:
            return None
        except nvml.NVMLError as error:
            problems[index] = str(error)
            return None

    utilization = value(lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu)
    power = value(lambda: nvml.nvmlDeviceGetPowerUsage(device))
    return Gpu(
        index,
        _text(nvml.nvmlDeviceGetUUID(device)),
        _text(nvml.nvmlDeviceGetName(device)),
        utilization=None if utilization is None else utilization / 100,
        memory_used=value(lambda: nvml.nvmlDeviceGetMemoryInfo(device).used),
        temperature=value(lambda: _temperature(nvml, device)),
        power=None if power is None else power / 1000,  # milliwatts
    )


def _temperature(nvml: Nvml, device: object) -> int:
    try:
        return nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU)
    except nvml.NVMLError_FunctionNotFound:
        # Drivers from CUDA 14 on have only this one, which old drivers lack.
        return nvml.nvmlDeviceGetTemperatureV(device, nvml.NVML_TEMPERATURE_GPU)


def _text(value: str | bytes) -> str:
    # Older versions of the module give bytes.
    return value.decode(errors="replace") if isinstance(value, bytes) else value
