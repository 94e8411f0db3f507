"""deploy/kubernetes/ as kustomize makes it, and as its files stand there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.compose import ROOT

FOLDER = ROOT / "deploy/kubernetes"
COMPONENTS = sorted(folder.name for folder in (FOLDER / "components").iterdir() if folder.is_dir())

Resource = dict[str, Any]


def kustomize() -> list[str] | None:
    """The command that builds a folder, if there is one that knows components; both programs are optional."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            said = subprocess.run([*command, str(FOLDER / "base")], capture_output=True, check=False)
            if said.returncode == 0:
                return command
    return None


def build(folder: Path) -> list[Resource]:
    """What `kubectl apply -k FOLDER` would apply."""
    command = kustomize()
    assert command is not None
    said = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "deprecated" not in said.stderr, said.stderr
    return [resource for resource in yaml.safe_load_all(said.stdout) if resource]


def copied(folder: Path) -> Path:
    """A copy of all that kustomize reads, to change; where deploy/kubernetes is in it."""
    for part in ("deploy/kubernetes", "grafana/dashboards"):
        shutil.copytree(ROOT / part, folder / part)
    return folder / "deploy/kubernetes"


def with_components(copy: Path, components: Sequence[str], replicas: int = 3) -> list[Resource]:
    """The example with these components and so many shards."""
    file = copy / "example/kustomization.yaml"
    text = yaml.safe_load((FOLDER / "example/kustomization.yaml").read_text())
    text["components"] = [f"../components/{name}" for name in components]
    text["replicas"] = [{"name": "comfyui-exporter", "count": replicas}]
    file.write_text(yaml.safe_dump(text))
    return build(file.parent)


def files() -> list[Path]:
    """All manifests that are complete as they stand, kustomize's own apart."""
    return [
        file
        for file in sorted(FOLDER.rglob("*.yaml"))
        if file.name != "kustomization.yaml" and file.parent.name != "shards"
    ]


def one(resources: Sequence[Resource], kind: str, name: str) -> Resource:
    """The resource of this kind and name."""
    found = [each for each in resources if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pods(resources: Sequence[Resource]) -> dict[str, Resource]:
    """The specs of pods, by the name of what makes them."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in resources
        if each["kind"] in {"StatefulSet", "Deployment"}
    }


def environment(pod: Resource) -> dict[str, str]:
    """The plain variables of the first container."""
    return {each["name"]: each["value"] for each in pod["containers"][0]["env"] if "value" in each}
