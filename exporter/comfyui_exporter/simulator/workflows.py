"""Workflows as users submit them: which nodes, with which inputs, and what the browser sends along."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any

from comfyui_exporter.simulator.nodes import Graph

_CHECKPOINTS = ("sd_xl_base_1.0.safetensors", "juggernautXL_v9.safetensors")
_SUBJECTS = ("a lighthouse at dusk", "a portrait of an old sailor", "a city in the rain", "a bowl of persimmons")
_STYLES = ("oil on canvas", "35mm photograph", "isometric render", "watercolour")


@dataclass(frozen=True, slots=True)
class Workflow:
    """A prompt, and what kind of work its author would call it."""

    kind: str
    graph: Graph


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def _text(rng: Random) -> str:
    return f"{rng.choice(_SUBJECTS)}, {rng.choice(_STYLES)}"


def _sampler(rng: Random, model: list[Any], *, steps: int, positive: str, negative: str, latent: str) -> dict[str, Any]:
    return _node(
        "KSampler",
        seed=rng.getrandbits(60),
        steps=steps,
        cfg=rng.choice((4.0, 6.0, 7.5)),
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=1.0,
        model=model,
        positive=[positive, 0],
        negative=[negative, 0],
        latent_image=[latent, 0],
    )


def image(rng: Random) -> Workflow:
    """Text to image: 20 to 35 steps at one megapixel, one to four images."""
    width, height = rng.choice(((1024, 1024), (832, 1216), (1216, 832)))
    graph = {
        "4": _node("CheckpointLoaderSimple", ckpt_name=rng.choice(_CHECKPOINTS)),
        "5": _node("EmptyLatentImage", width=width, height=height, batch_size=rng.choice((1, 1, 1, 2, 4))),
        "6": _node("CLIPTextEncode", text=_text(rng), clip=["4", 1]),
        "7": _node("CLIPTextEncode", text="blurry, watermark", clip=["4", 1]),
        "3": _sampler(rng, ["4", 0], steps=rng.randint(20, 35), positive="6", negative="7", latent="5"),
        "8": _node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": _node("SaveImage", images=["8", 0], filename_prefix="ComfyUI"),
    }
    return Workflow("image", graph)


def video(rng: Random) -> Workflow:
    """Text to video: 49 or 81 frames of a large model, saved by one of two ways."""
    width, height = rng.choice(((832, 480), (640, 640)))
    length = rng.choice((49, 81))
    graph = {
        "1": _node("UNETLoader", unet_name="wan2.2_t2v_14B_fp8_scaled.safetensors", weight_dtype="default"),
        "2": _node("CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan"),
        "3": _node("VAELoader", vae_name="wan_2.1_vae.safetensors"),
        "4": _node("EmptyHunyuanLatentVideo", width=width, height=height, length=length, batch_size=1),
        "5": _node("CLIPTextEncode", text=f"{_text(rng)}, slow camera move", clip=["2", 0]),
        "6": _node("CLIPTextEncode", text="static, low quality", clip=["2", 0]),
        "7": _sampler(rng, ["1", 0], steps=rng.randint(18, 30), positive="5", negative="6", latent="4"),
        "8": _node("VAEDecode", samples=["7", 0], vae=["3", 0]),
    }
    if rng.random() < 0.5:
        graph["9"] = _node("CreateVideo", images=["8", 0], fps=16.0)
        graph["10"] = _node("SaveVideo", video=["9", 0], filename_prefix="video/ComfyUI", format="auto", codec="auto")
    else:
        graph["9"] = _node(
            "VHS_VideoCombine",
            images=["8", 0],
            frame_rate=16.0,
            filename_prefix="AnimateDiff",
            format="video/h264-mp4",
        )
    return Workflow("video", graph)


def audio(rng: Random) -> Workflow:
    """Text to audio: half a minute of sound."""
    graph = {
        "4": _node("CheckpointLoaderSimple", ckpt_name="stable_audio_open_1.0.safetensors"),
        "5": _node("EmptyLatentAudio", seconds=rng.choice((20.0, 30.0, 47.6)), batch_size=1),
        "6": _node("CLIPTextEncode", text="rain on a tin roof, distant thunder", clip=["4", 1]),
        "7": _node("CLIPTextEncode", text="", clip=["4", 1]),
        "3": _sampler(rng, ["4", 0], steps=rng.randint(40, 60), positive="6", negative="7", latent="5"),
        "8": _node("VAEDecodeAudio", samples=["3", 0], vae=["4", 2]),
        "9": _node("SaveAudio", audio=["8", 0], filename_prefix="audio/ComfyUI"),
    }
    return Workflow("audio", graph)


def upscale(rng: Random) -> Workflow:
    """An image through an upscale model, with a preview of it."""
    graph = {
        "1": _node("LoadImage", image=f"upload_{rng.randint(1, 40)}.png"),
        "2": _node("UpscaleModelLoader", model_name="4x-UltraSharp.pth"),
        "3": _node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": _node("SaveImage", images=["3", 0], filename_prefix=f"upscaled_{rng.randint(1, 99)}"),
        "5": _node("PreviewImage", images=["3", 0]),
    }
    return Workflow("upscale", graph)


def mesh(rng: Random) -> Workflow:
    """An image to a 3D mesh."""
    graph = {
        "1": _node("CheckpointLoaderSimple", ckpt_name="hunyuan3d-dit-v2.safetensors"),
        "2": _node("EmptyLatentHunyuan3Dv2", resolution=3072, batch_size=1),
        "3": _node("CLIPTextEncode", text=_text(rng), clip=["1", 1]),
        "4": _node("CLIPTextEncode", text="", clip=["1", 1]),
        "5": _sampler(rng, ["1", 0], steps=rng.randint(20, 40), positive="3", negative="4", latent="2"),
        "6": _node("VAEDecodeHunyuan3D", samples=["5", 0], vae=["1", 2], num_chunks=8000, octree_resolution=256),
        "7": _node("VoxelToMesh", voxel=["6", 0], threshold=0.6),
        "8": _node("SaveGLB", mesh=["7", 0], filename_prefix="mesh/ComfyUI"),
    }
    return Workflow("mesh", graph)


KINDS: MappingProxyType[str, Callable[[Random], Workflow]] = MappingProxyType(
    {"image": image, "video": video, "audio": audio, "upscale": upscale, "mesh": mesh}
)
"""Makers of workflows by kind; the kind is also the job_type that a tagged submission carries."""

MIX = MappingProxyType({"image": 0.6, "video": 0.17, "audio": 0.08, "upscale": 0.11, "mesh": 0.04})
"""Shares of the kinds in the traffic."""


def any_workflow(rng: Random) -> Workflow:
    """One of the mix."""
    return KINDS[rng.choices(list(MIX), list(MIX.values()))[0]](rng)


class BrowserData:
    """The `extra_pnginfo.workflow` that the browser sends with every prompt, which is most of what /queue weighs.

    Args:
        graph_bytes: How many bytes of JSON a submission is to have in all; 0 sends no workflow along. Workflows from
            the field have 30 kB and more.
    """

    def __init__(self, graph_bytes: int, rng: Random) -> None:
        self._graph_bytes = graph_bytes
        self._rng = rng
        self._by_kind: dict[str, dict[str, Any]] = {}

    def of(self, workflow: Workflow) -> dict[str, Any]:
        """Extra_data of a submission from the browser; submissions of one kind share it."""
        if not self._graph_bytes:
            return {}
        if workflow.kind not in self._by_kind:
            self._by_kind[workflow.kind] = self._workflow(workflow)
        return {"extra_pnginfo": {"workflow": self._by_kind[workflow.kind]}}

    def _workflow(self, workflow: Workflow) -> dict[str, Any]:
        padding = self._graph_bytes - len(json.dumps(workflow.graph)) - 1500
        nodes = [
            {
                "id": index,
                "type": node["class_type"],
                "pos": [index * 320, 160],
                "size": [300, 120],
                "flags": {},
                "order": index,
                "mode": 0,
                "properties": {"Node name for S&R": node["class_type"]},
                "widgets_values": [value for value in node["inputs"].values() if not isinstance(value, list)],
            }
            for index, node in enumerate(workflow.graph.values())
        ]
        return {
            "id": str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            "revision": 0,
            "nodes": nodes,
            "links": [],
            "version": 0.4,
            "extra": {"notes": "x" * max(0, padding - len(json.dumps(nodes)))},
        }
