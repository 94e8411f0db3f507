"""The ways in which a node fails, with the words that users of ComfyUI meet."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

OUT_OF_MEMORY = "torch.OutOfMemoryError"

OUT_OF_MEMORY_HINT = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have "
    "accidentally set the batch_size to a large number."
)
"""ComfyUI appends this to the message of torch's out-of-memory exception, and to no other."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in a node."""

    exception_type: str
    """Qualified as ComfyUI does it: builtins bare, others with their module."""
    message: str
    class_types: tuple[str, ...] = ()
    """Node classes that fail like this; the first one that a graph has is taken. Empty: any."""

    @property
    def exception_message(self) -> str:
        """The message as execution_error has it: it always ends with a newline or the hint."""
        hint = OUT_OF_MEMORY_HINT if self.exception_type == OUT_OF_MEMORY else ""
        return f"{self.message}\n{hint}"


_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_LOADERS = ("CheckpointLoaderSimple", "UNETLoader", "UpscaleModelLoader")
_SAVERS = ("SaveVideo", "VHS_VideoCombine", "SaveAudio", "SaveImage")

FAILURES = MappingProxyType(
    {
        "cuda_oom": Failure(
            OUT_OF_MEMORY,
            "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
            "Currently allocated     : 21.41 GiB\nRequested               : 4.50 GiB\n"
            "Device limit            : 23.64 GiB\nFree (according to CUDA): 18.88 MiB",
            _SAMPLERS,
        ),
        "cuda_oom_runtime": Failure(
            "RuntimeError",
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.12 GiB "
            "is free. Including non-PyTorch memory, this process has 22.50 GiB memory in use.",
            ("VAEDecode", "ImageUpscaleWithModel", *_SAMPLERS),
        ),
        "missing_file": Failure(
            "FileNotFoundError",
            "[Errno 2] No such file or directory: 'models/checkpoints/sd_xl_base_1.0.safetensors'",
            _LOADERS,
        ),
        "timeout": Failure("TimeoutError", "Connection timeout", ("CLIPTextEncode",)),
        "connection": Failure("ConnectionError", "Failed to establish a new connection: Connection refused"),
        "value": Failure("ValueError", "Expected 4 channels, got 3", ("VAEDecode", *_SAMPLERS)),
        "shape": Failure(
            "RuntimeError",
            "mat1 and mat2 shapes cannot be multiplied (77x768 and 2048x640)",
            _SAMPLERS,
        ),
        "disk_full": Failure("OSError", "[Errno 28] No space left on device: 'output/ComfyUI_00042_.png'", _SAVERS),
    }
)
"""By a name that says what went wrong."""

_FRAMES = (
    (496, "execute", "output_data, output_ui, has_subgraph, has_pending_tasks = await get_output_data(prompt_id, ...)"),
    (315, "get_output_data", "return_values = await _async_map_node_over_list(prompt_id, unique_id, obj, ...)"),
    (289, "_async_map_node_over_list", "await process_inputs(input_dict, i)"),
    (277, "process_inputs", "result = f(**inputs)"),
)

TRACEBACK = tuple(
    f'  File "ComfyUI/execution.py", line {line}, in {function}\n    {code}\n' for line, function, code in _FRAMES
)
"""Stands for the call stack, one string per frame as in execution_error."""


def current_inputs(inputs: dict[str, Any]) -> dict[str, list[Any]]:
    """The failing node's inputs as execution_error has them: one-element lists, tensors as long texts."""
    return {name: [_TENSOR if isinstance(value, list) else value] for name, value in inputs.items()}


_ROW = "          [0., 0., 0.],\n"
_TENSOR = f"tensor([[[{(_ROW * 16).strip()}\n         ...,\n{_ROW * 16}]]])"
