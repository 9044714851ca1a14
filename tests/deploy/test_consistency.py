"""What Dockerfile, compose.yaml and manifests say of the server and of each other is so."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from qwen_image_studio import __version__
from qwen_image_studio.__main__ import cli
from qwen_image_studio.host.probe import ROLES
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.settings import PREFIX, Settings
from tests.deploy import lint
from tests.support import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
OURS = {name: each for name, each in COMPOSE["services"].items() if each["image"].startswith("qwen-image-studio")}
FILES = [
    ROOT / "Dockerfile",
    ROOT / "compose.yaml",
    *sorted(path for path in (ROOT / "deploy").rglob("*") if path.suffix in {".yaml", ".sh", ".md"}),
]
UID = "10001"
END_S = 30
"""Seconds that a process has to end beyond those for the picture in hand."""
GIVEN = {"studio", "studio-scaler"}
"""Secrets that the operator makes."""


@pytest.fixture(scope="module", params=lint.OVERLAYS, ids=lambda path: path.name)
def overlay(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What an overlay makes, all objects."""
    return lint.rendered(request.param)


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    """Objects of these kinds, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in kinds}


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pods of everything that runs, as specs, by name."""
    found = of_kind(objects, "Deployment", "Job")
    return {name: each["spec"]["template"]["spec"] for name, each in found.items()}


def containers(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All containers."""
    for pod in pods(objects).values():
        yield from [*pod.get("initContainers", []), *pod["containers"]]


# -- what is the server's ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_is_a_setting(path: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z0-9_]+\b", path.read_text(encoding="utf-8"))) <= known


def check_command(words: list[str]) -> None:
    """Fail where a command line is none of the server's."""
    command: click.Command = cli
    context = click.Context(cli, info_name="qwen-image-studio")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command, context = found, click.Context(found, parent=context, info_name=name)
    command.make_context(command.name, list(words))


def test_every_command_is_one() -> None:
    commands = [each["command"] for each in OURS.values()]
    [line] = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    for words in [*commands, yaml.safe_load(line)]:
        check_command(words)
    for words in (["wroker"], ["worker", "--devise", "cpu"], ["keys", "ad", "demo"]):
        with pytest.raises(click.UsageError):
            check_command(words)


def test_every_container_runs_a_command_of_the_image(overlay: list[dict[str, Any]]) -> None:
    for container in containers(overlay):
        assert "command" not in container, "it would go past tini"
        check_command(container["args"])
        assert container["args"][0] in {*ROLES, "migrate"}


def test_there_is_one_port() -> None:
    port = str(Settings.model_fields["port"].default)
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [port]
    assert f"STUDIO_PORT={port}" in DOCKERFILE
    assert OURS["web"]["environment"]["STUDIO_PORT"] == port
    assert OURS["web"]["ports"] == [f"${{PUBLISH:-127.0.0.1:{port}}}:{port}"], "nobody else's unless it is asked for"


def test_the_service_leads_to_the_port_of_web(overlay: list[dict[str, Any]]) -> None:
    service = of_kind(overlay, "Service")["studio"]["spec"]
    web = of_kind(overlay, "Deployment")["studio-web"]["spec"]["template"]
    assert service["selector"].items() <= web["metadata"]["labels"].items()
    assert [port["targetPort"] for port in service["ports"]] == ["http"]
    [container] = [each for each in web["spec"]["containers"] if each["name"] == "web"]
    assert container["ports"] == [{"name": "http", "containerPort": Settings.model_fields["port"].default}]


def test_all_images_have_the_servers_version(overlay: list[dict[str, Any]]) -> None:
    both = {f"qwen-image-studio:{__version__}", f"qwen-image-studio:{__version__}-cpu"}
    assert {each["image"] for each in OURS.values()} == both
    assert {each["image"] for each in containers(overlay)} == both
    assert set(re.findall(r"--tag (\S+)", DOCKERFILE)) == both
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [__version__]
    assert list(of_kind(overlay, "Job")) == [f"studio-migrate-{__version__.replace('.', '-')}"], "a Job never changes"


def test_only_what_paints_has_the_image_for_cards(overlay: list[dict[str, Any]]) -> None:
    assert [name for name, each in OURS.items() if not each["image"].endswith("-cpu")] == ["worker"]
    for container in containers(overlay):
        assert container["image"].endswith("-cpu") is (container["name"] != "worker")
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) is (container["name"] == "worker")


# -- probes and ends -----------------------------------------------------------------------------------------------


def test_a_probe_asks_for_what_its_container_is(overlay: list[dict[str, Any]]) -> None:
    for container in containers(overlay):
        role = container["args"][0]
        if role == "migrate":
            continue
        for name in ("startupProbe", "livenessProbe"):
            assert name in container, container["name"]
        if role == "web":
            paths = [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")]
            assert paths == ["/v1/health/live", "/v1/health/live", "/v1/health/accepts"]
            continue
        asked = ["python", "-m", "qwen_image_studio.host.probe", role]
        assert container["livenessProbe"]["exec"]["command"] == asked
        for name in {"startupProbe", "readinessProbe"} & container.keys():
            assert container[name]["exec"]["command"] in (asked, [*asked, "--ready"])


def test_a_worker_may_load_for_an_hour(overlay: list[dict[str, Any]]) -> None:
    workers = [each for each in containers(overlay) if each["name"] == "worker"]
    assert workers
    for worker in workers:
        assert worker["startupProbe"]["failureThreshold"] * worker["startupProbe"]["periodSeconds"] >= 3600
        assert worker["startupProbe"]["exec"]["command"][-1] == "--ready"


def settings_of(container: dict[str, Any]) -> dict[str, str]:
    """The variables that a container is given by value."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def test_nobody_is_killed_in_the_middle_of_a_picture(overlay: list[dict[str, Any]]) -> None:
    usual = Settings.model_fields["shutdown_grace_s"].default
    for pod in of_kind(overlay, "Deployment").values():
        spec = pod["spec"]["template"]["spec"]
        for container in spec["containers"]:
            grace_s = float(settings_of(container).get("STUDIO_SHUTDOWN_GRACE_S", usual))
            finishes = 0.0 if container["name"] == "web" else grace_s
            assert spec["terminationGracePeriodSeconds"] >= finishes + END_S, container["name"]


def test_compose_kills_nobody_in_the_middle_of_a_picture() -> None:
    usual = Settings.model_fields["shutdown_grace_s"].default
    for name in ("worker", "demo-worker", "light"):
        grace_s = float(OURS[name]["environment"].get("STUDIO_SHUTDOWN_GRACE_S", usual))
        assert int(OURS[name]["stop_grace_period"].removesuffix("s")) >= grace_s + END_S


def test_the_image_ends_as_the_processes_are_told_to() -> None:
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["tini", "--", "qwen-image-studio"]' in DOCKERFILE
    assert 'CMD ["python", "-m", "qwen_image_studio.host.probe"]' in DOCKERFILE


# -- what they may ---------------------------------------------------------------------------------------------------


def test_nothing_runs_as_root_or_writes_beside_its_volumes(overlay: list[dict[str, Any]]) -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [f"{UID}:{UID}"]
    assert f"useradd --uid {UID} --gid {UID}" in (ROOT / "deploy/install.sh").read_text(encoding="utf-8")
    for pod in pods(overlay).values():
        may = pod["securityContext"]
        assert (may["runAsNonRoot"], str(may["runAsUser"]), str(may["fsGroup"])) == (True, UID, UID)
        assert pod["automountServiceAccountToken"] is False
    for container in containers(overlay):
        may = container["securityContext"]
        assert (may["allowPrivilegeEscalation"], may["readOnlyRootFilesystem"]) == (False, True)
        assert may["capabilities"] == {"drop": ["ALL"]}
    for service in OURS.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_the_dockerfile_installs_by_the_script_that_is_tried() -> None:
    """Whatever else a RUN line did could not be tried without Docker."""
    runs = re.findall(r"^RUN (?:--mount=\S+ )?(.*)$", DOCKERFILE, re.MULTILINE)
    prefix = "/opt/qwen-image-studio"
    steps = ["system", f"packages {prefix}", f"server {prefix}"]
    assert runs == [f"sh deploy/install.sh {step}" for step in steps]
    assert f'PATH="{prefix}/bin:' in DOCKERFILE


def is_ignored(name: str) -> bool:
    """Whether a file stays out of what Docker builds from: the last pattern decides that matches it or a folder of it.

    Unlike git's, a pattern begins at the root, and what a folder brings in is all that is in it.
    """
    whole, ignored = Path(name), False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, str(each)) for each in (whole, *whole.parents)):
            ignored = not line.startswith("!")
    return ignored


def test_the_image_gets_what_is_copied_and_nothing_else() -> None:
    copied = [word for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert len(copied) >= 8
    for name in copied:
        path = ROOT / name
        assert path.exists()
        inside = [each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts]
        files = inside if path.is_dir() else [path]
        assert [each for each in files if is_ignored(str(each.relative_to(ROOT)))] == []
    others = (".env", ".git/HEAD", "data/studio.sqlite", "tests/conftest.py", "server/training/x.py", "main.py")
    for name in (*others, "server/qwen_image_studio/web/__pycache__/app.pyc", "server/qwen_image_studio/x.pyc"):
        assert is_ignored(name), name


# -- what they say of each other -------------------------------------------------------------------------------------


def test_every_name_is_that_of_something(overlay: list[dict[str, Any]]) -> None:
    maps, claims = of_kind(overlay, "ConfigMap"), of_kind(overlay, "PersistentVolumeClaim")
    used: set[str] = set()
    for pod in pods(overlay).values():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        claimed = {each["persistentVolumeClaim"]["claimName"] for each in volumes.values() if len(each) > 1 and
                   "persistentVolumeClaim" in each}  # fmt: skip
        assert claimed <= claims.keys()
        used |= claimed
        mounted = set()
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            mounted |= {mount["name"] for mount in container["volumeMounts"]}
            for source in container["envFrom"]:
                [(kind, named)] = source.items()
                assert named["name"] in (maps if kind == "configMapRef" else GIVEN)
        assert mounted == volumes.keys(), "no more and no less"
    assert used == claims.keys(), "nothing is claimed in vain"


def test_a_budget_is_for_the_pods_of_one_deployment(overlay: list[dict[str, Any]]) -> None:
    deployments = of_kind(overlay, "Deployment")
    for name, budget in of_kind(overlay, "PodDisruptionBudget").items():
        wanted = budget["spec"]["selector"]["matchLabels"]
        assert wanted == deployments[name]["spec"]["selector"]["matchLabels"]
    selectors = [sorted(each["spec"]["selector"]["matchLabels"].items()) for each in deployments.values()]
    assert len({tuple(each) for each in selectors}) == len(deployments), "none takes another's pods for its own"
    assert of_kind(overlay, "PodDisruptionBudget").keys() == deployments.keys()


def settings_map(objects: list[dict[str, Any]]) -> dict[str, str]:
    """The settings of all processes."""
    [found] = of_kind(objects, "ConfigMap").values()
    return dict(found["data"])


def test_what_web_offers_is_what_workers_paint(overlay: list[dict[str, Any]]) -> None:
    offered = settings_map(overlay)["STUDIO_MODELS"].split(",")
    painted = [settings_of(each)["STUDIO_MODELS"] for each in containers(overlay) if each["name"] == "worker"]
    assert sorted(painted) == sorted(offered)
    assert set(offered) <= MODELS.keys()


def test_every_worker_that_is_scaled_is_scaled_by_its_own_model(overlay: list[dict[str, Any]]) -> None:
    scalers, deployments = of_kind(overlay, "ScaledObject"), of_kind(overlay, "Deployment")
    for scaler in scalers.values():
        spec = scaler["spec"]
        deployment = deployments[spec["scaleTargetRef"]["name"]]["spec"]
        assert "replicas" not in deployment, "an apply would undo what was scaled"
        model = settings_of(deployment["template"]["spec"]["containers"][0])["STUDIO_MODELS"]
        [trigger] = spec["triggers"]
        assert set(re.findall(r"model = '([^']*)'", trigger["metadata"]["query"])) == {model}
        assert trigger["authenticationRef"]["name"] in of_kind(overlay, "TriggerAuthentication")
        assert spec["minReplicaCount"] >= 1
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert min(spec["cooldownPeriod"], down["stabilizationWindowSeconds"]) >= 600, "longer than weights load"
    if scalers:
        workers = {name for name in deployments if name.startswith("studio-worker")}
        assert {each["spec"]["scaleTargetRef"]["name"] for each in scalers.values()} == workers


@pytest.mark.parametrize("component", sorted(lint.KUBERNETES.glob("components/*")), ids=lambda path: path.name)
def test_a_component_fits_the_smallest_installation(component: Path, tmp_path: Path) -> None:
    """Each can be added alone; some are in no overlay."""
    near = Path(*[".."] * len(tmp_path.parts))
    wanted = {"resources": [lint.KUBERNETES / "overlays/one-model"], "components": [component]}
    entries = {key: [str(near / path.relative_to("/")) for path in paths] for key, paths in wanted.items()}
    kinds = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({**kinds, **entries}))
    assert lint.manifests(tmp_path) == []
    made = lint.rendered(tmp_path)
    test_every_name_is_that_of_something(made)
    if component.name == "safety":
        scored = [name for name, pod in of_kind(made, "Deployment").items() if "initContainers" in
                  pod["spec"]["template"]["spec"]]  # fmt: skip
        assert scored == list(of_kind(made, "Deployment")), "whoever asks for scores has the classifier beside it"
    if component.name == "s3":
        assert settings_map(made)["STUDIO_STORAGE_URL"].startswith("s3://")
        assert of_kind(made, "PersistentVolumeClaim").keys() == {"studio-weights"}
