"""What ``.difyignore`` lets into the package, that this alone runs, and that it is what the marketplace takes."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import requests
from packaging.requirements import Requirement
from packaging.version import Version
from pathspec import GitIgnoreSpec

from tests.plugin.test_declaration import LANGUAGES, MANIFEST, PROVIDER, TOOLS
from tests.support import ROOT
from tests.support.daemon import Daemon
from tests.support.studio import free_port
from tests.support.waiting import until

PACKAGER = runpy.run_path(str(ROOT / ".ci/package.py"))
MAX_BYTES = 2_000_000
TRANSLATIONS = [f"readme/README_{language}.md" for language in LANGUAGES if language != "en_US"]
HAN, KANA, EAST_ASIAN = "[\u3400-\u4dbf\u4e00-\u9fff]", "[\u3040-\u30ff]", "[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]"
OWN_LETTERS = {"zh_Hans": HAN, "ja_JP": KANA, "pt_BR": "[áâãçéêíóôõúÁÉÍÓÚ]"}


def answered(port: int) -> int | None:
    """The status of ``GET /`` on a port of loopback; None while nobody listens."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=60).status_code
    except requests.ConnectionError:
        return None


def packaged() -> Iterator[Path]:
    """Files of the package, found as Dify's packager finds them: everything that ``.difyignore`` does not exclude."""
    spec = GitIgnoreSpec.from_lines((ROOT / ".difyignore").read_text().splitlines())
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not spec.match_file(f"{here / name}/")]
        yield from (here / name for name in files if not spec.match_file(str(here / name)))


@pytest.fixture(scope="module")
def package() -> list[Path]:
    """Files of the package, relative to its root."""
    return sorted(packaged())


@pytest.fixture
def unpacked(package: list[Path], tmp_path: Path) -> Path:
    """A folder that holds the package and nothing else."""
    for path in package:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


def test_top_level_is_exactly_the_plugin(package: list[Path]) -> None:
    assert {path.parts[0] for path in package} == PACKAGER["TOP"]


def test_nothing_else_travels(package: list[Path]) -> None:
    suffixes = {path.suffix for path in package}
    assert suffixes <= {".py", ".yaml", ".txt", ".md", ".svg", ".png", ".jpg", ".webp", ""}, "none of a page's kinds"
    assert not [path for path in package if path.name in {"pyproject.toml", ".env", "uv.lock"}]
    assert not [path for path in package if {"tests", "__pycache__", "server"} & set(path.parts)]


def test_size(package: list[Path]) -> None:
    assert sum((ROOT / path).stat().st_size for path in package) < MAX_BYTES


def test_nothing_of_the_studio_page_travels(package: list[Path]) -> None:
    """It is the server's: its files, its libraries, what tests and draws it."""
    page = [path for path in (ROOT / "server/qwen_image_studio/web/page").rglob("*") if path.is_file()]
    contents = {path.read_bytes() for path in page if path.stat().st_size}
    assert len(contents) > 20
    assert [path for path in package if (ROOT / path).read_bytes() in contents] == []
    code = [(ROOT / path).read_text() for path in package if path.suffix == ".py"]
    assert [text for text in code if re.search(r"preact|<script|text/html|/static/", text)] == []


@pytest.mark.parametrize(
    "path",
    [
        "server/app.py",
        "server/qwen_image_studio/web/page/index.html",
        "server/qwen_image_studio/web/page/static/js/main.js",
        "server/qwen_image_studio/web/page/static/vendor/preact.mjs",
        "tests/page/test_words.py",
        "tests/support/daemon.py",
        "declaration/image_job.yaml",
        "docs/architecture.md",
        "examples/chatflow.yml",
        "benchmarks/load.py",
        "deploy/install.sh",
        "Dockerfile",
        "compose.yaml",
        ".dockerignore",
        "Makefile",
        "pyproject.toml",
        ".ci/run",
        ".github/workflows/ci.yml",
        ".pre-commit-config.yaml",
        ".env.example",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "examples/notebook.ipynb",
        ".git/HEAD",
        ".gitignore",
        ".venv/bin/python",
        ".venv-plugin/bin/python",
        "node_modules/openai/index.js",
        ".env",
        "data/studio.sqlite",
        "demo/out.png",
        "dist/plugin.difypkg",
        ".mypy_cache/x",
        "tools/__pycache__/client.cpython-312.pyc",
    ],
)
def test_kept_out(path: str) -> None:
    spec = GitIgnoreSpec.from_lines((ROOT / ".difyignore").read_text().splitlines())
    assert spec.match_file(path)


def test_no_pattern_brings_back() -> None:
    """Dify's packager takes the first match that excludes; a later !line does nothing there (trap T6)."""
    assert not [line for line in (ROOT / ".difyignore").read_text().splitlines() if line.startswith("!")]


def test_make_package_takes_the_same_files(package: list[Path]) -> None:
    assert PACKAGER["files"]() == package


@pytest.mark.parametrize(
    ("stray", "named"),
    [
        ("pictures/customer.png", "pictures"), (".DS_Store", ".DS_Store"), ("notes.txt", "notes.txt"),
        ("tools/.DS_Store", "tools/.DS_Store"), ("tools/parameters/batch.py.orig", "tools/parameters/batch.py.orig"),
    ],
)  # fmt: skip
def test_nothing_that_lies_about_is_packed(package: list[Path], unpacked: Path, stray: str, named: str) -> None:
    (unpacked / ".ci").mkdir()
    for name in (".ci/package.py", ".difyignore"):
        shutil.copy(ROOT / name, unpacked / name)
    command = [sys.executable, ".ci/package.py"]
    packed = subprocess.run(command, cwd=unpacked, capture_output=True, text=True, check=True)
    assert f"{len(package)} files" in packed.stdout
    (unpacked / stray).parent.mkdir(exist_ok=True)
    (unpacked / stray).write_text("somebody's")
    refused = subprocess.run(command, cwd=unpacked, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"package: {named}: does not belong")


def test_the_package_runs_without_the_repository(unpacked: Path, sdk_python: Path) -> None:
    with Daemon(sdk_python, unpacked) as daemon:
        outcome = daemon.invoke("qwen_image", "image_edit", {"image_id": "i"}, {"server_url": "http://a"})
    assert outcome.error is not None
    assert outcome.error.message.startswith("prompt is missing")
    assert daemon.noise == []


def test_the_package_runs_without_credentials_as_the_marketplace_starts_it(unpacked: Path, sdk_python: Path) -> None:
    """The reviewers' install test: says that it serves, and answers 200 or 404."""
    port, log = free_port(), unpacked / "marketplace.log"
    environment = {"INSTALL_METHOD": "serverless", "SERVERLESS_HOST": "127.0.0.1", "SERVERLESS_PORT": str(port)}
    command = [str(sdk_python.absolute()), "-m", "main"]
    with log.open("wb") as output:
        plugin = subprocess.Popen(
            command, cwd=unpacked, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: answered(port) or plugin.poll() is not None)
        status = answered(port)
    finally:
        plugin.kill()
        plugin.wait(60)
    assert status in {200, 404}, log.read_text()
    assert "Serving Flask app" in log.read_text()


def test_the_marketplace_finds_what_it_asks_for(package: list[Path]) -> None:
    assert {Path(name) for name in ("manifest.yaml", "README.md", "PRIVACY.md", "requirements.txt")} <= set(package)
    privacy = (ROOT / "PRIVACY.md").read_text()
    for said in ("`server_url`", "## What is sent to the server", "## What is kept", "third parties"):
        assert said in privacy
    assert datetime.fromisoformat(MANIFEST["created_at"]) < datetime.now(UTC), "none from the future"
    assert Version(MANIFEST["meta"]["minimum_dify_version"]) >= Version("1.0.0"), "which brought plugins"
    sdk = Requirement((ROOT / "requirements.txt").read_text().splitlines()[0])
    assert (sdk.name, sdk.specifier.contains("0.4.9")) == ("dify_plugin", False), "the oldest SDK it takes is 0.5.0"


@pytest.mark.parametrize("icon", sorted({MANIFEST[key] for key in ("icon", "icon_dark")}))
def test_icon_is_our_own_and_whole(icon: str, package: list[Path]) -> None:
    assert icon == Path(icon).name
    assert len(icon) <= 128
    assert {PROVIDER["identity"][key] for key in ("icon", "icon_dark")} == {MANIFEST["icon"], MANIFEST["icon_dark"]}
    assert Path("_assets", icon) in package
    text = (ROOT / "_assets" / icon).read_text()
    assert "DIFY_MARKETPLACE_TEMPLATE_ICON_DO_NOT_USE" not in text
    assert "M20 20 V80" not in text, "the letter of the oldest template"
    drawing = ElementTree.fromstring(text)  # noqa: S314 - our own file
    _, _, width, height = (float(side) for side in drawing.attrib["viewBox"].split())
    assert width == height
    for element in drawing.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "image", "foreignObject"}
        assert not [name for name in element.attrib if name.endswith("href") or name.startswith("on")]


def test_dark_icon_is_another_one() -> None:
    assert (ROOT / "_assets" / MANIFEST["icon"]).read_bytes() != (ROOT / "_assets" / MANIFEST["icon_dark"]).read_bytes()


def said_in(path: str) -> str:
    """A readme without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", (ROOT / path).read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The shell commands of a text's fenced blocks, without their comments."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]


def code(text: str) -> set[str]:
    """What a text sets in code type."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_readme_is_short_and_has_the_sections_that_the_marketplace_suggests() -> None:
    text = said_in("README.md")
    assert {"Features", "Setup", "Usage", "Privacy"} <= set(re.findall(r"^## (.*)$", text, flags=re.MULTILINE))
    prose = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    assert len(prose.split()) <= 550


def test_pictures_of_the_readme_travel(package: list[Path]) -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert shown
    assert {Path(name) for name in shown} <= set(package)


def test_readme_has_no_chinese() -> None:
    """The marketplace refuses it there and points at ``readme/``."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert not [line for line in lines if re.search(EAST_ASIAN, line)]


def test_readme_is_translated_into_every_language_of_dify(package: list[Path]) -> None:
    names = [path.name for path in package if path.parts[0] == "readme"]
    found = [re.fullmatch(r"README_([a-z]{2}_[A-Za-z]{2,})\.md", name) for name in names]
    assert {match and match[1] for match in found} == {"zh_Hans", "ja_JP", "pt_BR"} == set(LANGUAGES) - {"en_US"}


@pytest.mark.parametrize("language", OWN_LETTERS)
def test_translation_is_in_its_language(language: str) -> None:
    text = said_in(f"readme/README_{language}.md")
    assert len(re.findall(OWN_LETTERS[language], text)) > 90
    for link in re.findall(r"\]\((README_.*?|\.\./README)\.md\)", text):
        assert language not in link
    assert text.count("README_") == len(TRANSLATIONS) - 1, "one link to each other translation"


@pytest.mark.parametrize("path", TRANSLATIONS)
def test_translation_has_the_sections_and_commands_of_the_readme(path: str) -> None:
    english, translation = (ROOT / "README.md").read_text(), (ROOT / path).read_text()
    sections = [re.findall(r"^## ", said_in(file), flags=re.MULTILINE) for file in ("README.md", path)]
    assert len(sections[0]) == len(sections[1])
    assert len(re.findall(r"^\|", english, flags=re.MULTILINE)) == len(re.findall(r"^\|", translation, re.MULTILINE))
    assert commands(translation) == commands(english)
    assert {"make demo", "make serve", ".venv/bin/qwen-image-studio keys add dify"} <= set(commands(translation))


@pytest.mark.parametrize("path", TRANSLATIONS)
def test_translation_names_what_the_readme_names(path: str) -> None:
    """Settings, variables and addresses in code type, and figures: none is missing, none is out of date."""
    english, translation = (ROOT / "README.md").read_text(), said_in(path)
    assert code(said_in("README.md")) - code(translation) == set()
    assert [words for words in code(translation) if words not in english] == []
    assert set(re.findall(r"\d{2,}", translation)) - set(re.findall(r"\d{2,}", english)) == set()


@pytest.mark.parametrize("path", ["README.md", *TRANSLATIONS])
def test_the_setup_holds_for_a_team_on_a_stock_dify(path: str) -> None:
    """E1, E3, E9: what was tried, in every language."""
    text = (ROOT / path).read_text()
    assert {
        "dify signature generate -f key",
        "dify signature sign -p key.private.pem qwen_image_studio-0.3.0.difypkg",
    } <= set(commands(text))
    assert f"qwen_image_studio-{MANIFEST['version']}.signed.difypkg" in text
    assert {"CELERY_WORKER_AMOUNT=8", "SERVER_WORKER_CONNECTIONS=200", "key.public.pem"} <= code(said_in(path))


@pytest.mark.parametrize("language", OWN_LETTERS)
def test_translation_names_every_tool_as_dify_shows_it(language: str) -> None:
    text = said_in(f"readme/README_{language}.md")
    labels = [tool["identity"]["label"][language] for tool in TOOLS.values()]
    assert [label for label in labels if f"*{label}*" not in text] == []


@pytest.mark.parametrize("path", ["README.md", *TRANSLATIONS])
def test_links_lead_somewhere(path: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", said_in(path))
    assert len(targets) >= 6
    missing = [target for target in targets if not (ROOT / path).parent.joinpath(target).is_file()]
    assert [target for target in missing if not target.startswith("https://")] == []


def test_packing_needs_an_environment_of_two_libraries_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """E8: it brought torch and the tests' packages, gigabytes for what takes a moment."""
    bootstrap = runpy.run_path(str(ROOT / ".ci/bootstrap.py"))
    commands: list[list[str]] = []

    def run(command: list[object]) -> None:
        commands.append([str(part) for part in command])

    known = bootstrap["main"].__globals__
    monkeypatch.setitem(known, "run", run)
    monkeypatch.setitem(known, "Stamp", lambda *_: SimpleNamespace(fresh=lambda: False, add=lambda: None))
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "package"])
    assert bootstrap["main"]() == 0
    made, filled = commands
    assert made[-1] == str(ROOT / ".venv-package")
    assert filled[-2:] == ["pathspec", "pyyaml"]
    [recipe] = re.findall(r"^package: ([\w-]+) .*\n\t@(\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe == ("setup-package", ".venv-package/bin/python")
    source = (ROOT / ".ci/package.py").read_text()
    imported = set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"pathspec", "yaml"}
