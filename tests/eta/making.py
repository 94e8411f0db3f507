"""Runs to learn from and to predict."""

from __future__ import annotations

from comfyui_exporter.eta.predictor import LearningPredictor
from comfyui_exporter.tracker.observations import Details, Features, HistoryEntry, Outcome
from comfyui_exporter.tracker.runs import Run, State

_names = iter(range(1_000_000_000))


def features(
    settings: str = "s",
    *,
    shape: str = "shape",
    model: str = "",
    steps: float = 20,
    pixels: float = 0,
    frames: float = 0,
    batch: float = 0,
    content: str | None = None,
    costly: str | None = None,
) -> Features:
    """Features of a job like no other in its seed, unless `content` or `costly` say otherwise."""
    unlike = f"{next(_names)}"
    return Features(
        fingerprint=f"{shape} {settings} {model} {steps} {pixels} {frames} {batch}",
        shape=shape,
        content=unlike if content is None else content,
        costly=unlike if costly is None else costly,
        model=model,
        steps=steps,
        pixels=pixels,
        frames=frames,
        batch=batch,
    )


def run(
    of: Features | None = None,
    *,
    job_type: str = "portrait",
    state: State = State.QUEUED,
    epoch: int = 0,
    run_id: str | None = None,
) -> Run:
    """A run without an end."""
    name = f"run{next(_names)}" if run_id is None else run_id
    return Run(name, name, 0, state, Details(job_type=job_type, features=of), epoch, 0.0)


def ended(
    took: float | None,
    of: Features | None = None,
    *,
    job_type: str = "portrait",
    state: State = State.COMPLETED,
    epoch: int = 0,
    executed: int = 3,
    cached: int = 0,
    run_id: str | None = None,
) -> Run:
    """A run that took so many seconds by ComfyUI's clock."""
    entry = None
    if took is not None:
        entry = HistoryEntry(
            "a",
            0,
            Outcome.COMPLETED,
            started_ms=5_000,
            ended_ms=5_000 + round(took * 1000),
            nodes_executed=executed,
            nodes_cached=cached,
        )
    name = f"run{next(_names)}" if run_id is None else run_id
    return Run(name, name, 0, state, Details(job_type=job_type, features=of), epoch, 0.0, entry=entry)


def learned(*runs: Run) -> LearningPredictor:
    """A predictor that was told of these ends."""
    predictor = LearningPredictor()
    for one in runs:
        predictor.learn(one)
    return predictor


def median(predictor: LearningPredictor, of: Run, after: Run | None = None) -> float | None:
    """The estimate's median alone."""
    estimate = predictor.predict(of, after)
    return None if estimate is None else estimate.median
