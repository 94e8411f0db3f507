"""What GPUs themselves report, where something measures it: the exporter with the extra `gpu`, or dcgm-exporter."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries

from comfyui_dashboards.layout import Shelf
from comfyui_dashboards.panels import chart
from comfyui_dashboards.queries import lines

_GPU = "GPU {{gpu}} {{instance}}"
_NOBODY = "No GPU metrics (docs/dashboards.md says how to get them)"
_WHERE = "All GPUs that are measured, whatever server is chosen. Empty without GPU metrics."


def _of_gpus(title: str, what: str, unit: str, metric: str) -> timeseries.Panel:
    by = "max by (job, instance, gpu, uuid, name)"
    return chart(title, f"{what} {_WHERE}", unit, [lines(f"{by} ({metric})", _GPU)], filled=10).no_value(_NOBODY)


def utilisation() -> timeseries.Panel:
    """Draw how busy GPUs are."""
    what = "Share of the time that the GPU was busy. Low while a server is at work: something else holds it up."
    return _of_gpus("GPU utilisation", what, "percentunit", "comfyui_gpu_utilization_ratio").max(1)


def memory() -> timeseries.Panel:
    """Draw the memory in use, by whatever process."""
    what = "Memory in use, by ComfyUI or anything else."
    return _of_gpus("GPU memory in use", what, "bytes", "comfyui_gpu_memory_used_bytes")


def temperature() -> timeseries.Panel:
    """Draw how warm GPUs are."""
    return _of_gpus(
        "GPU temperature", "Above some 85 °C most GPUs slow down.", "celsius", "comfyui_gpu_temperature_celsius"
    )


def power() -> timeseries.Panel:
    """Draw what GPUs draw."""
    return _of_gpus("GPU power", "What the GPU draws.", "watt", "comfyui_gpu_power_watts")


GPUS = Shelf(
    7, [(6, utilisation()), (6, memory()), (6, temperature()), (6, power())], heading="What do the GPUs say themselves?"
)
