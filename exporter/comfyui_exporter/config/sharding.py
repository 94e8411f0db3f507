"""Which replica watches which server, and which scrape shows it."""

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
    """The number of the replica, of so many, that takes a server. The same in every version: it decides who counts."""
    return max(range(count), key=lambda index: _draw(f"{index}\0{server}")) if count > 1 else 0


def in_slice(part: Shard, server: str) -> bool:
    """Whether a scrape of this slice shows the server of this name.

    With draws of its own: the servers of one replica would all be in one of so many slices as there are replicas. And
    one draw for a server, whatever the number of slices: whoever may scrape may ask for any.
    """
    return _draw(server, b"slice") % part.count == part.index


def _draw(text: str, purpose: bytes = b"") -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=purpose).digest()
    return int.from_bytes(digest)
