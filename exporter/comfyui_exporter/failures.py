"""Failure patterns: what kind of trouble an exception speaks of.

The first pattern that matches wins. Configured patterns come first, then the built-in ones from the particular to the
general: "CUDA error: out of memory" is memory before it is CUDA, "Connection timeout" is a connection before it is a
timeout, and a state_dict that lists size mismatches is a bad model before it is a wrong shape. Pure: no I/O.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

UNKNOWN = "unknown"
"""Id of the pattern of all that matches no other."""

HEAD_LENGTH = 4000
TAIL_LENGTH = 1000
"""Of a message its first and last characters are searched. PyTorch says what happened at the beginning, wrapped
exceptions and command output at the end; what lies between are tensors and state_dict keys, which can be megabytes."""

_TYPE_LENGTH = 200

_PATIENCE = 3
"""Searches of one expression that may take too long."""


@dataclass(frozen=True, slots=True)
class FailurePattern:
    """A kind of failure."""

    id: str
    """Value of the label `pattern`."""
    title: str
    """For people: in statistics and messages."""
    regexes: tuple[re.Pattern[str], ...] = ()
    """Searched in `exception_type: message`; one that matches is enough."""
    node_types: re.Pattern[str] | None = None
    """Classes of nodes whose failures are of this kind if no message says otherwise; matched against the whole name."""

    @classmethod
    def of(cls, id: str, title: str, regexes: Iterable[str], node_types: str | None = None) -> FailurePattern:  # noqa: A002
        """A pattern from the text of regular expressions, which ignore case.

        Raises:
            ValueError: an expression is not valid; the message names it.
        """
        return cls(id, title, tuple(map(_compile, regexes)), None if node_types is None else _compile(node_types))


class TookTooLong(Exception):  # noqa: N818  what happened to the search
    """A search was given up."""


def _search(regex: re.Pattern[str], text: str) -> bool:
    return regex.search(text) is not None


class FailureClassifier:
    """Finds the pattern of a failure.

    A custom pattern may have the id of a built-in one: it then adds to it, and its title is the one shown. Whoever
    submits jobs writes what is searched, and an expression that backtracks badly can take for ever in 5,000
    characters. So custom ones are searched with `search`, which may raise TookTooLong: then that one does not match,
    and after the third time it is not asked any more, which `told` is told with the id of its pattern.
    """

    def __init__(
        self,
        custom: Sequence[FailurePattern] = (),
        *,
        search: Callable[[re.Pattern[str], str], bool] = _search,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._patterns = (*custom, *BUILT_IN)
        self._custom = frozenset(regex for pattern in custom for regex in pattern.regexes)
        self._search = search
        self._told = told
        self._given_up = Counter[re.Pattern[str]]()
        self._titles: dict[str, str] = {}
        for pattern in (*self._patterns, _UNKNOWN_PATTERN):
            self._titles.setdefault(pattern.id, pattern.title)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all patterns, each once: the custom ones first, `unknown` last unless it is one of those."""
        return tuple(self._titles)

    def title(self, pattern_id: str) -> str:
        """The title of a pattern; the id itself where there is no such pattern (a custom one of former days)."""
        return self._titles.get(pattern_id, pattern_id)

    def classify(self, exception_type: str, message: str, node_type: str = "") -> str:
        """The id of the first pattern that matches; `unknown` if none does."""
        text = searched_text(exception_type, message)
        for pattern in self._patterns:
            if any(self._matches(pattern, regex, text) for regex in pattern.regexes):
                return pattern.id
        for pattern in self._patterns:
            if pattern.node_types is not None and pattern.node_types.fullmatch(node_type[:_TYPE_LENGTH]):
                return pattern.id
        return UNKNOWN

    def _matches(self, pattern: FailurePattern, regex: re.Pattern[str], text: str) -> bool:
        if regex not in self._custom:
            return regex.search(text) is not None
        if self._given_up[regex] >= _PATIENCE:
            return False
        try:
            return self._search(regex, text)
        except TookTooLong:
            self._given_up[regex] += 1
            if self._given_up[regex] == _PATIENCE:
                self._told(pattern.id)
            return False


def searched_text(exception_type: str, message: str) -> str:
    """What expressions are searched in: `exception_type: message`, without the middle of a long message."""
    if len(message) > HEAD_LENGTH + TAIL_LENGTH:
        message = f"{message[:HEAD_LENGTH]}\n{message[-TAIL_LENGTH:]}"
    return f"{exception_type[:_TYPE_LENGTH]}: {message}"


def _compile(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex, re.IGNORECASE)
    except re.error as error:
        msg = f"{regex!r} is not a regular expression: {error}"
        raise ValueError(msg) from error


BUILT_IN: tuple[FailurePattern, ...] = (
    FailurePattern.of(
        "cuda_oom",
        "CUDA out of memory",
        (
            r"OutOfMemoryError",
            r"(CUDA|HIP|XPU|NPU|DirectML) out of memory",
            r"MPS backend out of memory",
            r"(CUDA|HIP) error: out of memory",
            # How cudaMallocAsync and ComfyUI say it.
            r"Allocation on device",
            r"ran out of memory on your GPU",
            r"would exceed allowed memory",
            r"Could not allocate tensor with \d+ bytes\. There is not enough GPU video memory",
            # cuBLAS and cuDNN could not get memory for their work space.
            r"CU(BLAS|DNN)_STATUS_ALLOC_FAILED",
            r"Failed to allocate memory for requested buffer",
        ),
    ),
    FailurePattern.of(
        "ram_oom",
        "Out of system memory",
        (
            r"MemoryError",
            r"DefaultCPUAllocator: (not enough|can't allocate) memory",
            r"Cannot allocate memory",
            r"Unable to allocate [\d.]+ [KMGT]iB",
            r"The paging file is too small",
        ),
    ),
    FailurePattern.of(
        "disk_full",
        "Disk full",
        (
            r"No space left on device",
            r"\[(Errno 28|Errno 122|WinError 112)\]",
            r"(code: 28\b|StorageFull)",
            r"Disk quota exceeded",
            r"not enough space on the disk",
        ),
    ),
    FailurePattern.of(
        "cuda_error",
        "CUDA error",
        (
            r"\b(CUDA|HIP|cuDNN|MIOpen|NCCL) error\b",
            r"CUDA kernel errors? might be asynchronously reported",
            r"CU(BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_",
            r"AcceleratorError",
            r"CUDA driver (version is insufficient|initialization failed)",
            r"Torch not compiled with CUDA enabled",
            r"Found no NVIDIA driver",
            r"No CUDA GPUs are available",
            r"no kernel image is available",
            r"device-side assert",
            r"Unable to find an engine to execute this computation",
        ),
    ),
    FailurePattern.of(
        "connection",
        "Connection timeout",
        (
            r"Connect(ion)?[ _]?(timed? ?out|refused|reset|aborted|closed|lost|error)",
            r"\bConnection to \S+ timed out",
            r"(Cannot|Could not|couldn.t|Failed to|Unable to) (connect|establish a (new )?connection)\b",
            r"Client(Connector|OS|Proxy)\w{0,40}Error",
            r"Max retries exceeded with url",
            r"ReadTimeout|Read timed out",
            r"ServerDisconnected|Server disconnected|RemoteDisconnected|Remote end closed connection",
            r"NameResolutionError|Failed to resolve '|getaddrinfo failed",
            r"Name or service not known|Temporary failure in name resolution",
            r"Network is unreachable|No route to host",
            r"(SSL|Proxy|URL|Protocol)Error\b",
            r"\[(Errno (104|110|111|113)|WinError (10053|10054|10060|10061))\]",
        ),
    ),
    FailurePattern.of("timeout", "Timeout", (r"(?<!run)time(d |[ _-])?out", r"deadline exceeded")),
    FailurePattern.of(
        "missing_node",
        "Missing node",
        (
            r"missing the class[_ ]type property",
            r"Cannot execute because node .{1,200} does not exist",
            r"missing_node_type",
            r"node type(s were)? not found",
            r"custom node may not be installed",
        ),
    ),
    FailurePattern.of(
        "missing_module",
        "Missing Python module",
        (r"ModuleNotFoundError|No module named", r"ImportError|cannot import name"),
    ),
    FailurePattern.of(
        "missing_file",
        "Missing file",
        (
            r"FileNotFoundError|NotADirectoryError",
            r"No such file or directory",
            r"\[(Errno 2|WinError [23])\]",
            r"Model in folder .{1,500} not found",
            r"Invalid (image|video|audio|mask) file",
            r"(file|model|checkpoint|lora|vae|image|video|path)\b.{0,200}\b(does not exist|(was |is )?not found)\b",
            r"(Entry|LocalEntry|Repository)NotFoundError",
        ),
    ),
    FailurePattern.of(
        "model_load",
        "Model could not be loaded",
        (
            r"SafetensorError|Error while deserializing",
            r"safetensors file is corrupt",
            r"Could not detect model type",
            r"in loading state_dict",
            r"PytorchStreamReader failed",
            r"UnpicklingError|Weights only load failed|invalid load key",
            r"\b(model|VAE|clip|clip input|unet|controlnet|TE input) is invalid: None",
            r"invalid (clip|vae|unet|checkpoint|lora|model)\b.{0,100}\b(file|model|checkpoint)",
            r"controlnet file is invalid|does not contain a (valid )?(controlnet|vae|clip|unet|text encoder)",
            r"unexpected EOF, expected \d+ more bytes",
            r"(error|failed) (while |to )?load(ing)? (the )?(model|checkpoint|lora|vae|weights)",
        ),
        node_types=(
            r"((Dual|Triple|Quadruple)?CLIP(Vision)?|UNET|VAE|unCLIPCheckpoint|(Image(Only)?)?Checkpoint|Lora|ControlNet"
            r"|DiffControlNet|Diffusers|Diffusion(Model)?|StyleModel|UpscaleModel|GLIGEN|Hypernetwork|PhotoMaker)"
            r"(Loader|Load)\w*"
        ),
    ),
    FailurePattern.of(
        "shape_mismatch",
        "Shape mismatch",
        (
            r"shapes? cannot be multiplied",
            r"The size of tensor a \(\d+\) must match",
            r"Sizes of tensors must match",
            r"size mismatch",
            r"shape .{1,200} is invalid for input of size",
            r"expected .{1,200}\bchannels?,? (but )?got",
            r"Given groups=\d+",
            r"shape mismatch|could not be broadcast|cannot be broadcast|operands could not be",
            r"Kernel size can't be greater than actual input size",
            r"expanded size of the tensor|output with shape .{1,200} doesn't match",
            r"Expected \d-?D .{0,200}(input|tensor)",
            r"einops\.EinopsError",
            r"stack expects each tensor to be equal size",
        ),
    ),
    FailurePattern.of(
        "dtype",
        "Data type or device mismatch",
        (
            r"expected scalar type",
            r"must have the same dtype|to have the same dtype",
            r"Expected all tensors to be on the same device",
            r"(Input type|weight type) \(.{1,100}\) and (weight|bias|input) type",
            r"not implemented for '(\w+)'",
            r"(unsupported|invalid|Got unsupported) (ScalarType|dtype|data ?type)",
            r"Promotion for Float8 Types",
            r"should be the same device|but got .{1,100} is on (cpu|cuda|mps)",
        ),
    ),
    FailurePattern.of(
        "validation",
        "Validation failed",
        (
            r"(Prompt|outputs?|Custom|input) (failed )?validation( failed)?",
            r"Failed to validate prompt",
            r"ValidationError",
            r"Required input is missing|required_input_missing",
            r"Value not in list|value_not_in_list",
            r"Value .{1,100} (smaller than min|bigger than max)",
            r"Return type mismatch between linked nodes",
            r"Failed to convert an input value",
            r"Bad linked input|Exception when validating",
            r"missing \d+ required (positional|keyword-only) arguments?",
        ),
    ),
)
"""In the order in which they are tried. For `unknown` there is nothing to try."""

_UNKNOWN_PATTERN = FailurePattern(UNKNOWN, "Unknown error")
