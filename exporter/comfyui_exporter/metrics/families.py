"""Every metric family of the exporter, declared once, in the order in which a scrape shows them."""

from __future__ import annotations

from comfyui_exporter.metrics.family import Family, Kind

FROM_OUTSIDE = frozenset({"job_type", "node_type", "exception_type"})
"""Labels whose values workflows and submitters choose; all others are enumerations of ours or of the configuration."""

_DEVICE = ("device", "device_type")
_JOB = ("prompt_id", "job_id", "job_type")
_GPU = ("gpu", "uuid", "name")


def _gauge(name: str, meaning: str, source: str, labels: tuple[str, ...] = ()) -> Family:
    return Family(name, Kind.GAUGE, meaning, source, labels)


def _own(name: str, kind: Kind, meaning: str, source: str, labels: tuple[str, ...] = ()) -> Family:
    return Family(name, kind, meaning, source, labels, per_server=False)


def _bounded(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label for label in labels if label in FROM_OUTSIDE)


def _counter(
    name: str,
    meaning: str,
    source: str,
    labels: tuple[str, ...] = (),
    *,
    lasting: bool = False,
    exemplar: bool = False,
    job_labels: bool = False,
) -> Family:
    return Family(
        name,
        Kind.COUNTER,
        meaning,
        source,
        labels,
        lasting=lasting,
        exemplar=exemplar,
        bounded=_bounded(labels),
        job_labels=job_labels,
    )


def _histogram(
    name: str,
    meaning: str,
    source: str,
    labels: tuple[str, ...],
    buckets: str,
    *,
    lasting: bool = False,
    exemplar: bool = False,
    job_labels: bool = False,
) -> Family:
    return Family(
        name,
        Kind.HISTOGRAM,
        meaning,
        source,
        labels,
        lasting=lasting,
        buckets=buckets,
        exemplar=exemplar,
        bounded=_bounded(labels),
        job_labels=job_labels,
    )


# The server.
UP = _gauge(
    "comfyui_up", "Whether ComfyUI answers; 0 after three tries in a row without an answer.", "answers to our requests"
)
_VERSIONS = ("version", "python_version", "pytorch_version", "os")
INFO = Family(
    "comfyui_info",
    Kind.GAUGE,
    "Versions that ComfyUI reports, always 1.",
    "GET /system_stats",
    _VERSIONS,
    bounded=_VERSIONS,
)
QUEUE_JOBS = _gauge("comfyui_queue_jobs", "Jobs in the queue of ComfyUI.", "GET /queue, GET /prompt", ("state",))
QUEUE_OLDEST_PENDING = _gauge(
    "comfyui_queue_oldest_pending_timestamp_seconds",
    "When the job that has been pending longest was submitted or first seen; absent when nothing is pending.",
    "GET /queue",
)
QUEUE_DRAIN = _gauge(
    "comfyui_queue_drain_seconds",
    "Estimated time until the queue is empty; absent without an estimate.",
    "estimates from finished jobs",
)
LAST_ACTIVITY = _gauge(
    "comfyui_last_activity_timestamp_seconds",
    "Last sign of work: an event of a job, its start or its end.",
    "events, GET /queue, GET /history",
)
BUSY = _counter("comfyui_busy_seconds_total", "Time with a job running.", "GET /queue, GET /history")
RESTARTS = _counter("comfyui_restarts_total", "Detected restarts of ComfyUI.", "lost connections", lasting=True)
RAM_TOTAL = _gauge("comfyui_ram_total_bytes", "Memory of the host of ComfyUI.", "GET /system_stats")
RAM_FREE = _gauge("comfyui_ram_free_bytes", "Free memory of the host of ComfyUI.", "GET /system_stats")
VRAM_TOTAL = _gauge("comfyui_vram_total_bytes", "Memory of the device.", "GET /system_stats", _DEVICE)
VRAM_FREE = _gauge(
    "comfyui_vram_free_bytes",
    "Free memory of the device, including what PyTorch has reserved and does not use.",
    "GET /system_stats",
    _DEVICE,
)
TORCH_VRAM_TOTAL = _gauge(
    "comfyui_torch_vram_total_bytes", "Memory of the device reserved by PyTorch.", "GET /system_stats", _DEVICE
)
TORCH_VRAM_FREE = _gauge(
    "comfyui_torch_vram_free_bytes",
    "Memory of the device reserved by PyTorch and not in use.",
    "GET /system_stats",
    _DEVICE,
)

# Jobs.
JOBS_SUBMITTED = _counter("comfyui_jobs_submitted_total", "Jobs submitted.", "GET /queue", ("job_type",), lasting=True)
JOBS = _counter(
    "comfyui_jobs_total",
    "Finished jobs by how they ended.",
    "GET /history, GET /queue",
    ("job_type", "status"),
    lasting=True,
    job_labels=True,
)
JOB_TIMEOUTS = _counter(
    "comfyui_job_timeouts_total",
    "Jobs that ran for longer than job_timeout; they may still end.",
    "GET /queue",
    ("job_type",),
    lasting=True,
)
JOB_DURATION = _histogram(
    "comfyui_job_duration_seconds",
    "Time from the start of a job's execution to its end.",
    "timestamps in GET /history",
    ("job_type", "status"),
    "job_duration",
    lasting=True,
    exemplar=True,
    job_labels=True,
)
JOB_QUEUE = _histogram(
    "comfyui_job_queue_seconds",
    "Time from the submission of a job to the start of its execution.",
    "timestamps in GET /history, else sightings in GET /queue",
    ("job_type",),
    "job_queue",
    lasting=True,
)
JOB_FAILURES = _counter(
    "comfyui_job_failures_total",
    "Failed jobs by failure pattern.",
    "GET /history",
    ("job_type", "pattern"),
    lasting=True,
    exemplar=True,
)
JOB_FAILURE_DETAILS = _counter(
    "comfyui_job_failure_details_total",
    "Failed jobs by failure pattern, class of the failed node and exception.",
    "GET /history",
    ("pattern", "node_type", "exception_type"),
    lasting=True,
)
JOB_FAILED = _gauge(
    "comfyui_job_failed_timestamp_seconds",
    "When the job failed; the newest failures of the last hour.",
    "GET /history",
    (*_JOB, "pattern", "node_type"),
)
JOB_OUTPUTS = _counter(
    "comfyui_job_outputs_total",
    "Files and texts that jobs produced, without temporary ones and those of cached nodes.",
    "GET /history",
    ("job_type", "media"),
    lasting=True,
)
JOB_NODES = _counter(
    "comfyui_job_nodes_total",
    "Nodes that jobs needed, by whether they were executed or came from the cache.",
    "GET /history",
    ("job_type", "result"),
    lasting=True,
)
JOB_PROGRESS = _gauge(
    "comfyui_job_progress_ratio", "Progress of a job in the queue, from 0 to 1.", "events, GET /queue", _JOB
)
JOB_CURRENT_STEP = _gauge("comfyui_job_current_step", "Step that the job is at.", "events", _JOB)
JOB_TOTAL_STEPS = _gauge("comfyui_job_total_steps", "Steps that the job has.", "events", _JOB)
JOB_START = _gauge("comfyui_job_start_timestamp_seconds", "When the job began to run.", "GET /queue", _JOB)
JOB_ESTIMATED_END = _gauge(
    "comfyui_job_estimated_end_timestamp_seconds",
    "When the job will be done, by our estimate, which includes the wait for those ahead.",
    "estimates from finished jobs",
    _JOB,
)
JOB_STALLED = _gauge(
    "comfyui_job_stalled",
    "Whether the running job has shown no sign of progress for long.",
    "GET /queue, GET /history",
    _JOB,
)
NODE_DURATION = _histogram(
    "comfyui_node_duration_seconds", "Time that a node took.", "events", ("node_type",), "node_duration"
)
STEP_DURATION = _histogram(
    "comfyui_step_duration_seconds", "Time that one step of a sampler took.", "events", ("node_type",), "step_duration"
)
JOB_ESTIMATE_RATIO = _histogram(
    "comfyui_job_estimate_ratio",
    "Actual duration of a completed job divided by the one predicted at its start.",
    "estimates from finished jobs",
    ("job_type",),
    "estimate",
    lasting=True,
)
BATCHES_SHOWN = 20
"""Batches per server: those who run more at once look at the API, and an id per job must not fill Prometheus."""
BATCH_JOBS = _gauge(
    "comfyui_batch_jobs",
    f"Jobs of a batch on this server; the newest {BATCHES_SHOWN} batches with a job that has not ended.",
    "batch_id of submitted and registered jobs",
    ("batch_id", "status"),
)

# The exporter.
BUILD_INFO = _own(
    "comfyui_exporter_build_info",
    Kind.GAUGE,
    "Versions of the exporter and its Python, always 1.",
    "exporter",
    ("version", "python_version"),
)
SERVERS = _own("comfyui_exporter_servers", Kind.GAUGE, "Servers watched.", "exporter")
LABEL_OVERFLOW = _counter(
    "comfyui_exporter_label_overflow_total",
    "Updates whose value of the label was folded into other, because there were too many.",
    "exporter",
    ("label",),
)
REQUESTS = _counter("comfyui_exporter_requests_total", "Requests to ComfyUI.", "exporter", ("route", "result"))
REQUEST_DURATION = _histogram(
    "comfyui_exporter_request_duration_seconds",
    "Time that a request to ComfyUI took.",
    "exporter",
    ("route",),
    "request_duration",
)
RECEIVED_BYTES = _counter(
    "comfyui_exporter_received_bytes_total", "Bytes of answers received from ComfyUI.", "exporter", ("route",)
)
LAST_SUCCESS = _gauge(
    "comfyui_exporter_last_success_timestamp_seconds", "When ComfyUI last answered a request.", "exporter"
)
EVENT_STREAM_CONNECTED = _gauge(
    "comfyui_exporter_event_stream_connected", "Whether the WebSocket to ComfyUI is open.", "exporter"
)
EVENTS = _counter("comfyui_exporter_events_total", "Events received from ComfyUI.", "events", ("type",))
PUSH_CLIENTS = _own("comfyui_exporter_push_clients", Kind.GAUGE, "Connected clients of the push service.", "exporter")
PUSH_MESSAGES = _own("comfyui_exporter_push_messages_total", Kind.COUNTER, "Messages sent to push clients.", "exporter")
PUSH_DROPPED = _own(
    "comfyui_exporter_push_dropped_total",
    Kind.COUNTER,
    "Messages that newer ones replaced before a push client took them, or that were lost with it.",
    "exporter",
)
RELAY_UPSTREAM_CONNECTED = _own(
    "comfyui_exporter_relay_upstream_connected",
    Kind.GAUGE,
    "Whether the socket of a relay to its upstream is open; relays only.",
    "relay",
)
RELAY_UPSTREAM_RECONNECTS = _own(
    "comfyui_exporter_relay_upstream_reconnects_total",
    Kind.COUNTER,
    "Times that a relay's socket to its upstream was opened again; relays only.",
    "relay",
)
WEBHOOKS = _own(
    "comfyui_exporter_webhooks_total",
    Kind.COUNTER,
    "Webhook calls: delivered, failed (will be tried again), dead (given up), refused (not allowed).",
    "exporter",
    ("result",),
)
STORE_ERRORS = _own("comfyui_exporter_store_errors_total", Kind.COUNTER, "Failed writes to the store.", "exporter")
STORE_BUFFERED_JOBS = _own(
    "comfyui_exporter_store_buffered_jobs", Kind.GAUGE, "Job rows that wait for the store.", "exporter"
)
STORE_DEGRADED = _own(
    "comfyui_exporter_store_degraded",
    Kind.GAUGE,
    "Whether the store is away; job counters then stand still.",
    "exporter",
)
SINK_ERRORS = _own(
    "comfyui_exporter_sink_errors_total",
    Kind.COUNTER,
    "Errors in callbacks, databases and other receivers of job changes.",
    "exporter",
    ("sink",),
)
CONFIG_RELOAD_SUCCESSFUL = _own(
    "comfyui_exporter_config_last_reload_successful",
    Kind.GAUGE,
    "Whether the last load of the configuration succeeded, and all server files can be used.",
    "exporter",
)
CONFIG_RELOAD_SUCCESS_TIME = _own(
    "comfyui_exporter_config_last_reload_success_timestamp_seconds",
    Kind.GAUGE,
    "When the configuration was last loaded with success.",
    "exporter",
)

# The GPUs of the exporter's own host, with the extra `gpu`.
_NVML = "NVML, with the extra gpu"
GPU_UTILIZATION = _own(
    "comfyui_gpu_utilization_ratio", Kind.GAUGE, "Share of time that the GPU was busy, from 0 to 1.", _NVML, _GPU
)
GPU_MEMORY_USED = _own("comfyui_gpu_memory_used_bytes", Kind.GAUGE, "Memory of the GPU in use.", _NVML, _GPU)
GPU_TEMPERATURE = _own("comfyui_gpu_temperature_celsius", Kind.GAUGE, "Temperature of the GPU.", _NVML, _GPU)
GPU_POWER = _own("comfyui_gpu_power_watts", Kind.GAUGE, "Power that the GPU draws.", _NVML, _GPU)

ALL: tuple[Family, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All families in the order of their declaration, which is the order of a scrape."""
