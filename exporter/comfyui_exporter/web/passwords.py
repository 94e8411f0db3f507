"""Passwords and their bcrypt hashes: checked beside the loop, a few at a time, and remembered for a while."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

RIGHT_FOR = 3600.0
WRONG_FOR = 60.0
"""Seconds for which a password that was right, or wrong, is not computed again."""

_REMEMBERED = 1000
_AT_ONCE = 2
"""Hashes that are computed at the same time; each takes a core for as long as its cost says."""
_WAITING = 64
_WAITING_OF_ONE = 8
"""Hashes that may wait for their turn, of all clients and of one address: a flood of wrong passwords keeps nobody out
who is at another one."""

_LONGEST = 1024
"""Characters of a password that is looked at."""
_BCRYPT_LIMIT = 72
"""Bytes that bcrypt knows of. Go and htpasswd pass over the rest, and so hashes of longer ones are used."""


class BusyError(Exception):
    """More passwords wait to be checked than can be."""


def matches(password: str, hashed: str) -> bool:
    """Whether it is the password of the hash; takes long."""
    # Whoever has no users needs no bcrypt.
    import bcrypt  # noqa: PLC0415

    try:
        return bcrypt.checkpw(password.encode()[:_BCRYPT_LIMIT], hashed.encode())
    except ValueError:
        return False


class Passwords:
    """Judges user names with passwords. Nothing of a password is kept, only a digest under a key of this process."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        check: Callable[[str, str], bool] = matches,
        key: bytes | None = None,
    ) -> None:
        self._now = now
        self._check = check
        self._key = key or os.urandom(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._wrong: OrderedDict[bytes, float] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[bool]] = {}
        self._waiting: dict[str, int] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def right(self, users: Mapping[str, str], user: str, password: str, remote: str) -> bool:
        """Tell whether somebody at the address `remote` is that user. `users` has hashes and is not empty.

        Raises:
            BusyError: cannot be told now.

        """
        if len(user) > _LONGEST or len(password) > _LONGEST:
            return False
        # Somebody who is not known takes as long as somebody who is, so that the time tells no names.
        hashed = users.get(user) or self._somebodys(users, user)
        digest = self._digest(user, hashed, password)
        was_right = digest in self._right
        if _holds(self._right, digest, self._now()):
            return user in users
        if _holds(self._wrong, digest, self._now()):
            return False
        task = self._under_way.get(digest)
        if task is None:
            full = len(self._under_way) >= _WAITING or self._waiting.get(remote, 0) >= _WAITING_OF_ONE
            # Who was right before is no guesser, and is not kept out by those.
            if full and not was_right:
                raise BusyError
            self._waiting[remote] = self._waiting.get(remote, 0) + 1
            task = asyncio.create_task(self._compute(digest, hashed, password, remote, known=user in users))
            self._under_way[digest] = task
        # One who goes away takes the answer from nobody who asks the same.
        return await asyncio.shield(task)

    async def _compute(self, digest: bytes, hashed: str, password: str, remote: str, *, known: bool) -> bool:
        try:
            async with self._turn:
                right = await asyncio.to_thread(self._check, password, hashed) and known
        finally:
            del self._under_way[digest]
            self._waiting[remote] -= 1
            if not self._waiting[remote]:
                del self._waiting[remote]
        where, lasts = (self._right, RIGHT_FOR) if right else (self._wrong, WRONG_FOR)
        where[digest] = self._now() + lasts
        if len(where) > _REMEMBERED:
            where.popitem(last=False)
        return right

    def _somebodys(self, users: Mapping[str, str], user: str) -> str:
        """The hash for a name that is nobody's, for good the same one: their costs may differ, and would tell."""
        digest = hashlib.blake2b(user.encode(errors="surrogatepass"), key=self._key, digest_size=8).digest()
        return tuple(users.values())[int.from_bytes(digest, "big") % len(users)]

    def _digest(self, user: str, hashed: str, password: str) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (user, hashed, password):
            encoded = part.encode(errors="surrogatepass")
            digest.update(len(encoded).to_bytes(4, "big") + encoded)
        return digest.digest()


def _holds(remembered: OrderedDict[bytes, float], digest: bytes, now: float) -> bool:
    until = remembered.get(digest)
    if until is None:
        return False
    if until <= now:
        del remembered[digest]
        return False
    return True
