"""What of a submitted graph tells how long the job takes, read from the inputs of its nodes.

Inputs come from whoever may submit: a number may be a text, a list, or larger than any float. What is not what its name
promises is taken as not given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from sys import intern

import msgspec

from comfyui_exporter.comfyui.graph import NeededNode, link_of
from comfyui_exporter.comfyui.json import text, value_of
from comfyui_exporter.tracker.observations import Features

MAX_MODEL = 100
"""Characters of a model's file name."""

MOST = 1e12
"""Steps, pixels and frames beyond it are none."""

_DIGEST = 8
"""Bytes of a hash: a mistaken match costs one bad estimate."""

_LONGEST_SETTING = 64
"""Bytes of an input that may be a setting; the rest of a longer one does not tell jobs apart."""

_DEEPEST_LINK = 4
"""Nodes that a number may be handed through: `PrimitiveInt` to a reroute to a sampler, say."""

_FRAMES = ("length", "num_frames", "frames", "video_frames", "frame_count", "max_frames")
_MODELS = ("ckpt_name", "unet_name", "model_name", "gguf_name", "diffusion_name", "model", "model_path")
_HANDED_ON = ("value", "int", "float", "number", "Number", "any", "input")

_FREE_NUMBERS = frozenset({
    "blend_factor", "cfg", "cfg_scale", "color", "conditioning_scale", "control_after_generate", "end_percent", "eta",
    "fps", "frame_rate", "guidance", "noise", "opacity", "quality", "shift", "sigma", "start_percent", "strength",
    "strength_clip", "strength_model", "threshold", "weight", "x", "y",
})  # fmt: skip
"""Numbers that people turn without the job taking longer for it."""

_SIZES = frozenset({"denoise", "duration", "factor", "megapixels", "scale", "scale_by", "seconds", "upscale_by"})
"""Numbers with a fraction that decide how much work there is; other fractions are taste."""

_CHOICES = frozenset({
    "attention", "codec", "crop", "device", "dither", "dtype", "format", "interpolation", "method", "mode", "precision",
    "quantization", "resolution", "scheduler", "type", "upscale_method", "weight_dtype",
})  # fmt: skip
"""Words that choose how the work is done; inputs whose name ends in `_name` do so too, other texts are content."""

_DIGITS = frozenset(b"-0123456789")
_QUOTE = ord('"')
_BRACKET = ord("[")


def features_of(nodes: Mapping[str, NeededNode], shape: str) -> Features:
    """Read the features of a graph from the nodes that its outputs need."""
    pixels, frames, batch = _sizes(nodes)
    order = sorted(nodes)
    costly = _costly(nodes)
    # Many jobs of a queue share most of these strings, so they share the objects too.
    return Features(
        fingerprint=intern(_digest((shape.encode(), *_settings(nodes, order)))),
        shape=shape,
        content=_digest([nodes[node_id].raw for node_id in order]),
        costly=intern(_digest([nodes[node_id].raw for node_id in order if node_id in costly])),
        model=intern(_model(nodes)),
        steps=_steps(nodes),
        pixels=pixels,
        frames=frames,
        batch=batch,
    )


# What tells jobs apart


def _digest(parts: Iterable[bytes | msgspec.Raw]) -> str:
    """Hash what is given; "" for nothing."""
    joined = b"\0".join(parts)
    return blake2b(joined, digest_size=_DIGEST).hexdigest() if joined else ""


def _settings(nodes: Mapping[str, NeededNode], order: Iterable[str]) -> Iterator[bytes]:
    """Give the inputs that may change how long the job takes; classes have them in an order of their own."""
    for node_id in order:
        for name, raw in nodes[node_id].inputs.items():
            data = bytes(memoryview(raw)[:_LONGEST_SETTING])
            first = data[0]
            if first != _BRACKET and _is_setting(name, first, data):
                yield data


def _is_setting(name: str, first: int, data: bytes) -> bool:
    if first == _QUOTE:
        return name in _CHOICES or name.endswith("_name")
    if first in _DIGITS:
        if name in _SIZES:
            return True
        if name in _FREE_NUMBERS or "seed" in name:
            return False
        return b"." not in data and b"e" not in data and b"E" not in data
    return first in b"tf"


def _costly(nodes: Mapping[str, NeededNode]) -> dict[str, None]:
    """Find the samplers and what they need; where nothing samples, everything but the outputs themselves."""
    waiting = [node_id for node_id, node in nodes.items() if "steps" in node.inputs]
    if not waiting:
        waiting = [source for node in nodes.values() for source in node.sources]
    found: dict[str, None] = {}
    while waiting:
        node_id = waiting.pop()
        if node_id not in found and node_id in nodes:
            found[node_id] = None
            waiting.extend(nodes[node_id].sources)
    return found


# How much work there is


def _steps(nodes: Mapping[str, NeededNode]) -> float:
    steps = 0.0
    for node in nodes.values():
        if "steps" not in node.inputs:
            continue
        own = _number(nodes, node, "steps")
        if "start_at_step" in node.inputs:  # a sampler that does a part of them
            last = _number(nodes, node, "end_at_step") or own
            own = max(0.0, min(own, last) - _number(nodes, node, "start_at_step"))
        steps += own
    return _whole(min(steps, MOST))


def _sizes(nodes: Mapping[str, NeededNode]) -> tuple[float, float, float]:
    """Find the largest pixels, frames and batch of all nodes."""
    pixels = frames = batch = 0.0
    for node in nodes.values():
        inputs = node.inputs
        if "width" in inputs and "height" in inputs:
            pixels = max(pixels, _number(nodes, node, "width") * _number(nodes, node, "height"))
        elif "megapixels" in inputs:
            pixels = max(pixels, 1e6 * _number(nodes, node, "megapixels"))
        for name in _FRAMES:
            if name in inputs:
                frames = max(frames, _number(nodes, node, name))
        if "batch_size" in inputs:
            batch = max(batch, _number(nodes, node, "batch_size"))
    if not frames:
        frames = max(
            (_number(nodes, node, "seconds") for node in nodes.values() if "seconds" in node.inputs), default=0.0
        )
    return _whole(min(pixels, MOST)), _whole(min(frames, MOST)), _whole(min(batch, MOST))


def _number(nodes: Mapping[str, NeededNode], node: NeededNode, name: str) -> float:
    """Read a number, also one that another node only hands on; 0 for what is none."""
    for _ in range(_DEEPEST_LINK):
        raw = node.inputs.get(name)
        if raw is None:
            return 0.0
        source = link_of(raw)
        if source is None:
            return _amount(raw)
        if source not in nodes:
            return 0.0
        node = nodes[source]
        handed = next((given for given in _HANDED_ON if given in node.inputs), None)
        if handed is None:
            return 0.0
        name = handed
    return 0.0


def _amount(raw: msgspec.Raw) -> float:
    value = value_of(raw)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    # A number beyond a float's range compares all the same.
    return float(value) if 0 < value <= MOST and math.isfinite(value) else 0.0


def _whole(value: float) -> float:
    """Small integers are one object each, however many jobs have them."""
    return int(value) if value == int(value) else value


def _model(nodes: Mapping[str, NeededNode]) -> str:
    for name in _MODELS:
        for node in nodes.values():
            raw = node.inputs.get(name)
            if raw is not None and memoryview(raw)[0] == _QUOTE:
                model = text(value_of(raw), MAX_MODEL)
                if model:
                    return model
    return ""
