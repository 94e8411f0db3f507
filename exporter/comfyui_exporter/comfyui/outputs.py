"""The `outputs` of a history entry: what a job produced, and of which kind each thing is."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import PurePosixPath

import msgspec

from comfyui_exporter.comfyui.json import PayloadError, decode, text, value_of
from comfyui_exporter.tracker.observations import Media, Output

MAX_OUTPUTS = 200
"""Outputs kept by name; beyond that they are only counted."""

_VIDEO = frozenset({".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".gif", ".ogv"})
_AUDIO = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"})
_THREE_D = frozenset({".glb", ".gltf", ".obj", ".fbx", ".stl", ".ply", ".usdz", ".splat", ".spz", ".ksplat"})
_TEXT = frozenset({".txt", ".md", ".json", ".csv", ".srt"})
_IMAGE = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".exr", ".avif", ".svg", ".hdr"})
_BY_ENDING = {
    **dict.fromkeys(_VIDEO, Media.VIDEO),
    **dict.fromkeys(_AUDIO, Media.AUDIO),
    **dict.fromkeys(_THREE_D, Media.THREE_D),
    **dict.fromkeys(_TEXT, Media.TEXT),
    **dict.fromkeys(_IMAGE, Media.IMAGES),
}
_BY_KEY = {
    "images": Media.IMAGES,
    "gifs": Media.VIDEO,
    "video": Media.VIDEO,
    "videos": Media.VIDEO,
    "audio": Media.AUDIO,
    "audios": Media.AUDIO,
    "text": Media.TEXT,
    "3d": Media.THREE_D,
    "model_file": Media.THREE_D,
}
_NOT_PRODUCED = frozenset({"temp", "input"})
"""Types of files that are previews or were there before, not results."""


class _File(msgspec.Struct):
    filename: object = None
    subfolder: object = None
    type: object = None
    format: object = None


_nodes = msgspec.json.Decoder(dict[str, msgspec.Raw])
_kinds = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_file = msgspec.json.Decoder(_File)


def read_outputs(raw: msgspec.Raw, cached: Container[str]) -> tuple[tuple[Output, ...], dict[Media, int]]:
    """Read what a job produced: the first outputs by name, and how many of each kind there are.

    A run that took nodes from the cache repeats their old outputs (recording `cached_and_partly_cached`): outputs of
    `cached` nodes and temporary files are left out of both.
    """
    kept: list[Output] = []
    counts: dict[Media, int] = {}
    try:
        nodes = decode(_nodes, raw)
    except PayloadError:
        return (), counts
    for node_id, of_node in nodes.items():
        if node_id in cached:
            continue
        for output in _of_node(text(node_id, 200), of_node):
            counts[output.media] = counts.get(output.media, 0) + 1
            if len(kept) < MAX_OUTPUTS:
                kept.append(output)
    return tuple(kept), counts


def _of_node(node_id: str, raw: msgspec.Raw) -> Iterator[Output]:
    try:
        kinds = decode(_kinds, raw)
    except PayloadError:
        return
    animated = value_of(kinds.pop("animated", None))
    for key, value in kinds.items():
        try:
            items = decode(_items, value)
        except PayloadError:
            continue  # widgets' values and other things that are no list of results
        for index, item in enumerate(items):
            moving = isinstance(animated, list) and bool(animated) and animated[min(index, len(animated) - 1)] is True
            output = _one(node_id, key, item, moving=moving)
            if output is not None:
                yield output


def _one(node_id: str, key: str, raw: msgspec.Raw, *, moving: bool) -> Output | None:
    data = memoryview(raw)
    first = bytes(data[:1])
    if first == b"{":
        try:
            file = decode(_file, raw)
        except PayloadError:
            return None
        kind = text(file.type, 50) or "output"
        name = text(file.filename, 1000)
        if kind in _NOT_PRODUCED or not name:
            return None
        media = _media(key, name, text(file.format, 100), moving=moving)
        return Output(node_id, media, name, text(file.subfolder, 1000), kind)
    if first == b'"':
        if key == "text":
            return Output(node_id, Media.TEXT)
        name = text(value_of(raw), 1000)
        if _ending(name) in _THREE_D:  # Preview3D gives bare file names
            return Output(node_id, Media.THREE_D, name)
    return None


def _ending(name: str) -> str:
    return PurePosixPath(name.lower()).suffix


def _media(key: str, name: str, format_: str, *, moving: bool) -> Media:
    """Stills, animations and videos all come under `images`: the ending and `animated` tell them apart."""
    by_ending = _BY_ENDING.get(_ending(name))
    if moving and by_ending in {None, Media.IMAGES}:
        return Media.VIDEO
    if by_ending is not None:
        return by_ending
    for start, media in (("video/", Media.VIDEO), ("audio/", Media.AUDIO), ("image/", Media.IMAGES)):
        if format_.startswith(start):
            return media
    return _BY_KEY.get(key, Media.OTHER)
