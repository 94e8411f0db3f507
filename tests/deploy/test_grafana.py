"""What Grafana is given: datasources, a folder of dashboards, and the first one to be seen."""

from __future__ import annotations

import re

import yaml

from deploy.compose import ROOT, services

FOLDER = ROOT / "grafana/provisioning"
GRAFANA = services()["grafana"]
SOURCES = {
    source["uid"]: source
    for source in yaml.safe_load((FOLDER / "datasources/datasources.yml").read_text())["datasources"]
}
(PROVIDER,) = yaml.safe_load((FOLDER / "dashboards/comfyui.yml").read_text())["providers"]
MOUNTS = dict(volume.split(":")[1::-1] for volume in GRAFANA["volumes"])


def test_the_datasources_have_fixed_uids_and_lead_to_the_services_of_the_stack():
    assert {uid: (source["type"], source["url"]) for uid, source in SOURCES.items()} == {
        "prometheus": ("prometheus", "http://prometheus:9090"),
        "alertmanager": ("alertmanager", "http://alertmanager:9093"),
    }
    assert [uid for uid, source in SOURCES.items() if source.get("isDefault")] == ["prometheus"]


def test_an_exemplar_leads_to_the_job_that_it_stands_for():
    (destination,) = SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "prompt_id"
    # Grafana fills in ${NAME} from its environment when it reads the file; $$ is what is left for later.
    url = re.sub(r"\$\$|\$\{\w*\}", lambda match: "$" if match[0] == "$$" else "", destination["url"])
    assert url == "http://127.0.0.1:9188/api/v1/jobs/${__value.raw}"


def test_the_step_of_queries_knows_how_often_prometheus_scrapes():
    prometheus = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    assert SOURCES["prometheus"]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_dashboards_are_in_the_folder_comfyui_and_come_from_the_repository():
    assert PROVIDER["folder"] == "ComfyUI"
    assert MOUNTS[PROVIDER["options"]["path"]] == "./grafana/dashboards"


def test_the_first_dashboard_is_the_overview():
    home = GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{PROVIDER['options']['path']}/comfyui-overview.json"


def test_whoever_reaches_the_port_may_look_and_no_more():
    environment = GRAFANA["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_USERS_ALLOW_SIGN_UP"] == "false"
