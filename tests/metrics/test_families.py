"""The names are a contract: rules, dashboards and other people's queries rely on them."""

from __future__ import annotations

import re

import pytest

from comfyui_exporter.metrics.buckets import DEFAULTS
from comfyui_exporter.metrics.families import ALL
from comfyui_exporter.metrics.family import Family, Kind

# name, type, labels besides server; "-" in front of a family without server.
CONTRACT = """
comfyui_up gauge
comfyui_info gauge version python_version pytorch_version os
comfyui_queue_jobs gauge state
comfyui_queue_oldest_pending_timestamp_seconds gauge
comfyui_queue_drain_seconds gauge
comfyui_last_activity_timestamp_seconds gauge
comfyui_busy_seconds_total counter
comfyui_restarts_total counter
comfyui_ram_total_bytes gauge
comfyui_ram_free_bytes gauge
comfyui_vram_total_bytes gauge device device_type
comfyui_vram_free_bytes gauge device device_type
comfyui_torch_vram_total_bytes gauge device device_type
comfyui_torch_vram_free_bytes gauge device device_type
comfyui_jobs_submitted_total counter job_type
comfyui_jobs_total counter job_type status
comfyui_job_timeouts_total counter job_type
comfyui_job_duration_seconds histogram job_type status
comfyui_job_queue_seconds histogram job_type
comfyui_job_failures_total counter job_type pattern
comfyui_job_failure_details_total counter pattern node_type exception_type
comfyui_job_failed_timestamp_seconds gauge prompt_id job_id job_type pattern node_type
comfyui_job_outputs_total counter job_type media
comfyui_job_nodes_total counter job_type result
comfyui_job_progress_ratio gauge prompt_id job_id job_type
comfyui_job_current_step gauge prompt_id job_id job_type
comfyui_job_total_steps gauge prompt_id job_id job_type
comfyui_job_start_timestamp_seconds gauge prompt_id job_id job_type
comfyui_job_estimated_end_timestamp_seconds gauge prompt_id job_id job_type
comfyui_job_stalled gauge prompt_id job_id job_type
comfyui_node_duration_seconds histogram node_type
comfyui_step_duration_seconds histogram node_type
comfyui_job_estimate_ratio histogram job_type
comfyui_batch_jobs gauge batch_id status
-comfyui_exporter_build_info gauge version python_version
-comfyui_exporter_servers gauge
comfyui_exporter_label_overflow_total counter label
comfyui_exporter_requests_total counter route result
comfyui_exporter_request_duration_seconds histogram route
comfyui_exporter_received_bytes_total counter route
comfyui_exporter_last_success_timestamp_seconds gauge
comfyui_exporter_event_stream_connected gauge
comfyui_exporter_events_total counter type
-comfyui_exporter_push_clients gauge
-comfyui_exporter_push_messages_total counter
-comfyui_exporter_push_dropped_total counter
-comfyui_exporter_relay_upstream_connected gauge
-comfyui_exporter_relay_upstream_reconnects_total counter
-comfyui_exporter_webhooks_total counter result
-comfyui_exporter_store_errors_total counter
-comfyui_exporter_store_buffered_jobs gauge
-comfyui_exporter_store_degraded gauge
-comfyui_exporter_sink_errors_total counter sink
-comfyui_exporter_config_last_reload_successful gauge
-comfyui_exporter_config_last_reload_success_timestamp_seconds gauge
-comfyui_gpu_utilization_ratio gauge gpu uuid name
-comfyui_gpu_memory_used_bytes gauge gpu uuid name
-comfyui_gpu_temperature_celsius gauge gpu uuid name
-comfyui_gpu_power_watts gauge gpu uuid name
"""


def contract_line(family: Family) -> str:
    return " ".join((f"{'' if family.per_server else '-'}{family.name}", family.kind, *family.labels))


def test_names_types_and_labels_are_those_of_the_contract_in_its_order():
    assert [contract_line(family) for family in ALL] == CONTRACT.strip().splitlines()


def test_job_counters_and_histograms_and_restarts_last_and_nothing_else_does():
    lasting = re.compile("comfyui_jobs?_.*|comfyui_restarts_total")
    for family in ALL:
        assert family.lasting is (family.kind is not Kind.GAUGE and lasting.fullmatch(family.name) is not None)


def test_exemplars_are_on_durations_and_failures():
    assert [family.name for family in ALL if family.exemplar] == [
        "comfyui_job_duration_seconds",
        "comfyui_job_failures_total",
    ]


def test_job_labels_are_on_finished_jobs_and_their_durations():
    assert [family.name for family in ALL if family.job_labels] == [
        "comfyui_jobs_total",
        "comfyui_job_duration_seconds",
    ]


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_a_declaration_is_complete(family):
    assert family.help.endswith(".")
    assert "\n" not in family.help
    assert family.source
    assert family.name.endswith("_total") is (family.kind is Kind.COUNTER)
    assert (family.buckets in DEFAULTS) is (family.kind is Kind.HISTOGRAM)
    assert set(family.bounded) <= set(family.labels)


def test_free_labels_of_counters_histograms_and_info_are_bounded():
    free = {"job_type", "node_type", "exception_type"}
    for family in ALL:
        if family.kind is not Kind.GAUGE:
            assert set(family.bounded) == free & set(family.labels)
        elif family.name == "comfyui_info":
            assert family.bounded == family.labels
        else:
            assert family.bounded == ()
