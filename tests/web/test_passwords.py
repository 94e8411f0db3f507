"""Passwords are checked beside the loop, a few at a time, and remembered for a while."""

from __future__ import annotations

import asyncio
import threading

import bcrypt
import pytest

from comfyui_exporter.web.passwords import RIGHT_FOR, WRONG_FOR, BusyError, Passwords, matches

USERS = {"alice": "hash of sesame", "bob": "hash of bob"}


class Hashing:
    """Stands in for bcrypt: counts, and can be held up."""

    def __init__(self):
        self.computed = []
        self.at_once = 0
        self.most = 0
        self.threads = set()
        self.go = threading.Event()
        self.go.set()
        self._lock = threading.Lock()

    def __call__(self, password, hashed):
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.computed.append((password, hashed))
            self.threads.add(threading.current_thread())
        assert self.go.wait(20)
        with self._lock:
            self.at_once -= 1
        return hashed == f"hash of {password}"


class Time:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def hashing():
    hashing = Hashing()
    yield hashing
    hashing.go.set()


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def passwords(hashing, time):
    return Passwords(now=time, check=hashing)


async def test_a_right_password_is_computed_once_and_not_on_the_loop(passwords, hashing):
    for _ in range(3):
        assert await passwords.right(USERS, "alice", "sesame", "1.2.3.4")
    assert len(hashing.computed) == 1
    assert threading.current_thread() not in hashing.threads


async def test_a_right_password_is_computed_again_after_a_while(passwords, hashing, time):
    assert await passwords.right(USERS, "alice", "sesame", "x")
    time.seconds += RIGHT_FOR
    assert await passwords.right(USERS, "alice", "sesame", "x")
    assert len(hashing.computed) == 2


async def test_a_changed_hash_holds_at_once(passwords):
    assert await passwords.right(USERS, "alice", "sesame", "x")
    assert not await passwords.right({"alice": "hash of new"}, "alice", "sesame", "x")
    assert not await passwords.right({"bob": "hash of bob"}, "alice", "sesame", "x")


async def test_a_wrong_password_is_remembered_for_a_minute(passwords, hashing, time):
    assert not await passwords.right(USERS, "alice", "guess", "x")
    assert not await passwords.right(USERS, "alice", "guess", "x")
    assert len(hashing.computed) == 1
    time.seconds += WRONG_FOR
    assert not await passwords.right(USERS, "alice", "guess", "x")
    assert len(hashing.computed) == 2


async def test_an_unknown_user_costs_as_much_as_a_known_one_and_never_gets_in(passwords, hashing):
    assert not await passwords.right(USERS, "mallory", "sesame", "x")
    assert not await passwords.right(USERS, "mallory", "sesame", "x")
    assert len(hashing.computed) == 1
    assert not await passwords.right(USERS, "bob", "sesame", "x")


async def test_unknown_users_cost_what_known_ones_do_where_their_hashes_cost_differently(hashing, time):
    """Or the time of an answer would tell the names of those whose hash is cheaper than the first one."""
    users = {f"user {n}": f"hash {n}" for n in range(4)}
    passwords = Passwords(now=time, check=hashing)
    for n in range(64):
        for _ in range(2):
            assert not await passwords.right(users, f"nobody {n}", "guess", "x")
    # Each has one that is its own for good, and all hashes are somebody's.
    assert len(hashing.computed) == 64
    assert {hashed for _, hashed in hashing.computed} == set(users.values())


async def test_who_was_right_before_is_let_in_while_others_flood(passwords, hashing, time):
    assert await passwords.right(USERS, "alice", "sesame", "1.2.3.4")
    time.seconds += RIGHT_FOR
    hashing.go.clear()
    flood = [asyncio.create_task(passwords.right(USERS, "alice", f"guess {n}", f"a{n}")) for n in range(500)]
    await asyncio.sleep(0)
    known = asyncio.create_task(passwords.right(USERS, "alice", "sesame", "1.2.3.4"))
    await asyncio.sleep(0)
    hashing.go.set()
    assert await known
    await asyncio.gather(*flood, return_exceptions=True)


async def test_the_same_question_asked_many_times_at_once_is_computed_once(passwords, hashing):
    hashing.go.clear()
    asking = [asyncio.create_task(passwords.right(USERS, "alice", "sesame", "x")) for _ in range(50)]
    await asyncio.sleep(0)
    hashing.go.set()
    assert await asyncio.gather(*asking) == [True] * 50
    assert len(hashing.computed) == 1


async def test_a_flood_of_wrong_passwords_neither_blocks_the_loop_nor_takes_all_threads(passwords, hashing):
    hashing.go.clear()
    flood = [asyncio.create_task(passwords.right(USERS, "alice", f"guess {n}", "6.6.6.6")) for n in range(500)]
    await asyncio.sleep(0)
    # Each hash is held up, and the loop goes on and has threads left for others.
    assert await asyncio.to_thread(lambda: "free") == "free"
    hashing.go.set()
    results = await asyncio.gather(*flood, return_exceptions=True)
    assert results.count(False) == 8
    assert sum(isinstance(result, BusyError) for result in results) == 492
    assert hashing.most <= 2


async def test_a_flood_from_one_address_keeps_nobody_out_at_another_one(passwords, hashing):
    hashing.go.clear()
    flood = [asyncio.create_task(passwords.right(USERS, "alice", f"guess {n}", "6.6.6.6")) for n in range(500)]
    await asyncio.sleep(0)
    honest = asyncio.create_task(passwords.right(USERS, "alice", "sesame", "1.2.3.4"))
    await asyncio.sleep(0)
    hashing.go.set()
    assert await honest
    await asyncio.gather(*flood, return_exceptions=True)


async def test_floods_from_everywhere_are_bounded(passwords, hashing):
    hashing.go.clear()
    flood = [asyncio.create_task(passwords.right(USERS, "alice", f"guess {n}", f"a{n}")) for n in range(500)]
    await asyncio.sleep(0)
    hashing.go.set()
    results = await asyncio.gather(*flood, return_exceptions=True)
    assert results.count(False) == 64
    assert not passwords._under_way
    assert not passwords._waiting


async def test_what_is_remembered_is_bounded_and_holds_no_password(passwords):
    for n in range(1200):
        assert not await passwords.right(USERS, "alice", f"guess {n}", "x")
    assert len(passwords._wrong) == 1000
    assert "guess" not in repr(vars(passwords))


async def test_one_who_goes_away_takes_the_answer_from_nobody_else(passwords, hashing):
    hashing.go.clear()
    leaves, stays = (asyncio.create_task(passwords.right(USERS, "alice", "sesame", "x")) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    hashing.go.set()
    assert await stays
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_a_monstrous_password_is_not_computed(passwords, hashing):
    assert not await passwords.right(USERS, "alice", "x" * 5000, "x")
    assert not hashing.computed


def hashed(password):
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.mark.parametrize("password", ["sesame", "", "ключ", "pass:word"])
@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_bcrypt_as_it_is_written_by_others_matches(password, prefix):
    known = prefix + hashed(password)[4:]
    assert matches(password, known)
    assert not matches(f"{password}x", known)


def test_of_a_long_password_the_first_72_bytes_count_as_for_other_programs():
    known = hashed("x" * 72)
    assert matches("x" * 72, known)
    assert matches("x" * 100, known)
    assert not matches("x" * 71, known)


def test_a_password_with_a_zero_byte_is_wrong():
    assert not matches("sesame\0x", hashed("sesame"))
