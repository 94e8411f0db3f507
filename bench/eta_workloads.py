"""What users submit while bench/eta.py records: several workflows whose cost depends on their inputs.

Users work in sessions: some variations of one workflow with the same settings and another seed, now and then the very
same thing again, then another workflow or other settings. So what is cached or loaded depends on what ran before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from comfyui_exporter.simulator.workflows import audio, image, mesh, upscale, video

Graph = dict[str, dict[str, Any]]
Maker = Callable[[Random], Graph]

_SAME_AGAIN = 0.06
_VARIATION = 0.55
"""Shares of submissions that repeat the last one of their workflow, or change nothing but its seed."""

_SEEDS = ("seed", "color")


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


# For a real ComfyUI on a CPU: its own image nodes do real work, the probe nodes of bench/comfyui_nodes wait.


def _poster(rng: Random) -> Graph:
    side = rng.choice((768, 1024, 1536, 2048))
    return {
        "1": _node("EmptyImage", width=side, height=side, batch_size=rng.choice((1, 1, 2, 4)), color=0),
        "2": _node("ImageBlur", image=["1", 0], blur_radius=rng.choice((3, 7, 11)), sigma=2.0),
        "3": _node("ImageSharpen", image=["2", 0], sharpen_radius=3, sigma=1.0, alpha=1.0),
        "4": _node("SaveImage", images=["3", 0], filename_prefix="eta/poster"),
    }


def _clip(rng: Random) -> Graph:
    width, height = rng.choice(((480, 320), (640, 360), (854, 480)))
    return {
        "1": _node("EmptyImage", width=width, height=height, batch_size=rng.choice((8, 16, 24, 48)), color=0),
        "2": _node("ImageScaleBy", image=["1", 0], upscale_method="lanczos", scale_by=rng.choice((1.5, 2.0))),
        "3": _node(
            "SaveAnimatedWEBP",
            images=["2", 0],
            filename_prefix="eta/clip",
            fps=12.0,
            lossless=False,
            quality=80,
            method="default",
        ),
    }


def _dither(rng: Random) -> Graph:
    side = rng.choice((512, 1024, 1536))
    return {
        "1": _node("EmptyImage", width=side, height=side, batch_size=rng.choice((1, 2, 3)), color=0),
        "2": _node("ImageQuantize", image=["1", 0], colors=rng.choice((16, 64)), dither="floyd-steinberg"),
        "3": _node("SaveImage", images=["2", 0], filename_prefix="eta/dither"),
    }


def _render(rng: Random) -> Graph:
    side = rng.choice((512, 1024, 2048))
    return {
        "1": _node("ProbeQuiet", ms=rng.choice((600, 1200)), seed=rng.choice((1, 2))),
        "2": _node("ProbeSteps", steps=rng.randint(10, 40), step_ms=rng.choice((25, 50)), seed=0, busy=False),
        "3": _node("ImageBlend", image1=["1", 0], image2=["2", 0], blend_factor=0.5, blend_mode="normal"),
        "4": _node("ImageScale", image=["3", 0], upscale_method="bicubic", width=side, height=side, crop="disabled"),
        "5": _node("SaveImage", images=["4", 0], filename_prefix="eta/render"),
    }


def _steps_elsewhere(rng: Random) -> Graph:
    """The number of steps comes from a node of its own, as in many workflows of the field."""
    return {
        "1": _node("PrimitiveInt", value=rng.randint(10, 40)),
        "2": _node("ProbeSteps", steps=["1", 0], step_ms=60, seed=0, busy=False),
        "3": _node("SaveImage", images=["2", 0], filename_prefix="eta/sketch"),
    }


def _collage(rng: Random) -> Graph:
    width = rng.choice((768, 1024))
    return {
        "1": _node("EmptyImage", width=width, height=768, batch_size=rng.choice((2, 4)), color=0),
        "2": _node("EmptyImage", width=width, height=768, batch_size=1, color=77),
        "3": _node("ImageBlend", image1=["1", 0], image2=["2", 0], blend_factor=0.5, blend_mode="overlay"),
        "4": _node("ImageScaleBy", image=["3", 0], upscale_method="bicubic", scale_by=rng.choice((1.5, 2.0))),
        "5": _node("SaveImage", images=["4", 0], filename_prefix="eta/collage"),
    }


REAL: dict[str, tuple[float, Maker]] = {
    "poster": (0.3, _poster),
    "clip": (0.2, _clip),
    "dither": (0.15, _dither),
    "render": (0.2, _render),
    "sketch": (0.15, _steps_elsewhere),
}
"""Job types with their share of the traffic."""

REAL_LATER: dict[str, tuple[float, Maker]] = {" poster": (0.2, _collage)}
"""What users begin to submit only later; blanks around a name tell workflows of one job type apart."""


# For the simulator: the workflows of its traffic, and some that people make of them.


def _refined(rng: Random) -> Graph:
    graph = image(rng).graph
    graph["10"] = {
        "class_type": "KSampler",
        "inputs": {**graph["3"]["inputs"], "steps": rng.choice((8, 12)), "denoise": 0.5, "latent_image": ["3", 0]},
    }
    graph["8"]["inputs"]["samples"] = ["10", 0]
    return graph


def _with_lora(rng: Random) -> Graph:
    graph = image(rng).graph
    graph["12"] = _node(
        "LoraLoader",
        model=["4", 0],
        clip=["4", 1],
        lora_name=f"style_{rng.randint(1, 3)}.safetensors",
        strength_model=1.0,
        strength_clip=1.0,
    )
    graph["3"]["inputs"]["model"] = ["12", 0]
    return graph


SIMULATED: dict[str, tuple[float, Maker]] = {
    "image": (0.42, lambda rng: image(rng).graph),
    "video": (0.18, lambda rng: video(rng).graph),
    "audio": (0.08, lambda rng: audio(rng).graph),
    "upscale": (0.12, lambda rng: upscale(rng).graph),
    "mesh": (0.05, lambda rng: mesh(rng).graph),
    "image ": (0.15, _with_lora),
}

SIMULATED_LATER: dict[str, tuple[float, Maker]] = {" image": (0.3, _refined)}


def submissions(
    kinds: dict[str, tuple[float, Maker]], later: dict[str, tuple[float, Maker]], new: int, rng: Random
) -> Iterator[tuple[str, Graph]]:
    """Give job types and graphs without end; from number `new` on those of `later` too."""
    latest: dict[str, Graph] = {}
    kind = ""
    for number in itertools.count():
        if number == new:
            kinds = kinds | later
        if not kind or rng.random() < 0.4:
            kind = rng.choices(list(kinds), [share for share, _ in kinds.values()])[0]
        drawn = rng.random()
        if kind not in latest or drawn >= _SAME_AGAIN + _VARIATION:
            latest[kind] = kinds[kind][1](rng)
        graph = latest[kind]
        if drawn >= _SAME_AGAIN:
            graph = latest[kind] = _with_new_seeds(graph, rng)
        yield kind.strip(), graph


def _with_new_seeds(graph: Graph, rng: Random) -> Graph:
    return {
        node_id: {
            **node,
            "inputs": {
                name: rng.randrange(1 << 24)
                if name in _SEEDS and not isinstance(value, list) and node["class_type"] != "ProbeQuiet"
                else value
                for name, value in node["inputs"].items()
            },
        }
        for node_id, node in graph.items()
    }
