"""One look at all GPUs."""

from __future__ import annotations

import pynvml
import pytest

from comfyui_exporter.gpu.reading import Gpu, read
from gpu.nvml import FakeGpu, FakeNvml, NotSupportedError, NVMLError

NAME = "NVIDIA RTX 6000 Ada Generation"


def test_a_look_gives_base_units():
    assert read(FakeNvml()).gpus == (
        Gpu(0, "GPU-0", NAME, utilization=0.37, memory_used=20_000_000_000, temperature=61, power=212.345),
    )


def test_what_a_gpu_does_not_support_is_left_out_and_is_no_problem():
    reading = read(FakeNvml([FakeGpu(percent=NotSupportedError(), milliwatts=NotSupportedError())]))
    (gpu,) = reading.gpus
    assert (gpu.utilization, gpu.power, gpu.temperature, reading.problems) == (None, None, 61, {})


def test_a_gpu_that_is_lost_leaves_the_others():
    lost = NVMLError("GPU is lost")
    reading = read(FakeNvml([FakeGpu(uuid=lost), FakeGpu("GPU-1")]))
    assert [(gpu.index, gpu.uuid) for gpu in reading.gpus] == [(1, "GPU-1")]
    assert reading.problems == {0: "GPU is lost"}


def test_a_value_that_fails_leaves_the_other_values_and_is_a_problem():
    reading = read(FakeNvml([FakeGpu(used=NVMLError("Unknown Error"))]))
    assert (reading.gpus[0].memory_used, reading.gpus[0].temperature) == (None, 61)
    assert reading.problems == {0: "Unknown Error"}


def test_a_driver_without_the_old_function_for_temperatures_is_asked_by_the_new_one():
    reading = read(FakeNvml(old_temperature=False))
    assert (reading.gpus[0].temperature, reading.problems) == (61, {})


def test_bytes_of_older_versions_of_the_module_are_text():
    (gpu,) = read(FakeNvml([FakeGpu(b"GPU-7", b"Tesla T4")])).gpus
    assert (gpu.uuid, gpu.name) == ("GPU-7", "Tesla T4")


@pytest.mark.parametrize("name", sorted(name for name in vars(FakeNvml) if name.startswith(("nvml", "NVML"))))
def test_the_real_module_has_what_the_fake_one_has(name):
    assert hasattr(pynvml, name)


def test_the_errors_of_the_real_module_are_those_that_we_tell_apart():
    assert issubclass(pynvml.NVMLError_NotSupported, pynvml.NVMLError)
    assert isinstance(pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED), pynvml.NVMLError_NotSupported)
    assert isinstance(pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND), pynvml.NVMLError_FunctionNotFound)
