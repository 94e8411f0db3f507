"""Which replica watches which server."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from comfyui_exporter.config.rules import Shard


def takes(shard: Shard, server: str) -> bool:
    """Whether a replica takes the server of this name.

    Rendezvous hashing: each replica draws a number for the server and the highest wins. So every server has exactly one
    replica, and one replica more takes its share from all others and moves nothing else.
    """
    return owner(server, shard.count) == shard.index


@lru_cache(maxsize=100_000)
def owner(server: str, count: int) -> int:
    """The number of the replica, of so many, that takes a server."""
    return max(range(count), key=lambda index: _draw(index, server)) if count > 1 else 0


def _draw(index: int, server: str) -> int:
    digest = blake2b(f"{index}\0{server}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)
