"""Nodes for trying ComfyUI without models: they sleep in steps, stay silent, fail, or block."""

import time

import torch

import comfy.model_management
import comfy.utils
from comfy_execution.graph_utils import ExecutionBlocker


def _image(seed=0):
    g = torch.Generator().manual_seed(int(seed) & 0x7FFFFFFF)
    return torch.rand((1, 64, 64, 3), generator=g)


class _Base:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "probe"


class ProbeSteps(_Base):
    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "steps": ("INT", {"default": 10, "min": 0, "max": 100000}),
                "step_ms": ("INT", {"default": 200, "min": 0, "max": 3600000}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF}),
                "busy": ("BOOLEAN", {"default": False}),
            }
        }

    def run(self, steps, step_ms, seed, busy):
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            end = time.monotonic() + step_ms / 1000.0
            # busy: hold the GIL's attention by spinning; else sleep in slices
            while True:
                comfy.model_management.throw_exception_if_processing_interrupted()
                left = end - time.monotonic()
                if left <= 0:
                    break
                if busy:
                    sum(range(2000))
                else:
                    time.sleep(min(left, 0.1))
            bar.update(1)
        return (_image(seed),)


class ProbeQuiet(_Base):
    """One uninterruptible, silent sleep (no progress, no interrupt checks)."""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"ms": ("INT", {"default": 5000, "min": 0, "max": 36000000})},
            "optional": {"seed": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF})},
        }

    def run(self, ms, seed=0):
        time.sleep(ms / 1000.0)
        return (_image(seed),)


class ProbeFail(_Base):
    KINDS = ["value", "file", "timeout", "oom_runtime", "oom_torch", "connection"]

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"kind": (cls.KINDS,)},
            "optional": {"delay_ms": ("INT", {"default": 0, "min": 0, "max": 3600000})},
        }

    def run(self, kind, delay_ms=0):
        time.sleep(delay_ms / 1000.0)
        oom = (
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of "
            "79.10 GiB of which 12.00 MiB is free."
        )
        if kind == "value":
            raise ValueError("probe: bad value")
        if kind == "file":
            raise FileNotFoundError(2, "No such file or directory", "/models/checkpoints/missing.safetensors")
        if kind == "timeout":
            raise TimeoutError("probe: timed out")
        if kind == "oom_runtime":
            raise RuntimeError(oom)
        if kind == "oom_torch":
            raise torch.OutOfMemoryError(oom)
        if kind == "connection":
            raise ConnectionError("probe: connection refused")
        raise AssertionError(kind)


class ProbeBlock(_Base):
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return (ExecutionBlocker("blocked"),)


NODE_CLASS_MAPPINGS = {c.__name__: c for c in (ProbeSteps, ProbeQuiet, ProbeFail, ProbeBlock)}
NODE_DISPLAY_NAME_MAPPINGS = {}
