"""What the simulated versions of ComfyUI do differently."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Profile:
    """The differences between versions that an observer can notice over HTTP and WebSocket."""

    version: str
    """What /system_stats calls `comfyui_version`."""
    os: str = "posix"
    jobs_api: bool = False
    """GET /api/jobs and GET /api/jobs/{id} exist; before, they are 404 with an empty body."""
    create_time: bool = False
    """Submissions get `extra_data.create_time` (ms of ComfyUI's clock), and credentials never show in /queue."""
    cancelled_status: bool = False
    """/api/jobs calls an interrupted job `cancelled`; before, `failed`."""
    queued_workflow: bool = False
    """GET /api/jobs/{id} has `workflow` for pending and running jobs too."""
    cancel_api: bool = False
    """POST /api/jobs/{id}/cancel and POST /api/jobs/cancel exist."""
    canonical_prompt_ids: bool = False
    """A prompt_id of the client must be a canonical lowercase UUID; before, `str()` of anything is taken."""
    activity: bool = False
    """The nodes of progress_state have `activity`: `loading` while a model loads, else null."""


_V0_3_64 = Profile(version="0.3.64")
_V0_8_0 = replace(_V0_3_64, version="0.8.0", os="linux", jobs_api=True, create_time=True)
_V0_38 = replace(
    _V0_8_0,
    version="0.38.0",
    cancelled_status=True,
    queued_workflow=True,
    cancel_api=True,
    canonical_prompt_ids=True,
    activity=True,
)

PROFILES = MappingProxyType({"0.3.64": _V0_3_64, "0.8.0": _V0_8_0, "0.38": _V0_38})
"""By the name that `--profile` takes, oldest first."""


def profile_named(name: str) -> Profile:
    """The profile of that name; ValueError, naming the known ones, for any other."""
    try:
        return PROFILES[name]
    except KeyError:
        msg = f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}"
        raise ValueError(msg) from None
