"""The node classes of the simulated ComfyUI: those of its usual workflows, with the time that they take on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from comfyui_exporter.simulator.nodes import Input, NodeClass, Task, UiOutput, Work
from comfyui_exporter.simulator.probe_classes import PROBE_CLASSES

_MEGAPIXEL = 1024 * 1024

_SAMPLING_MS = 180
"""One step on one megapixel of one frame."""

_DECODING_MS = 350
"""VAE decoding of one megapixel of one frame."""

_UPSCALING_MS = 90
"""One tile of 512 x 512 through an upscale model."""

_VIDEO_COMPRESSION = 16
"""Video models work on so many frames for the price of one image of the same size."""

_INT = Input("INT", {"default": 1, "min": 0, "max": 1 << 62})
_FLOAT = Input("FLOAT", {"default": 1.0, "min": 0.0, "max": 10_000.0})
_TEXT = Input("STRING", {"default": "", "multiline": False})
_SIZE = Input("INT", {"default": 512, "min": 16, "max": 16_384, "step": 8})
_BATCH = Input("INT", {"default": 1, "min": 1, "max": 4096})
_COMBO = Input("COMBO")


def _megapixels(task: Task) -> float:
    return task.upstream("width", 1024) * task.upstream("height", 1024) / _MEGAPIXEL


def _frames(task: Task) -> float:
    """Images to compute: of the batch, or of the video's frames what they cost."""
    return task.upstream("batch_size", 1) * max(1.0, task.upstream("length", 1) / _VIDEO_COMPRESSION)


def _load(input_name: str, gigabytes: float) -> Callable[[Task], Work]:
    return lambda task: Work(load_ms=task.machine.load_ms(task.text(input_name, "model"), gigabytes), quiet_ms=5)


def _sample(task: Task) -> Work:
    step_ms = _SAMPLING_MS * _megapixels(task) * _frames(task)
    return Work(quiet_ms=30, steps=int(task.number("steps", 20)), step_ms=step_ms, preview=True)


def _sample_audio(task: Task) -> Work:
    return Work(quiet_ms=30, steps=int(task.number("steps", 50)), step_ms=2 * task.upstream("seconds", 47.6))


def _sampler(task: Task) -> Work:
    return _sample_audio(task) if task.upstream("seconds", 0) else _sample(task)


def _decode(task: Task) -> Work:
    return Work(quiet_ms=_DECODING_MS * _megapixels(task) * _frames(task))


def _upscale(task: Task) -> Work:
    tiles = max(1, round(4 * _megapixels(task)))
    return Work(quiet_ms=20, steps=tiles, step_ms=_UPSCALING_MS)


def _save(task: Task) -> Work:
    # An image of unknown size is taken for a small one.
    megapixels = task.upstream("width", 64) * task.upstream("height", 64) / _MEGAPIXEL
    return Work(quiet_ms=1 + 60 * megapixels * task.upstream("batch_size", 1))


def _encode_video(task: Task) -> Work:
    return Work(quiet_ms=6 * task.upstream("length", 1))


def _files(key: str, ending: str, *, kind: str = "output", animated: bool = False) -> Callable[[Task], UiOutput]:
    def show(task: Task) -> UiOutput:
        # A batch saves as many files as it has images; a video of them is one.
        count = 1 if animated or key != "images" else int(task.upstream("batch_size", 1))
        prefix = task.text("filename_prefix", "ComfyUI")
        shown: UiOutput = {key: [*task.machine.save(prefix, ending, count, kind)]}
        return {**shown, "animated": [True]} if animated else shown

    return show


def _combine_video(task: Task) -> UiOutput:
    files = task.machine.save(task.text("filename_prefix", "AnimateDiff"), "mp4", 1, "output")
    return {"gifs": [{**file, "format": "video/h264-mp4", "frame_rate": 16.0} for file in files]}


def _preview_any(task: Task) -> UiOutput:
    return {"text": [f"value of {task.inputs.get('source')!s}"]}


def _saver(name: str, source: str, returns: str, key: str, ending: str) -> NodeClass:
    return NodeClass(
        name,
        required={source: Input(returns), "filename_prefix": _TEXT},
        output_node=True,
        work=_save,
        show=_files(key, ending),
        saves_metadata=True,
    )


_SAMPLER_INPUTS = {
    "seed": Input("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF}),
    "steps": Input("INT", {"default": 20, "min": 1, "max": 10_000}),
    "cfg": _FLOAT,
    "sampler_name": _COMBO,
    "scheduler": _COMBO,
    "denoise": _FLOAT,
    "model": Input("MODEL"),
    "positive": Input("CONDITIONING"),
    "negative": Input("CONDITIONING"),
    "latent_image": Input("LATENT"),
}

_CLASSES = (
    NodeClass(
        "CheckpointLoaderSimple",
        required={"ckpt_name": _COMBO},
        returns=("MODEL", "CLIP", "VAE"),
        work=_load("ckpt_name", 6.9),
    ),
    NodeClass(
        "UNETLoader",
        required={"unet_name": _COMBO},
        optional={"weight_dtype": _COMBO},
        returns=("MODEL",),
        work=_load("unet_name", 14),
    ),
    NodeClass("CLIPLoader", required={"clip_name": _COMBO}, optional={"type": _COMBO}, returns=("CLIP",)),
    NodeClass("VAELoader", required={"vae_name": _COMBO}, returns=("VAE",)),
    NodeClass("UpscaleModelLoader", required={"model_name": _COMBO}, returns=("UPSCALE_MODEL",)),
    NodeClass(
        "LoraLoader",
        required={
            "model": Input("MODEL"),
            "clip": Input("CLIP"),
            "lora_name": _COMBO,
            "strength_model": _FLOAT,
            "strength_clip": _FLOAT,
        },
        returns=("MODEL", "CLIP"),
        work=lambda _: Work(quiet_ms=400),
    ),
    NodeClass(
        "CLIPTextEncode",
        required={"text": Input("STRING", {"multiline": True}), "clip": Input("CLIP")},
        returns=("CONDITIONING",),
        work=lambda _: Work(quiet_ms=120),
    ),
    NodeClass(
        "EmptyLatentImage", required={"width": _SIZE, "height": _SIZE, "batch_size": _BATCH}, returns=("LATENT",)
    ),
    NodeClass(
        "EmptyHunyuanLatentVideo",
        required={"width": _SIZE, "height": _SIZE, "length": _INT, "batch_size": _BATCH},
        returns=("LATENT",),
    ),
    NodeClass("EmptyLatentAudio", required={"seconds": _FLOAT}, optional={"batch_size": _BATCH}, returns=("LATENT",)),
    NodeClass("KSampler", required=_SAMPLER_INPUTS, returns=("LATENT",), work=_sampler),
    NodeClass(
        "VAEDecode", required={"samples": Input("LATENT"), "vae": Input("VAE")}, returns=("IMAGE",), work=_decode
    ),
    NodeClass(
        "VAEEncode",
        required={"pixels": Input("IMAGE"), "vae": Input("VAE")},
        returns=("LATENT",),
        work=lambda _: Work(quiet_ms=200),
    ),
    NodeClass(
        "VAEDecodeAudio",
        required={"samples": Input("LATENT"), "vae": Input("VAE")},
        returns=("AUDIO",),
        work=lambda _: Work(quiet_ms=900),
    ),
    NodeClass("LoadImage", required={"image": _COMBO}, returns=("IMAGE", "MASK"), work=lambda _: Work(quiet_ms=40)),
    NodeClass(
        "EmptyImage",
        required={"width": _SIZE, "height": _SIZE, "batch_size": _BATCH, "color": _INT},
        returns=("IMAGE",),
    ),
    NodeClass(
        "ImageUpscaleWithModel",
        required={"upscale_model": Input("UPSCALE_MODEL"), "image": Input("IMAGE")},
        returns=("IMAGE",),
        work=_upscale,
    ),
    _saver("SaveImage", "images", "IMAGE", "images", "png"),
    NodeClass(
        "PreviewImage",
        required={"images": Input("IMAGE")},
        output_node=True,
        show=_files("images", "png", kind="temp"),
        saves_metadata=True,
    ),
    NodeClass(
        "SaveAnimatedWEBP",
        required={
            "images": Input("IMAGE"),
            "filename_prefix": _TEXT,
            "fps": _FLOAT,
            "lossless": Input("BOOLEAN", {"default": True}),
            "quality": _INT,
            "method": _COMBO,
        },
        output_node=True,
        work=_encode_video,
        show=_files("images", "webp", animated=True),
        saves_metadata=True,
    ),
    NodeClass(
        "CreateVideo",
        required={"images": Input("IMAGE"), "fps": _FLOAT},
        optional={"audio": Input("AUDIO")},
        returns=("VIDEO",),
    ),
    NodeClass(
        "SaveVideo",
        required={"video": Input("VIDEO"), "filename_prefix": _TEXT, "format": _COMBO, "codec": _COMBO},
        output_node=True,
        work=_encode_video,
        show=_files("images", "mp4", animated=True),
        saves_metadata=True,
    ),
    NodeClass(
        "VHS_VideoCombine",
        required={"images": Input("IMAGE"), "frame_rate": _FLOAT, "filename_prefix": _TEXT, "format": _COMBO},
        returns=("VHS_FILENAMES",),
        output_node=True,
        work=_encode_video,
        show=_combine_video,
        saves_metadata=True,
        module="custom_nodes.comfyui-videohelpersuite",
    ),
    _saver("SaveAudio", "audio", "AUDIO", "audio", "flac"),
    NodeClass("EmptyLatentHunyuan3Dv2", required={"resolution": _INT, "batch_size": _BATCH}, returns=("LATENT",)),
    NodeClass(
        "VAEDecodeHunyuan3D",
        required={"samples": Input("LATENT"), "vae": Input("VAE"), "num_chunks": _INT, "octree_resolution": _INT},
        returns=("VOXEL",),
        work=lambda _: Work(quiet_ms=4000),
    ),
    NodeClass("VoxelToMesh", required={"voxel": Input("VOXEL"), "threshold": _FLOAT}, returns=("MESH",)),
    _saver("SaveGLB", "mesh", "MESH", "3d", "glb"),
    NodeClass("PreviewAny", required={"source": Input("*")}, output_node=True, show=_preview_any),
)

NODE_CLASSES = MappingProxyType({node_class.name: node_class for node_class in (*_CLASSES, *PROBE_CLASSES)})
"""By class_type."""
