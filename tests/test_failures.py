"""Failures are told apart by what PyTorch, ComfyUI and the libraries of custom nodes really say."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.failures import (
    BUILT_IN,
    HEAD_LENGTH,
    TAIL_LENGTH,
    UNKNOWN,
    FailureClassifier,
    FailurePattern,
    TookTooLong,
    searched_text,
)
from comfyui_exporter.searching import SEARCH_TIME, bounded_search

RECORDINGS = Path(__file__).parent / "recordings"

OOM_TIPS = (
    "\nThis error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have "
    "accidentally set the batch_size to a large number."
)

REAL_FAILURES = [
    ("cuda_oom", "torch.OutOfMemoryError", "Allocation on device \n"),
    (
        "cuda_oom",
        "torch.OutOfMemoryError",
        "Allocation on device 0 would exceed allowed memory. (out of memory)" + OOM_TIPS,
    ),
    (
        "cuda_oom",
        "torch.cuda.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 8.00 GiB total)",
    ),
    (
        "cuda_oom",
        "RuntimeError",
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB",
    ),
    (
        "cuda_oom",
        "RuntimeError",
        "HIP out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 15.98 GiB",
    ),
    ("cuda_oom", "RuntimeError", "MPS backend out of memory (MPS allocated: 17.18 GB, other allocations: 640.00 KB)"),
    ("cuda_oom", "RuntimeError", "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    ("cuda_oom", "RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    (
        "cuda_oom",
        "RuntimeError",
        "Could not allocate tensor with 671088640 bytes. There is not enough GPU video memory available!",
    ),
    ("ram_oom", "MemoryError", ""),
    (
        "ram_oom",
        "numpy.core._exceptions._ArrayMemoryError",
        "Unable to allocate 5.93 GiB for an array with shape (256, 1080)",
    ),
    (
        "ram_oom",
        "RuntimeError",
        "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried",
    ),
    ("ram_oom", "OSError", "The paging file is too small for this operation to complete. (os error 1455)"),
    ("disk_full", "OSError", "[Errno 28] No space left on device: '/data/output/ComfyUI_00001_.png'\n"),
    (
        "disk_full",
        "safetensors_rust.SafetensorError",
        "Error while serializing: IoError(Os { code: 28, kind: StorageFull })",
    ),
    ("disk_full", "OSError", "[WinError 112] There is not enough space on the disk"),
    ("cuda_error", "RuntimeError", "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"),
    ("cuda_error", "torch.AcceleratorError", "CUDA error: no kernel image is available for execution on the device"),
    ("cuda_error", "RuntimeError", "CUDA error: the launch timed out and was terminated"),
    (
        "cuda_error",
        "RuntimeError",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa )`",
    ),
    ("cuda_error", "RuntimeError", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    ("cuda_error", "AssertionError", "Torch not compiled with CUDA enabled"),
    ("cuda_error", "RuntimeError", "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
    ("connection", "TimeoutError", "Connection timeout\n"),
    ("connection", "ConnectionRefusedError", "[Errno 111] Connection refused"),
    ("connection", "ConnectionResetError", "[Errno 104] Connection reset by peer"),
    (
        "connection",
        "aiohttp.client_exceptions.ClientConnectorError",
        "Cannot connect to host api.comfy.org:443 ssl:default",
    ),
    (
        "connection",
        "requests.exceptions.ConnectionError",
        "(MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /a\"))",
    ),
    (
        "connection",
        "requests.exceptions.ReadTimeout",
        "HTTPSConnectionPool(host='x', port=443): Read timed out. (read timeout=10)",
    ),
    ("connection", "Exception", "Connection to huggingface.co timed out. (connect timeout=10)"),
    ("connection", "OSError", "We couldn't connect to 'https://huggingface.co' to load the files"),
    ("connection", "socket.gaierror", "[Errno -3] Temporary failure in name resolution"),
    ("timeout", "TimeoutError", ""),
    ("timeout", "subprocess.TimeoutExpired", "Command 'ffmpeg' timed out after 600 seconds"),
    ("missing_node", "Exception", "Cannot execute because a node is missing the class_type property.: Node ID '#17'"),
    ("missing_node", "Exception", "Cannot execute because node ETN_BackgroundRegion does not exist."),
    ("missing_module", "ModuleNotFoundError", "No module named 'sageattention'"),
    (
        "missing_file",
        "FileNotFoundError",
        "[Errno 2] No such file or directory: 'models/checkpoints/sdxl_base.safetensors'\n",
    ),
    (
        "missing_file",
        "FileNotFoundError",
        "Model in folder 'checkpoints' with filename 'sd_xl_base_1.0.safetensors' not found.",
    ),
    ("missing_file", "Exception", "IPAdapter model not found."),
    ("model_load", "safetensors_rust.SafetensorError", "Error while deserializing header: HeaderTooLarge"),
    (
        "model_load",
        "ValueError",
        "Error while deserializing header: HeaderTooLarge\n\nFile path: x\n\nThe safetensors file is corrupt",
    ),
    ("model_load", "RuntimeError", "ERROR: Could not detect model type of: /models/checkpoints/lora.safetensors"),
    (
        "model_load",
        "RuntimeError",
        "Error(s) in loading state_dict for UNetModel:\n\tsize mismatch for input_blocks.0.0.weight",
    ),
    ("model_load", "RuntimeError", "PytorchStreamReader failed reading zip archive: failed finding central directory"),
    ("model_load", "_pickle.UnpicklingError", "invalid load key, '<'."),
    ("model_load", "RuntimeError", "ERROR: VAE is invalid: None\n\nIf the VAE is from a checkpoint loader node"),
    (
        "model_load",
        "RuntimeError",
        "ERROR: clip input is invalid: None\n\nIf the clip is from a checkpoint loader node",
    ),
    ("shape_mismatch", "RuntimeError", "mat1 and mat2 shapes cannot be multiplied (577x1024 and 1152x12288)"),
    (
        "shape_mismatch",
        "RuntimeError",
        "The size of tensor a (64) must match the size of tensor b (96) at non-singleton dimension 3",
    ),
    (
        "shape_mismatch",
        "RuntimeError",
        "Sizes of tensors must match except in dimension 1. Expected size 64 but got size 96",
    ),
    (
        "shape_mismatch",
        "RuntimeError",
        "Given groups=1, weight of size [320, 4, 3, 3], expected input[2, 9, 64, 64] to have 4 channels, but got 9",
    ),
    ("shape_mismatch", "ValueError", "Expected 4 channels, got 3\n"),
    ("shape_mismatch", "ValueError", "operands could not be broadcast together with shapes (512,512,3) (512,512,4)"),
    ("dtype", "RuntimeError", "expected scalar type Half but found Float"),
    ("dtype", "RuntimeError", "mat1 and mat2 must have the same dtype, but got Float and Half"),
    ("dtype", "RuntimeError", "expected mat1 and mat2 to have the same dtype, but got: struct c10::Half != float"),
    (
        "dtype",
        "RuntimeError",
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    ),
    ("dtype", "RuntimeError", "\"LayerNormKernelImpl\" not implemented for 'Half'"),
    ("dtype", "RuntimeError", "Input type (float) and bias type (struct c10::Half) should be the same"),
    ("validation", "Exception", "Prompt outputs failed validation"),
    ("validation", "pydantic_core._pydantic_core.ValidationError", "1 validation error for Request"),
    ("validation", "TypeError", "encode() missing 1 required positional argument: 'pixels'"),
    ("unknown", "AttributeError", "'list' object has no attribute 'get'\n"),
    ("unknown", "RuntimeError", "the runtime output was empty"),
    ("unknown", "KeyError", "'a'"),
    ("unknown", "", ""),
]


@pytest.mark.parametrize(("pattern", "exception_type", "message"), REAL_FAILURES)
def test_what_is_really_said_is_put_down_to_its_cause(pattern, exception_type, message):
    assert FailureClassifier().classify(exception_type, message) == pattern


@pytest.mark.parametrize(
    ("recording", "pattern"),
    [
        ("fail_oom_torch", "cuda_oom"),
        ("fail_oom_runtime", "cuda_oom"),
        ("fail_file", "missing_file"),
        ("fail_timeout", "connection"),
        ("fail_value", "shape_mismatch"),
    ],
)
def test_failures_recorded_from_comfyui_are_put_down_to_their_cause(recording, pattern):
    steps = json.loads((RECORDINGS / f"{recording}.json").read_text(encoding="utf-8"))
    classifier = FailureClassifier()
    found = {
        classifier.classify(error["exception_type"], error["exception_message"], error["node_type"])
        for error in errors_in(steps)
    }
    assert found == {pattern}


def errors_in(value: object) -> Iterator[dict[str, str]]:
    if isinstance(value, dict):
        if "exception_message" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            yield from errors_in(element)


def test_every_built_in_pattern_is_tried_on_something_real():
    assert {pattern.id for pattern in BUILT_IN} | {UNKNOWN} == {pattern for pattern, _, _ in REAL_FAILURES}


def test_an_unexplained_failure_of_a_loader_node_is_a_model_that_could_not_be_loaded():
    classifier = FailureClassifier()
    for node_type in ("CheckpointLoaderSimple", "UNETLoader", "DualCLIPLoaderGGUF", "LoraLoaderModelOnly", "VAELoader"):
        assert classifier.classify("KeyError", "'model.diffusion_model'", node_type) == "model_load"
    for node_type in ("KSampler", "LoadImage", "VAEDecode", "VHS_LoadVideo", ""):
        assert classifier.classify("KeyError", "'model.diffusion_model'", node_type) == "unknown"


def test_what_a_loader_node_says_counts_more_than_that_it_is_one():
    assert FailureClassifier().classify("torch.OutOfMemoryError", "Allocation on device ", "UNETLoader") == "cuda_oom"


def test_the_class_of_a_node_is_not_taken_for_its_message():
    assert FailureClassifier().classify("ValueError", "bad", "TimeoutNode") == "unknown"


def test_configured_patterns_come_before_the_built_in_ones():
    licence = FailurePattern.of("licence", "Licence server", ["licence .* refused"])
    classifier = FailureClassifier([licence])
    assert classifier.classify("Exception", "Licence check: Connection refused") == "licence"
    assert classifier.classify("Exception", "Connection refused") == "connection"
    assert classifier.ids == ("licence", *(pattern.id for pattern in BUILT_IN), "unknown")


def test_a_configured_pattern_may_add_to_a_built_in_one_and_name_it():
    classifier = FailureClassifier([FailurePattern.of("cuda_oom", "GPU memory", ["kein Speicher"])])
    assert classifier.classify("RuntimeError", "kein Speicher") == "cuda_oom"
    assert classifier.classify("torch.OutOfMemoryError", "") == "cuda_oom"
    assert classifier.title("cuda_oom") == "GPU memory"
    assert classifier.ids.count("cuda_oom") == 1


def test_a_configured_pattern_sees_the_exception_type_before_the_message():
    classifier = FailureClassifier([FailurePattern.of("mine", "Mine", [r"^my\.Error: boom$"])])
    assert classifier.classify("my.Error", "boom") == "mine"


def test_an_expression_that_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression"):
        FailurePattern.of("mine", "Mine", ["("])


def test_titles_are_the_ones_that_statistics_show():
    classifier = FailureClassifier()
    assert classifier.title("cuda_oom") == "CUDA out of memory"
    assert classifier.title("connection") == "Connection timeout"
    assert classifier.title("unknown") == "Unknown error"


def test_a_pattern_that_is_no_longer_configured_is_its_own_title():
    assert FailureClassifier().title("removed") == "removed"


def test_a_cause_at_either_end_of_a_long_message_is_found_and_one_in_the_middle_is_not_looked_for():
    classifier = FailureClassifier()
    filler = "x" * 50_000
    assert classifier.classify("RuntimeError", "CUDA out of memory" + filler) == "cuda_oom"
    assert classifier.classify("RuntimeError", filler + "CUDA out of memory") == "cuda_oom"
    assert classifier.classify("RuntimeError", filler + "CUDA out of memory" + filler) == "unknown"


@given(st.text(max_size=50), st.text(max_size=20).map(lambda text: text * 1000))
def test_what_is_searched_is_bounded(exception_type, message):
    assert len(searched_text(exception_type, message)) <= 200 + 3 + HEAD_LENGTH + TAIL_LENGTH
    assert FailureClassifier().classify(exception_type, message) in FailureClassifier().ids


@pytest.mark.parametrize(
    "unit",
    ["expected ", "shape ", "model ", "Value ", "Input type (", "Cannot execute because node ", "no", " ", "a\n"],
)
def test_no_built_in_expression_takes_long_over_a_message_made_to_be_slow(unit):
    classifier = FailureClassifier()
    started = time.process_time()
    classifier.classify("RuntimeError", unit * 5000)
    assert time.process_time() - started < 0.5


def backtracking(
    search: Callable[[re.Pattern[str], str], bool] = bounded_search,
) -> tuple[FailureClassifier, list[str]]:
    """A classifier with an expression that takes for ever in `aaa...`, and the patterns that it told of."""
    told: list[str] = []
    pattern = FailurePattern.of("slow", "Slow", [r"(\w+\s*)+failed"])
    return FailureClassifier([pattern], search=search, told=told.append), told


def test_an_expression_that_backtracks_without_end_is_given_up() -> None:
    classifier, told = backtracking()
    began = time.process_time()
    assert classifier.classify("RuntimeError", "a" * 4000 + " CUDA out of memory", "") == "cuda_oom"
    assert time.process_time() - began < 10 * SEARCH_TIME
    assert told == []
    # It is right where it is quick.
    assert classifier.classify("", "it failed", "") == "slow"


def test_an_expression_that_was_given_up_three_times_is_not_asked_any_more() -> None:
    searched: list[str] = []

    def search(_: re.Pattern[str], text: str) -> bool:
        searched.append(text)
        raise TookTooLong

    classifier, told = backtracking(search)
    for number in range(5):
        assert classifier.classify("", f"{number}", "") == "unknown"
    assert (len(searched), told) == (3, ["slow"])


def test_the_alarm_of_a_search_is_over_with_the_search() -> None:
    assert bounded_search(re.compile("a"), "banana")
    assert not bounded_search(re.compile("x"), "banana")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_beside_the_main_thread_a_search_is_not_bounded_but_done() -> None:
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(bounded_search, re.compile("a"), "banana").result()
