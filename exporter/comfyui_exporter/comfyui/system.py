"""GET /system_stats: versions, memory, devices."""

from __future__ import annotations

import msgspec

from comfyui_exporter.comfyui.json import NULL, Body, PayloadError, decode, text
from comfyui_exporter.comfyui.values import MAX_NAME, size_of
from comfyui_exporter.tracker.observations import Device, SystemStats


class _System(msgspec.Struct):
    os: object = None
    ram_total: object = None
    ram_free: object = None
    comfyui_version: object = None
    python_version: object = None
    pytorch_version: object = None


class _Device(msgspec.Struct):
    name: object = None
    type: object = None
    index: object = None
    vram_total: object = None
    vram_free: object = None
    torch_vram_total: object = None
    torch_vram_free: object = None


class _Stats(msgspec.Struct):
    system: _System
    devices: msgspec.Raw = NULL


_stats = msgspec.json.Decoder(_Stats)
_devices = msgspec.json.Decoder(list[msgspec.Raw])
_device = msgspec.json.Decoder(_Device)


def read_system_stats(body: Body) -> SystemStats:
    """Read GET /system_stats.

    Raises:
        PayloadError: it isn't what ComfyUI answers.

    """
    stats = decode(_stats, body)
    try:
        told = decode(_devices, stats.devices)
    except PayloadError:
        told = []
    devices = []
    for place, raw in enumerate(told[:64]):
        try:
            device = decode(_device, raw)
        except PayloadError:
            continue
        index = device.index if isinstance(device.index, int) and not isinstance(device.index, bool) else place
        devices.append(
            Device(
                name=str(index),
                type=text(device.type, MAX_NAME),
                vram_total=size_of(device.vram_total),
                vram_free=size_of(device.vram_free),
                torch_vram_total=size_of(device.torch_vram_total),
                torch_vram_free=size_of(device.torch_vram_free),
            )
        )
    system = stats.system
    return SystemStats(
        version=text(system.comfyui_version, MAX_NAME),
        python_version=text(system.python_version, MAX_NAME),
        pytorch_version=text(system.pytorch_version, MAX_NAME),
        os=text(system.os, MAX_NAME),
        ram_total=size_of(system.ram_total),
        ram_free=size_of(system.ram_free),
        devices=tuple(devices),
    )
