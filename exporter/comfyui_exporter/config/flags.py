"""The flags of `run`, in one table: for the command line, the environment, the reference, and the words of errors.

Imports nothing heavy, as `--help` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

ENVIRONMENT_PREFIX = "COMFYUI_EXPORTER_"
COMFYUI_URL = "COMFYUI_URL"
"""The variable for the common case, which ComfyUI's own clients know too."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag, with the variable that does the same."""

    name: str
    """As typed, without the dashes before it."""
    metavar: str
    help: str
    default: str = ""
    """What holds without it, in words or as typed."""
    repeatable: bool = False
    """May be given several times; its variable takes several values between commas or spaces."""
    key: str = ""
    """The key of the file that it overrides, if there is one."""
    prefix: str = ENVIRONMENT_PREFIX
    """Of its variable."""

    @property
    def variable(self) -> str:
        """The environment variable that does the same."""
        return self.prefix + self.name.upper().replace(".", "_").replace("-", "_")

    @property
    def parameter(self) -> str:
        """Its name as a Python argument."""
        return self.name.replace(".", "_").replace("-", "_")


FLAGS = (
    Flag("config.file", "FILE", "Configuration file (YAML); see check-config.", "none"),
    Flag(
        "web.listen-address",
        "HOST:PORT",
        "Where to serve metrics. :PORT listens on all interfaces.",
        "127.0.0.1:9188",
        repeatable=True,
    ),
    Flag("web.telemetry-path", "PATH", "Path of the metrics.", "/metrics"),
    Flag("web.external-url", "URL", "Where others reach this exporter, if behind a proxy.", "the request's Host"),
    Flag("web.config.file", "FILE", "TLS and basic auth in the format of the exporter-toolkit.", "none"),
    Flag(
        "web.trusted-networks",
        "CIDR",
        "Networks that, like loopback, may write without credentials.",
        "none",
        repeatable=True,
    ),
    Flag("push.listen-address", "HOST:PORT", "Where to serve the push protocol; empty turns it off.", "127.0.0.1:8329"),
    Flag(
        "comfyui.url",
        "[NAME=]URL",
        f"A ComfyUI server to watch, besides those of the file. Also {COMFYUI_URL}.",
        "http://127.0.0.1:8188 if the file names none",
        repeatable=True,
    ),
    Flag("comfyui.poll-interval", "DURATION", "How often servers are asked for changes.", "2s", key="poll_interval"),
    Flag(
        "store.url",
        "URL",
        "Where jobs and totals outlive a restart: sqlite:///PATH, postgresql://USER@HOST/DATABASE; memory: nowhere.",
        "comfyui-exporter.db in --state.dir",
        key="store.url",
    ),
    Flag(
        "state.dir",
        "FOLDER",
        "Folder for the store, made if it is not there.",
        "$STATE_DIRECTORY, else ~/.local/state/comfyui-exporter",
    ),
    Flag("shard", "i/n", "This replica takes share i, from 0, of n.", "0/1", key="shard"),
    Flag("log.level", "LEVEL", "One of debug, info, warn, error.", "info"),
    Flag("log.format", "FORMAT", "One of logfmt, json.", "logfmt"),
)

BY_NAME = {flag.name: flag for flag in FLAGS}
