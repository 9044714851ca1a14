"""Linters of other people on the Dockerfile, compose.yaml and the manifests: ``python -m tests.deploy.lint``.

They are in .venv-deploy, which .ci/bootstrap.py makes for the tests, and need no network, no Docker and no cluster.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT

ENVIRONMENT = ROOT / ".venv-deploy"
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = sorted(KUBERNETES.glob("overlays/*"))
VERSION = "1.37"
"""The version of Kubernetes whose schemas the manifests are held against."""
PROFILES = ("demo", "gpu", "safety", "redis")
_HERE = Path(__file__).parent
_OWN_SCHEMA = {"keda.sh/v1alpha1": _HERE / "keda.schema.json"}
"""Kinds that Kubernetes itself does not have, by their version: what we use of each."""


def run(name: str, *arguments: str | Path) -> list[str]:
    """Run a linter; what it found, as lines, none where it found nothing."""
    answer = subprocess.run(
        [ENVIRONMENT / "bin" / name, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if answer.returncode == 0:
        return []
    return [line for line in (answer.stdout + answer.stderr).splitlines() if line.strip()] or [f"{name} failed"]


def docker_compose() -> Path | None:
    """Docker's own reader of compose files; None where its package has none for this machine."""
    return next(ENVIRONMENT.glob("lib/python*/site-packages/compose/docker-compose"), None)


# -- each kind of file ---------------------------------------------------------------------------------------------


def dockerfile(path: Path) -> list[str]:
    """What hadolint finds in a Dockerfile."""
    return run("hadolint", "--no-color", path)


def compose(path: Path) -> list[str]:
    """What the schema of compose files finds, and, with each profile, Docker's own reader."""
    found = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    if found or (program := docker_compose()) is None:
        return found
    for profile in PROFILES:
        command = [str(program), "--file", str(path), "--profile", profile, "config", "--quiet"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)
        found += [f"profile {profile}: {line}" for line in answer.stderr.splitlines()]
    return found


def rendered(folder: Path) -> list[dict[str, Any]]:
    """What a kustomization makes, as `kubectl apply --kustomize` sends it. Raises ValueError where it makes none."""
    answer = subprocess.run(
        [ENVIRONMENT / "bin/kubectl", "kustomize", folder], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise ValueError(answer.stderr.strip())
    return [document for document in yaml.safe_load_all(answer.stdout) if document]


def manifests(folder: Path) -> list[str]:
    """What is wrong with a kustomization, and with what it makes."""
    try:
        documents = rendered(folder)
    except ValueError as error:
        return [str(error)]
    with tempfile.TemporaryDirectory() as temporary:
        return [line for found in _checked(documents, Path(temporary)) for line in found]


def _checked(documents: Sequence[dict[str, Any]], temporary: Path) -> Iterator[list[str]]:
    plain = [each for each in documents if each["apiVersion"] not in _OWN_SCHEMA]
    (temporary / "plain.yaml").write_text(yaml.safe_dump_all(plain))
    # A kind that it does not know is only a warning to it, and has to be one that we have a schema of.
    yield run("kubernetes-validate", "--kubernetes-version", VERSION, "--strict", "--quiet", temporary / "plain.yaml")
    yield [f"{each['kind']}: there is no schema of it" for each in plain if not _is_of_kubernetes(each["apiVersion"])]
    for number, document in enumerate(each for each in documents if each["apiVersion"] in _OWN_SCHEMA):
        path = temporary / f"{document['kind']}-{number}.json"
        path.write_text(json.dumps(document))
        yield run("check-jsonschema", "--schemafile", _OWN_SCHEMA[document["apiVersion"]], path)


def _is_of_kubernetes(version: str) -> bool:
    """Whether a version is Kubernetes' own: v1, apps/v1, policy/v1; what is added to it has a domain in its group."""
    group = version.rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def style(paths: Sequence[Path]) -> list[str]:
    """What yamllint finds in YAML files."""
    return run("yamllint", "--strict", "--config-file", _HERE / "yamllint.yaml", *paths)


def findings() -> list[str]:
    """What all linters find in the tree."""
    found = [*dockerfile(ROOT / "Dockerfile"), *compose(ROOT / "compose.yaml")]
    for overlay in OVERLAYS:
        found += [f"{overlay.name}: {line}" for line in manifests(overlay)]
    return [*found, *style([ROOT / "compose.yaml", ROOT / "deploy"])]


def main() -> int:
    """Print what is found; 1 where there is any."""
    found = findings()
    print("\n".join(found) or "deploy: nothing found")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
