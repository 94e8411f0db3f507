"""deploy/kubernetes/: what its files are by Kubernetes' own schemas, and what kustomize makes of them."""

from __future__ import annotations

import json
import re

import kubernetes_validate
import pytest
import yaml

from comfyui_exporter import __version__
from comfyui_exporter.cli.main import cli
from comfyui_exporter.config.flags import FLAGS
from comfyui_exporter.config.load import load
from comfyui_exporter.config.relay_flags import RELAY_FLAGS
from comfyui_exporter.config.rules import shard
from comfyui_exporter.config.server_files import read_servers
from deploy import kubernetes
from deploy.compose import ROOT
from deploy.kubernetes import COMPONENTS, FOLDER, build, copied, environment, files, one, pods, with_components
from docs.pages import fenced

OLDEST, NEWEST = "1.28", kubernetes_validate.latest_version()
"""The first Kubernetes that tells a pod its ordinal in a label, and the last whose schemas we have."""
OF_OTHERS = ("monitoring.coreos.com/", "keda.sh/")
"""Their schemas are in no package; what we take of them is listed below."""
IN_ORDER = ["prometheus-operator", "dashboards", "fleet", "relay", "ha", "postgresql", "keda"]
NAMESPACE = "comfyui-monitoring"

needs_kustomize = pytest.mark.skipif(
    kubernetes.kustomize() is None, reason="neither kustomize 5 nor a kubectl of that age is installed; it is optional"
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("kubernetes"))


@pytest.fixture(scope="module")
def everything(copy):
    return with_components(copy, IN_ORDER)


@pytest.fixture(scope="module")
def example():
    return build(FOLDER / "example")


def exporters(resources):
    return {name: pod for name, pod in pods(resources).items() if not name.endswith("-relay")}


def check(resource, versions=(OLDEST, NEWEST)):
    if not resource["apiVersion"].startswith(OF_OTHERS):
        for version in versions:
            kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(FOLDER)))
def test_each_manifest_is_valid_by_the_schemas_of_the_oldest_and_the_newest_kubernetes(file):
    resources = list(yaml.safe_load_all(file.read_text()))
    assert resources
    for resource in resources:
        check(resource)


def test_a_wrong_key_is_found_by_the_schemas():
    resource = yaml.safe_load((FOLDER / "exporter/statefulset.yaml").read_text())
    resource["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        check(resource)


@needs_kustomize
def test_the_base_alone_is_one_exporter(copy):
    resources = build(FOLDER / "base")
    for resource in resources:
        check(resource)
    assert sorted(resource["kind"] for resource in resources) == [
        "ConfigMap", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "StatefulSet",
    ]  # fmt: skip
    (pod,) = exporters(resources).values()
    assert environment(pod)["SHARDS"] == "1"
    names = [resource["metadata"]["name"] for resource in resources if resource["kind"] == "ConfigMap"]
    assert "comfyui-exporter-servers" in names, "under another name after each change, it would restart the pods"
    assert "comfyui-exporter-config" not in names, "under the same name after a change, it would restart no pod"


@needs_kustomize
@pytest.mark.parametrize("name", [*IN_ORDER, "all of them"])
def test_what_kustomize_makes_with_a_component_is_valid(copy, name):
    # The pair and the fleet change what the component of the operator brings, if it is there.
    resources = with_components(copy, IN_ORDER if name == "all of them" else [name])
    for resource in resources:
        check(resource)
        assert resource["kind"] == "Namespace" or resource["metadata"]["namespace"] == NAMESPACE


def test_the_example_names_all_components_in_the_order_that_works():
    text = (FOLDER / "example/kustomization.yaml").read_text()
    named = re.findall(r"^  (?:# )?- \.\./components/(\S+)$", text, re.MULTILINE)
    assert named == IN_ORDER
    assert sorted(named) == COMPONENTS


@needs_kustomize
@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_number_of_replicas_is_said_once_and_every_shard_has_its_exporter(copy, count):
    resources = with_components(copy, ["ha"], replicas=count)
    for name in ("comfyui-exporter", "comfyui-exporter-b"):
        stateful = one(resources, "StatefulSet", name)
        assert stateful["spec"]["replicas"] == count
        variables = environment(stateful["spec"]["template"]["spec"])
        taken = set()
        for ordinal in range(count):
            told = variables["COMFYUI_EXPORTER_SHARD"]
            for variable, value in {"POD_INDEX": str(ordinal), "SHARDS": variables["SHARDS"]}.items():
                told = told.replace(f"$({variable})", value)
            taken.add(shard(told))
        assert {(each.index, each.count) for each in taken} == {(index, count) for index in range(count)}


def test_a_variable_is_defined_before_it_is_filled_into_another():
    # Kubernetes leaves $(NAME) as it stands where NAME comes later in the list.
    stateful = yaml.safe_load((FOLDER / "exporter/statefulset.yaml").read_text())
    names = [each["name"] for each in stateful["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert names.index("COMFYUI_EXPORTER_SHARD") > max(names.index("POD_INDEX"), names.index("SHARDS"))


@needs_kustomize
def test_in_what_kustomize_makes_a_variable_is_defined_before_it_is_filled_in_too(everything):
    for pod in pods(everything).values():
        seen = set()
        for variable in pod["containers"][0]["env"]:
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= seen, variable
            seen.add(variable["name"])


@needs_kustomize
def test_every_variable_of_ours_is_one_that_our_program_knows(everything):
    known = {flag.variable for flag in (*FLAGS, *RELAY_FLAGS)}
    for pod in pods(everything).values():
        assert {name for name in environment(pod) if name.startswith("COMFYUI_")} <= known


@needs_kustomize
def test_a_pod_keeps_to_the_restricted_standard_and_has_no_token(everything):
    for pod in pods(everything).values():
        security = pod["securityContext"]
        assert pod["automountServiceAccountToken"] is False
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in own
            assert not any("hostPort" in port for port in container["ports"])
        allowed = {"configMap", "emptyDir", "secret"}
        assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"])


@needs_kustomize
def test_a_pod_is_the_user_of_the_image_and_has_all_folders_of_it(everything):
    image = (ROOT / "exporter/Dockerfile").read_text()
    user = re.search(r"^USER (\d+):(\d+)$", image, re.MULTILINE)
    volume = re.search(r"^VOLUME (\S+)$", image, re.MULTILINE)
    assert user
    assert volume
    for pod in pods(everything).values():
        security = pod["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (int(user[1]), int(user[2]))
        assert security["fsGroup"] == int(user[2])
        (container,) = pod["containers"]
        assert volume[1] in {mount["mountPath"] for mount in container["volumeMounts"]}


@needs_kustomize
def test_every_volume_that_is_mounted_is_there(everything):
    for resource in everything:
        if resource["kind"] not in {"StatefulSet", "Deployment"}:
            continue
        pod = resource["spec"]["template"]["spec"]
        there = {volume["name"] for volume in pod["volumes"]}
        there |= {claim["metadata"]["name"] for claim in resource["spec"].get("volumeClaimTemplates", [])}
        for container in pod["containers"]:
            mounts = container["volumeMounts"]
            assert {mount["name"] for mount in mounts} == there
            # A file of a ConfigMap that is mounted alone is never updated.
            assert not any("subPath" in mount for mount in mounts)


@needs_kustomize
def test_every_config_map_that_a_pod_names_is_made(everything):
    made = {resource["metadata"]["name"] for resource in everything if resource["kind"] == "ConfigMap"}
    for pod in pods(everything).values():
        named = {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
        assert named <= made


@needs_kustomize
def test_another_configuration_restarts_the_pods_and_other_servers_do_not(copy):
    def names():
        return [
            {volume["name"]: volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
            for pod in exporters(with_components(copy, ["ha"])).values()
        ]

    before = names()
    assert before[0] == before[1]
    servers = copy / "example/servers/farm.yml"
    servers.write_text(servers.read_text().replace("gpu0", "gpu1"))
    assert names() == before
    config = copy / "example/comfyui-exporter.yml"
    config.write_text(config.read_text() + "poll_interval: 5s\n")
    after = names()
    assert after[0]["config"] != before[0]["config"]
    assert after[0]["servers"] == before[0]["servers"]


@pytest.mark.parametrize("folder", ["base", "example"])
def test_the_configuration_is_one_that_the_exporter_takes(folder):
    config = load(str(FOLDER / folder / "comfyui-exporter.yml")).config
    stateful = yaml.safe_load((FOLDER / "exporter/statefulset.yaml").read_text())
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    variables = environment(stateful["spec"]["template"]["spec"])
    assert [str(pattern) for pattern in config.server_files] == [f"{mounts['servers']}/*.yml"]
    assert variables["COMFYUI_EXPORTER_CONFIG_FILE"] == f"{mounts['config']}/comfyui-exporter.yml"


@pytest.mark.parametrize("file", [*FOLDER.glob("*/servers.yml"), *FOLDER.glob("*/servers/*.yml")], ids=lambda f: f.name)
def test_each_file_of_servers_is_one_that_the_exporter_takes_with_names(file):
    servers = list(read_servers(str(file)))
    assert servers
    assert all("/" not in server.name and ":" not in server.name for server in servers)


@needs_kustomize
def test_the_servers_in_the_config_map_are_files_that_the_pattern_of_the_configuration_finds(example):
    assert all(name.endswith(".yml") for name in one(example, "ConfigMap", "comfyui-exporter-servers")["data"])


def test_our_image_has_our_version():
    for file in files():
        for image in re.findall(r"image: (\S+)", file.read_text()):
            assert image == f"comfyui-exporter:{__version__}"
    text = yaml.safe_load((FOLDER / "example/kustomization.yaml").read_text())
    assert [image["newTag"] for image in text["images"]] == [__version__]


@needs_kustomize
def test_the_arguments_are_commands_of_our_program(everything):
    for pod in pods(everything).values():
        (container,) = pod["containers"]
        assert container["args"][0] in cli.commands


@needs_kustomize
def test_probes_ask_for_paths_and_ports_that_there_are(everything):
    for pod in pods(everything).values():
        (container,) = pod["containers"]
        ports = {port["name"] for port in container["ports"]}
        asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {get["port"] for get in asked.values()} <= ports
        # A ComfyUI that is slow to answer the first time must not get its exporter killed.
        assert [get["path"] for get in asked.values()] == ["/-/healthy", "/-/healthy", "/-/ready"]


@needs_kustomize
def test_services_budgets_and_policies_are_about_pods_that_there_are(everything):
    templates = [
        resource["spec"]["template"] for resource in everything if resource["kind"] in {"StatefulSet", "Deployment"}
    ]

    def selected(labels):
        return [each for each in templates if labels.items() <= each["metadata"]["labels"].items()]

    for resource in everything:
        spec = resource.get("spec", {})
        if resource["kind"] == "Service":
            chosen = selected(spec["selector"])
            for port in spec["ports"]:
                for template in chosen:
                    assert port["targetPort"] in {p["name"] for p in template["spec"]["containers"][0]["ports"]}
        elif resource["kind"] == "PodDisruptionBudget":
            assert spec["maxUnavailable"] == 1
            chosen = selected(spec["selector"]["matchLabels"])
        elif resource["kind"] == "NetworkPolicy":
            chosen = selected(spec["podSelector"]["matchLabels"])
        else:
            continue
        # Those of the exporter are about both of a pair.
        assert len(chosen) == (1 if "relay" in resource["metadata"]["name"] else 2)


@needs_kustomize
def test_each_pod_has_a_name_of_its_own_by_the_headless_service(everything):
    for name in exporters(everything):
        stateful = one(everything, "StatefulSet", name)
        service = one(everything, "Service", stateful["spec"]["serviceName"])
        assert service["spec"]["clusterIP"] == "None"
    relay = environment(pods(everything)["comfyui-exporter-relay"])
    assert relay["COMFYUI_EXPORTER_RELAY_UPSTREAM"] == "ws://comfyui-exporter-0.comfyui-exporter:8329"


def test_the_two_of_a_pair_select_different_pods_and_never_share_a_store(copy):
    if kubernetes.kustomize() is None:
        pytest.skip("needs kustomize; it is optional")
    resources = with_components(copy, ["ha", "postgresql"])
    first, second = (one(resources, "StatefulSet", name) for name in ("comfyui-exporter", "comfyui-exporter-b"))
    replicas = []
    for stateful in (first, second):
        labels = stateful["spec"]["template"]["metadata"]["labels"]
        assert stateful["spec"]["selector"]["matchLabels"] == labels
        replicas.append(labels["comfyui-exporter/replica"])
        assert "volumeClaimTemplates" not in stateful["spec"]
        store = environment(stateful["spec"]["template"]["spec"])["COMFYUI_EXPORTER_STORE_URL"]
        assert "$(REPLICA)" in store
        assert "$(POD_INDEX)" in store
    assert replicas == ["a", "b"]


@needs_kustomize
def test_without_postgresql_each_pod_has_a_volume_for_its_store(copy):
    for pod in ("comfyui-exporter", "comfyui-exporter-b"):
        stateful = one(with_components(copy, ["ha"]), "StatefulSet", pod)
        (claim,) = stateful["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "state"
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


@needs_kustomize
def test_the_two_of_a_shard_run_on_different_nodes(everything):
    for pod in exporters(everything).values():
        apart = [each for each in pod["topologySpreadConstraints"] if "matchLabelKeys" in each]
        assert [each["matchLabelKeys"] for each in apart] == [["apps.kubernetes.io/pod-index"]]
        assert apart[0]["whenUnsatisfiable"] == "DoNotSchedule"


def relabelled(relabelings, labels):
    """What Prometheus makes of a target's labels; as much of it as we use."""
    labels = dict(labels)
    for rule in relabelings:
        action, pattern = rule["action"], re.compile(rule.get("regex", "(.*)"))
        if action == "labeldrop":
            labels = {name: value for name, value in labels.items() if not pattern.fullmatch(name)}
            continue
        assert action == "replace"
        source = rule.get("separator", ";").join(labels.get(name, "") for name in rule.get("sourceLabels", []))
        if match := pattern.fullmatch(source):
            replacement = rule.get("replacement", "$1")
            labels[rule["targetLabel"]] = re.sub(r"\$(\d)", lambda group: match[int(group[1])], replacement)
    return {name: value for name, value in labels.items() if not name.startswith("__")}


def target(pod, replica, address="10.1.2.3:9188"):
    return {
        "__address__": address,
        "__meta_kubernetes_pod_name": pod,
        "__meta_kubernetes_pod_label_comfyui_exporter_replica": replica,
        "namespace": NAMESPACE,
        "service": "comfyui-exporter",
        "pod": pod,
        "instance": address,
        "job": "comfyui-exporter",
    }


@needs_kustomize
def test_a_pod_that_moves_goes_on_with_the_same_labels(example):
    monitor = one(example, "ServiceMonitor", "comfyui-exporter")
    (endpoint,) = monitor["spec"]["endpoints"]
    before = relabelled(endpoint["relabelings"], target("comfyui-exporter-1", "a", "10.1.2.3:9188"))
    after = relabelled(endpoint["relabelings"], target("comfyui-exporter-1", "a", "10.9.9.9:9188"))
    assert before == after
    assert before["instance"] == "comfyui-exporter-1"
    # ComfyUIExporterDown finds an exporter that never answered by this word.
    assert before["job"] == f"{NAMESPACE}/comfyui-exporter"


@needs_kustomize
def test_the_two_of_a_pair_differ_in_the_label_replica_alone(copy):
    monitor = one(with_components(copy, ["prometheus-operator", "ha"]), "ServiceMonitor", "comfyui-exporter")
    (endpoint,) = monitor["spec"]["endpoints"]
    first, second = (
        relabelled(endpoint["relabelings"], target(pod, replica))
        for pod, replica in (("comfyui-exporter-1", "a"), ("comfyui-exporter-b-1", "b"))
    )
    assert (first.pop("replica"), second.pop("replica")) == ("a", "b")
    assert first == second
    assert first["instance"] == "comfyui-exporter-1"


@needs_kustomize
def test_targets_of_sd_have_the_same_labels_as_those_of_the_service_monitor(copy):
    for components, replica in (["prometheus-operator", "fleet"], None), (["prometheus-operator", "fleet", "ha"], "b"):
        resources = with_components(copy, components)
        assert not [each for each in resources if each["metadata"]["name"] == "comfyui-exporter" and
                    each["kind"] == "ServiceMonitor"], "each series would come twice"  # fmt: skip
        scrape = one(resources, "ScrapeConfig", "comfyui-exporter")["spec"]
        assert scrape["honorLabels"] is True
        (source,) = scrape["httpSDConfigs"]
        assert source["url"] == f"http://comfyui-exporter-0.comfyui-exporter.{NAMESPACE}.svc:9188/sd"
        pod = "comfyui-exporter-b-0" if replica else "comfyui-exporter-0"
        address = f"{pod}.comfyui-exporter.{NAMESPACE}.svc:9188"
        labels = relabelled(scrape["relabelings"], {"__address__": address, "server": "gpu0"})
        assert labels == {
            "server": "gpu0",
            "instance": "comfyui-exporter-0",
            "job": f"{NAMESPACE}/comfyui-exporter",
            **({"replica": replica} if replica else {}),
        }


@needs_kustomize
def test_service_monitors_find_a_service_with_that_port(everything, copy):
    resources = with_components(copy, ["prometheus-operator", "relay"])
    services = [each for each in resources if each["kind"] == "Service"]
    for monitor in (each for each in resources if each["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = (each for each in services if wanted <= each["metadata"]["labels"].items())
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


@needs_kustomize
def test_every_dashboard_is_a_config_map_that_grafana_looks_for(example):
    shipped = {file.name: file.read_text() for file in (ROOT / "grafana/dashboards").glob("*.json")}
    found = {}
    for each in example:
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            found |= each["data"]
            # A larger one cannot be applied by a client, which notes it in an annotation.
            assert len(json.dumps(each)) < 262_144
    assert found == shipped
    assert shipped


def test_the_wanted_number_of_comfyuis_follows_from_the_drain_time():
    (scaled,) = yaml.safe_load_all((FOLDER / "components/keda/scaledobject.yaml").read_text())
    spec = scaled["spec"]
    (trigger,) = spec["triggers"]
    assert "comfyui_queue_drain_seconds" in trigger["metadata"]["query"]
    # A trigger without an answer must not end servers that work.
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert spec["minReplicaCount"] >= 1
    # KEDA can fall back only with this type.
    assert trigger["metricType"] == "AverageValue"
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


@needs_kustomize
def test_what_the_page_adds_to_a_kustomization_works(copy):
    blocks = [yaml.safe_load(block) for block in fenced((ROOT / "docs/kubernetes.md").read_text(), "yml")]
    assert len(blocks) > 2
    file = copy / "example/kustomization.yaml"
    with_components(copy, ["prometheus-operator", "fleet"])
    text = yaml.safe_load(file.read_text())
    for block in blocks:
        for key, value in block.items():
            text[key] = [*text.get(key, []), *value]
    file.write_text(yaml.safe_dump(text))
    resources = build(file.parent)
    for resource in resources:
        check(resource)
        if resource["kind"] == "PrometheusRule":
            assert resource["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    sources = one(resources, "ScrapeConfig", "comfyui-exporter")["spec"]["httpSDConfigs"]
    assert [source["url"] for source in sources] == [
        f"http://comfyui-exporter-{ordinal}.comfyui-exporter.{NAMESPACE}.svc:9188/sd" for ordinal in range(2)
    ]
    (pod,) = exporters(resources).values()
    assert environment(pod)["COMFYUI_EXPORTER_LOG_LEVEL"] == "debug"
