"""Every server has one replica, and few move when replicas come and go."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.config.rules import Shard
from comfyui_exporter.config.sharding import in_slice, owner, takes

NAMES = [f"gpu{number}" for number in range(1000)]
ANY_NAME = st.text(min_size=1, max_size=128)


@given(ANY_NAME, st.integers(1, 64))
def test_every_server_has_exactly_one_replica(server, count):
    assert [takes(Shard(index, count), server) for index in range(count)].count(True) == 1
    assert takes(Shard(owner(server, count), count), server)


@given(ANY_NAME, st.integers(1, 64))
def test_one_replica_more_takes_from_the_others_and_moves_nothing_else(server, count):
    before, after = owner(server, count), owner(server, count + 1)
    assert after in {before, count}


def test_one_replica_more_takes_its_share_and_no_more():
    for count in range(1, 10):
        moved = sum(owner(name, count) != owner(name, count + 1) for name in NAMES)
        share = len(NAMES) / (count + 1)
        assert 0.7 * share < moved < 1.3 * share


def test_replicas_have_about_as_much_to_do_as_each_other():
    for count in (2, 3, 5, 10):
        counted = Counter(owner(name, count) for name in NAMES)
        assert len(counted) == count
        assert max(counted.values()) < 1.5 * len(NAMES) / count


def test_an_upgrade_moves_no_server():
    names = ["gpu0", "gpu1", "127.0.0.1:8188", "studio-ü", "gpu7.example.org:8188"]
    assert [owner(name, 3) for name in names] == [0, 0, 1, 0, 2]
    assert [next(i for i in range(4) if in_slice(Shard(i, 4), name)) for name in names] == [1, 0, 1, 0, 1]


@given(ANY_NAME, st.integers(1, 64))
def test_every_server_is_in_exactly_one_slice(server, count):
    assert [in_slice(Shard(index, count), server) for index in range(count)].count(True) == 1


def test_the_servers_of_a_replica_are_spread_over_as_many_slices():
    for count in (2, 3, 4):
        own = [name for name in NAMES if takes(Shard(0, count), name)]
        for index in range(count):
            part = sum(in_slice(Shard(index, count), name) for name in own)
            assert 0.7 < part / (len(own) / count) < 1.3
