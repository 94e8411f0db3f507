"""The page about the demo shows what it prints and tells what happens."""

from __future__ import annotations

import re
from itertools import takewhile
from random import Random

import yaml

from comfyui_exporter.demo import shown, stack, watching
from comfyui_exporter.demo.day import BEGIN, HOUR_S, SERVERS
from comfyui_exporter.demo.plan import DAY_S, acts, clock
from comfyui_exporter.demo.ports import Place
from comfyui_exporter.demo.stage import Options
from docs.pages import ROOT, fenced

PAGE = (ROOT / "docs/demo.md").read_text()
USUAL = {
    "web": Place("127.0.0.1", 9188),
    "push": Place("127.0.0.1", 8329),
    "servers": {name: Place("127.0.0.1", 18188 + number) for number, name in enumerate(SERVERS)},
}


def test_the_usual_ports_are_those_of_run():
    assert (Options().web.port, Options().push.port) == (9188, 8329)


def test_it_shows_what_is_printed():
    (block,) = fenced(PAGE, "text")
    assert block == shown.block(**USUAL, stack={}, missing=set())


def test_it_tells_what_happens_in_its_order():
    told = []
    for server in SERVERS.values():
        day = takewhile(lambda act: act.at_s < DAY_S, acts(server, Random(0)))
        told += [(act.at_s, server.name, act.say) for act in day if act.say]
    expected = [(clock(at_s), f"`{name}`", say) for at_s, name, say in sorted(told)]
    rows = re.findall(r"^\| (\d\d:\d\d) \| (\S+) \| (.+?) \| ", PAGE, re.MULTILINE)
    assert rows == expected
    assert rows[0][0] == clock(0) == f"{int(BEGIN):02}:30"
    assert HOUR_S == 30


def test_what_is_taken_and_what_is_missing_is_said():
    servers = dict(USUAL["servers"], **{"gpu-video": Place("127.0.0.1", 5, instead_of=18189)})
    around = {"prometheus": Place("127.0.0.1", 9090), "grafana": Place("127.0.0.1", 4, instead_of=3000)}
    text = shown.block(servers, USUAL["web"], USUAL["push"], around, {"alertmanager"})
    lines = text.splitlines()
    assert "  gpu-video     http://127.0.0.1:5   (18189 is taken)" in lines
    assert "  Prometheus    http://127.0.0.1:9090/alerts" in lines
    assert "  Grafana       http://127.0.0.1:4/   (3000 is taken)" in lines
    assert "Not found, and so not started: Alertmanager." in lines
    assert shown.names(["grafana", "prometheus", "alertmanager"]) == "Prometheus, Alertmanager and Grafana"


def test_it_knows_the_types_of_jobs_that_our_example_knows():
    example = yaml.safe_load((ROOT / "examples/comfyui-exporter.yml").read_text())["job_types"]
    assert [(rule["job_type"], tuple(rule["node_types"])) for rule in example] == list(watching.JOB_TYPES)


def test_every_program_of_the_stack_has_a_place_and_a_way_to_ask_it():
    assert stack.USUAL.keys() == stack.READY.keys()
