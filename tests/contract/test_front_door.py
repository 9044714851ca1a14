"""What a stranger finds first: the pages name what there is, and the tools of the host run what runs at home."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen_image_studio.contract.words import Operation
from qwen_image_studio.models.needs import least_gib
from qwen_image_studio.models.table import MODELS
from tests.support import ROOT

SERVER = ROOT / "server/qwen_image_studio"
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if path.name != "README.md" or path.parent != ROOT  # tests/plugin looks at that one, and at its translations
)
PATH = re.compile(r"`([a-z_.]+(?:/[\w.-]+)*(?:/|\.(?:py|md|txt|toml|yaml|json|sh)))`")


def named(page: Path) -> str:
    """A page, as a test's id."""
    return str(page.relative_to(ROOT))


def loaded(path: str) -> Any:
    """A YAML file of the repository."""
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def pins(path: str) -> dict[str, str]:
    """The exact versions of a file of requirements, by package."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE))


# -- pages ---------------------------------------------------------------------------------------------------------


def anchor(heading: str) -> str:
    """The name under which hosts link to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_of_a_page_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), f"{target} is not there"
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in map(anchor, headings), f"{target} has no heading #{heading}"


def known(path: str) -> bool:
    """Whether there is such a file or folder, seen from the root or from the package of the server."""
    return any((base / path).exists() for base in (ROOT, SERVER))


@pytest.mark.parametrize(
    "page", [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "docs/architecture.md"], ids=named
)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    found = PATH.findall(page.read_text(encoding="utf-8"))
    assert len(found) > 10
    assert [path for path in found if "NAME" not in path and "NNNN" not in path and not known(path)] == []


def test_commands_of_make_that_the_pages_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, ROOT / "README.md"])
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets


def test_the_page_on_sizing_has_the_figures_of_the_table_of_models() -> None:
    rows = set(
        re.findall(r"^\| ([\w.-]+) \| ([\d.]+) GiB \| ([\d.]+) GiB \|$", (ROOT / "docs/sizing.md").read_text(), re.M)
    )
    assert rows == {(model.name, f"{model.memory_gib:.2g}", f"{least_gib(model):.0f}") for model in MODELS.values()}


def test_the_page_on_the_api_has_every_operation() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [row for row in rows if row != "operation"] == [str(name) for name in Operation]


def test_the_changelog_begins_with_what_is_unreleased_or_this_version() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    version = loaded("manifest.yaml")["version"]
    assert version in headings[:2]
    assert headings[0] in {"Unreleased", version}


# -- what the host runs --------------------------------------------------------------------------------------------


def test_the_workflow_runs_what_runs_at_home_and_nothing_else() -> None:
    [job] = loaded(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert [name for name in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name)] == [], (
        "pin it by its commit"
    )


def test_every_file_of_pins_is_kept_up_to_date() -> None:
    files = [*ROOT.glob("requirements.txt"), *ROOT.glob("[!.]*/**/requirements.txt")]
    pip = next(one for one in loaded(".github/dependabot.yml")["updates"] if one["package-ecosystem"] == "pip")
    assert set(pip["directories"]) == {f"/{file.parent.relative_to(ROOT)}".replace("/.", "/") for file in files}


def test_the_hooks_of_a_commit_use_the_ruff_of_the_tests() -> None:
    [repository] = loaded(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "code of other repositories does not run at a commit"
    wanted = {need for hook in repository["hooks"] for need in hook.get("additional_dependencies", ())}
    assert wanted == {f"ruff=={pins('tests/requirements.txt')['ruff']}"}


@pytest.mark.parametrize(
    ("message", "is_refused"),
    [
        ("Make the sky red\n", False),
        ("Make the sky red\n\nThe sun was low.\n", False),
        (f"Make {'the sky ' * 9}red\n", True),
        ("Make the sky red.\n", True),
        ("Make the sky red\nThe sun was low.\n", True),
    ],
)
def test_the_form_of_a_commits_subject_is_checked(message: str, is_refused: bool) -> None:
    [repository] = loaded(".pre-commit-config.yaml")["repos"]
    [hook] = [hook for hook in repository["hooks"] if hook["id"] == "subject"]
    assert bool(re.search(hook["entry"], message, flags=re.MULTILINE)) is is_refused


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_a_form_for_issues_asks_for_each_thing_once(form: str) -> None:
    body = loaded(f".github/ISSUE_TEMPLATE/{form}.yml")["body"]
    ids = [field["id"] for field in body]
    assert ids
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in body)
