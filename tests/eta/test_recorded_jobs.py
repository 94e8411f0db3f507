"""Estimates of jobs that a real ComfyUI ran: poster, clip, dither, render and sketch, with changing settings."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import msgspec

from comfyui_exporter.eta.predictor import LearningPredictor
from comfyui_exporter.tracker.estimate import Estimate
from comfyui_exporter.tracker.observations import Features
from eta.making import ended, run

RECORDED = Path(__file__).parents[2] / "bench" / "results" / "eta_jobs.jsonl"


def replayed() -> list[tuple[float, Estimate, float]]:
    """Give (actual seconds, estimate, median of its job type) of each job but the first ones."""
    predictor = LearningPredictor()
    by_type: dict[str, list[float]] = {}
    told = []
    for line in RECORDED.read_text().splitlines():
        job = json.loads(line)
        took = (job["ended_ms"] - job["started_ms"]) / 1000
        of = msgspec.convert(job["features"], Features)
        estimate = predictor.predict(run(of, job_type=job["job_type"]))
        before = by_type.setdefault(job["job_type"], [])
        if len(before) >= 5 and job["nodes_executed"] and estimate is not None:
            told.append((took, estimate, statistics.median(before)))
        predictor.learn(
            ended(took, of, job_type=job["job_type"], executed=job["nodes_executed"], cached=job["nodes_cached"])
        )
        before.append(took)
    return told


def test_the_error_is_less_than_half_of_that_of_the_median_of_the_job_type() -> None:
    told = replayed()
    assert len(told) > 200
    ours = statistics.median(abs(took - estimate.median) for took, estimate, _ in told)
    naive = statistics.median(abs(took - usual) for took, _, usual in told)
    assert ours < naive / 2


def test_estimates_are_neither_too_short_nor_too_long() -> None:
    assert 0.95 < statistics.median(took / estimate.median for took, estimate, _ in replayed()) < 1.05


def test_about_eight_of_ten_jobs_end_within_the_band() -> None:
    told = replayed()
    within = sum(estimate.low <= took <= estimate.high for took, estimate, _ in told)
    assert 0.7 < within / len(told) < 0.9
