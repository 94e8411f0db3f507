"""Server files: Prometheus file_sd format, read while others write them."""

from __future__ import annotations

import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_exporter.config import server_files
from comfyui_exporter.config.server_files import ServerFiles, read_servers


def write(path, text):
    """Write in a way that leaves no doubt that it changed."""
    path.write_text(text)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, time.time_ns()))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "servers.yml"


def files_of(tmp_path, *patterns):
    return ServerFiles(tuple(str(tmp_path / pattern) for pattern in patterns or ("*.yml", "*.json")))


def named(files, **how):
    """The names and URLs of all servers, and what is wrong."""
    servers, problems = files.read(**how)
    return {server.name: server.url for server in servers}, [problem.message for problem in problems]


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("- targets: [gpu0:8188, gpu1:8188]", {"gpu0:8188": "http://gpu0:8188", "gpu1:8188": "http://gpu1:8188"}),
        ("- targets: [gpu0]", {"gpu0:80": "http://gpu0"}),
        ("- targets: ['gpu0:8188']\n  labels: {server: one, rack: 7}", {"one": "http://gpu0:8188"}),
        ("- targets: ['gpu0:8188']\n  labels: {server: 7}", {"7": "http://gpu0:8188"}),
        ("- targets: ['https://studio.example.org/comfy/']", {"studio.example.org:443": "https://studio.example.org/comfy"}),
        (
            "- targets: [gpu0:8188]\n  labels: {__scheme__: https, __path_prefix__: /comfy}",
            {"gpu0:8188": "https://gpu0:8188/comfy"},
        ),
        ("- targets: ['[::1]:8188']", {"[::1]:8188": "http://[::1]:8188"}),
        ("- targets: []\n  labels: {server: none}", {}),
        ("- targets: &all [gpu0:8188]\n- targets: *all", {"gpu0:8188": "http://gpu0:8188"}),
        ("[]", {}),
        ('[{"targets": ["gpu0:8188"], "labels": {}}]', {"gpu0:8188": "http://gpu0:8188"}),
        ("- targets: [gpu0:8188]\n  labels:\n", {"gpu0:8188": "http://gpu0:8188"}),
    ],
)  # fmt: skip
def test_what_prometheus_reads_is_read(tmp_path, file, text, servers):
    write(file, text)
    assert named(files_of(tmp_path)) == (servers, [])


def test_json_and_yaml_side_by_side(tmp_path):
    write(tmp_path / "a.json", json.dumps([{"targets": ["a:1"], "labels": {"server": "a"}}]))
    write(tmp_path / "b.yml", "- {targets: ['b:1'], labels: {server: b}}")
    write(tmp_path / "c.txt", "no server file")
    assert named(files_of(tmp_path)) == ({"a": "http://a:1", "b": "http://b:1"}, [])


BAD = {
    "gpu0:8188": 'expected a list of groups such as `- targets: [gpu0:8188]`, found "gpu0:8188"',
    "targets: [gpu0:8188]": "expected a list of groups such as `- targets: [gpu0:8188]`, found a mapping",
    "- gpu0:8188": "[0]: expected `targets: [...]`",
    "- targets: gpu0:8188": "[0]: expected `targets: [...]`",
    "- targets: [gpu0:8188]\n- targets: [[1]]": "[1].targets[0]: expected host:port or a URL, found a list",
    "- targets: ['']": "[0].targets[0]: expected host:port or a URL",
    "- targets: ['gpu 0']": '[0].targets[0]: "gpu 0": ',
    "- targets: ['gpu0:99999']": '[0].targets[0]: "gpu0:99999": ',
    "- targets: ['ftp://gpu0']": '[0].targets[0]: "ftp://gpu0": ',
    "- targets: [a, b]\n  labels: {server: x}": "[0].labels.server: names one server, but there are 2 targets",
    "- targets: [a]\n  labels: [x]": "[0].labels: expected names with texts, found a list",
    "- targets: [a]\n  labels: {server: [x]}": "[0].labels.server: expected text, found a list",
    "- targets: [a]\n  labels: {server: ' '}": "[0].targets[0]: ",
    "- targets: [a\n": "line 2: is not valid YAML",
    "- targets: [\tx": "line 1: is not valid YAML",
    "- &a [*a]": "is not valid YAML",
    "- !!python/object/apply:os.system [exit]": "[0]: expected `targets: [...]`",
    '- "\\UFFFFFFFF"': "is not valid YAML",
    "[" * 100_000: "line 1: is not valid YAML",
    "": "is empty; write [] for no servers",
    " \n": "is empty; write [] for no servers",
    "# nothing yet\n": "expected a list of groups such as `- targets: [gpu0:8188]`, found nothing",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_says_where_and_keeps_the_servers_that_it_had(tmp_path, file, text):
    write(file, "- targets: [gpu0:8188]")
    files = files_of(tmp_path)
    good, _ = named(files)
    write(file, text)
    for _ in range(2):  # it is not read again, and goes on to be reported
        servers, (problem,) = named(files)
        assert servers == good
        assert problem.startswith(BAD[text]) or BAD[text] in problem
    write(file, "- targets: [gpu1:8188]")
    assert named(files) == ({"gpu1:8188": "http://gpu1:8188"}, [])


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"targets": ["a"]}', "NaN", "1" * 10_000, "\ufeff"])
def test_bad_json_likewise(tmp_path, text):
    path = tmp_path / "servers.json"
    write(path, text)
    servers, (problem,) = named(files_of(tmp_path))
    assert servers == {}
    assert problem


def test_no_password_is_repeated(tmp_path, file):
    write(file, "- targets: ['http://me:hunter2@gpu0:8188']")
    _, (problem,) = named(files_of(tmp_path))
    assert "credentials" in problem
    assert "hunter2" not in problem


def test_a_bad_file_keeps_its_servers_and_disturbs_no_other(tmp_path):
    write(tmp_path / "a.yml", "- targets: [a:1]")
    write(tmp_path / "b.yml", "- targets: [")
    servers, (problem,) = files_of(tmp_path).read()
    assert [server.name for server in servers] == ["a:1"]
    assert str(problem) == f"{tmp_path / 'b.yml'}: line 1: is not valid YAML"


def test_files_come_and_go(tmp_path):
    files = files_of(tmp_path)
    assert named(files) == ({}, [])
    write(tmp_path / "a.yml", "- targets: [a:1]")
    assert list(named(files)[0]) == ["a:1"]
    (tmp_path / "a.yml").rename(tmp_path / "b.yml")
    assert list(named(files)[0]) == ["a:1"]
    (tmp_path / "b.yml").unlink()
    assert named(files) == ({}, [])


def test_a_folder_that_comes_later_is_found(tmp_path):
    files = files_of(tmp_path, "later/*.yml")
    assert named(files) == ({}, [])
    (tmp_path / "later").mkdir()
    write(tmp_path / "later" / "a.yml", "- targets: [a:1]")
    assert list(named(files)[0]) == ["a:1"]


def test_a_file_that_cannot_be_looked_at_for_the_moment_keeps_its_servers(tmp_path, file, monkeypatch):
    write(file, "- targets: [a:1]")
    files = files_of(tmp_path)
    good, _ = named(files)
    with monkeypatch.context() as patch:
        patch.setattr(server_files.glob, "glob", lambda _: [])  # what it finds in a folder that cannot be listed
        patch.setattr(server_files.Path, "stat", _stale)
        servers, (problem,) = named(files)
    assert (servers, problem) == (good, "cannot be read: Stale file handle")
    assert named(files) == (good, [])


def _stale(_path, **_):
    raise OSError(116, "Stale file handle")


def test_a_config_map_is_swapped_as_a_whole(tmp_path):
    """As Kubernetes does: `servers.yml` leads to `..data/servers.yml`, and `..data` to a folder of each version."""
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        write(tmp_path / f"..{version}" / "servers.yml", f"- targets: [gpu{version}:8188]")
        os.utime(tmp_path / f"..{version}" / "servers.yml", ns=(10**18, 10**18))  # the content alone differs
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "servers.yml").symlink_to("..data/servers.yml")
    files = files_of(tmp_path)
    assert list(named(files)[0]) == ["gpu1:8188"]
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert list(named(files)[0]) == ["gpu2:8188"]


def test_a_link_to_nothing_is_reported_and_keeps_its_servers(tmp_path, file):
    target = tmp_path / "target"
    write(target, "- targets: [a:1]")
    file.symlink_to(target)
    files = files_of(tmp_path)
    assert list(named(files)[0]) == ["a:1"]
    target.unlink()
    servers, problems = named(files)
    assert (list(servers), problems) == (["a:1"], ["cannot be read: No such file or directory"])


def test_what_looks_unchanged_is_read_when_that_is_asked_for(tmp_path, file):
    write(file, "- targets: [a:1]")
    stamp = file.stat().st_mtime_ns
    files = files_of(tmp_path)
    named(files)
    file.write_text("- targets: [b:1]")
    os.utime(file, ns=(stamp, stamp))
    assert list(named(files)[0]) == ["a:1"]
    assert list(named(files, anew=True)[0]) == ["b:1"]


def test_other_patterns_go_on_from_what_is_known(tmp_path, file):
    write(file, "- targets: [a:1]")
    files = files_of(tmp_path, "*.yml")
    named(files)
    write(file, "- targets: [")
    assert list(named(files.of((str(file),)))[0]) == ["a:1"]
    assert named(files.of(("/none/*.yml",))) == ({}, [])


def test_pipes_folders_and_devices_are_no_files(tmp_path):
    (tmp_path / "folder.yml").mkdir()
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "zero.yml").symlink_to("/dev/zero")
    servers, problems = named(files_of(tmp_path))
    assert (servers, problems) == ({}, ["cannot be read: Is a directory", "is not a file", "is not a file"])


def test_a_huge_file_is_not_read(tmp_path, file):
    with file.open("wb") as opened:
        opened.truncate(server_files.LARGEST_FILE + 1)
    assert named(files_of(tmp_path)) == ({}, ["is larger than 8 MiB"])


def test_aliases_do_not_make_billions_of_servers_of_a_small_file(tmp_path, file, monkeypatch):
    monkeypatch.setattr(server_files, "MOST_SERVERS", 500)
    write(file, f"- targets: &all [{', '.join(f'gpu{i}' for i in range(100))}]\n" + "- targets: *all\n" * 100)
    assert named(files_of(tmp_path)) == ({}, ["has more than 500 servers"])


def test_merge_keys_are_not_followed(tmp_path, file):
    levels = "\n".join(f"  l{i}: &l{i} {{<<: [*l{i - 1}, *l{i - 1}]}}" for i in range(1, 60))
    write(file, f"- targets: [a]\n  l0: &l0 {{x: 1}}\n{levels}")
    assert list(named(files_of(tmp_path))[0]) == ["a:80"]


KEYS = st.sampled_from(["targets", "labels", "server", "__scheme__"]) | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("gpu0:1")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
YAMLISH = st.text(alphabet=list("-[]{}:,&*!|>'\"\\<?%@` \n\tatrges01"), max_size=60)


@given(VALUES)
def test_whatever_json_holds_is_taken_or_refused_in_words(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    _is_taken_or_refused(path)


@given(st.binary(max_size=200) | YAMLISH.map(str.encode))
def test_whatever_bytes_there_are_are_taken_or_refused_in_words(tmp_path_factory, content):
    for name in ("bytes.yml", "bytes.json"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        _is_taken_or_refused(path)


def _is_taken_or_refused(path):
    said = "taken"
    try:
        servers = list(read_servers(str(path)))
    except ValueError as error:
        said, servers = str(error), []
    assert 0 < len(said) < 1000
    assert all(server.name and server.url.startswith(("http://", "https://")) for server in servers)
