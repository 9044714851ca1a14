"""The files of the studio page: other people's, held against what is said of them; who imports whom; how much it is."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.settings import Settings
from qwen_image_studio.web.page import FOLDER, STATIC, Page, open_page
from tests.support import ROOT

VENDOR, SCRIPTS, STYLES = STATIC / "vendor", STATIC / "js", STATIC / "css"
TABLE: dict[str, Any] = tomllib.loads((FOLDER / "vendor.toml").read_text(encoding="utf-8"))
LOCK: dict[str, str] = json.loads((FOLDER / "vendor.lock").read_text(encoding="utf-8"))
PACKAGES: list[dict[str, Any]] = [*TABLE["library"], TABLE["icons"]]
SAID_BY = {
    "MIT": "Permission is hereby granted, free of charge",
    "ISC": "Permission to use, copy, modify, and/or distribute",
    "Apache-2.0": "Apache License",
}
"""What the text of each licence says."""
MOST_LINES = 350
KIB = 1024
MOST_STYLES_KIB = 32
MOST_KIB = {"signin": 72, "paint": 80, "edit": 192, "gallery": 160, "review": 160, "status": 128}
"""Most KiB of scripts before a screen is drawn. Paint is what is seen first; the others are opened from it."""
MOST_TRAVELLING_KIB = 150
"""Most KiB of all scripts as they travel, compressed."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a server without settings of its own."""
    return open_page(Settings(data_dir=tmp_path_factory.mktemp("data")))


def licence_of(package: dict[str, Any]) -> Path:
    """Return the file with a package's licence."""
    return VENDOR / f"{package['name'].removeprefix('@').replace('/', '-')}.LICENSE.txt"


# -- other people's files ------------------------------------------------------------------------------------------


def test_vendor_holds_what_the_table_names_and_nothing_else() -> None:
    files = {VENDOR / Path(file).name for library in TABLE["library"] for file in library["files"]}
    licences = {licence_of(package) for package in PACKAGES}
    assert {path for path in VENDOR.rglob("*") if path.is_file()} == files | licences
    assert len(files) == sum(len(library["files"]) for library in TABLE["library"])


def test_every_file_is_as_it_was_fetched() -> None:
    there = {path.relative_to(FOLDER).as_posix(): path for path in [*VENDOR.iterdir(), STATIC / "icons.svg"]}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()} == LOCK


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package["name"]))
def test_notice_names_each_package_as_the_table_does(package: dict[str, Any]) -> None:
    name, version, licence, project = (package[key] for key in ("name", "version", "licence", "project"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert project.startswith("https://")
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in notice if line.startswith(f"{name} ")]
    assert line.startswith(f"{name} {version} ({project}): {licence}, Copyright ")
    text = licence_of(package).read_text(encoding="utf-8")
    assert SAID_BY[licence] in text
    holders = re.findall(r"Copyright[^,;]*?(?=;|$)", line)
    assert [holder for holder in holders if holder not in text] == []
    assert set(re.findall(r"Copyright (?:\(c\) )?\d{4}.*", text)) == set(holders)


def test_notice_names_no_other_package() -> None:
    named = re.findall(r"^(\S+) \d+\.\d+\.\d+ \(", (ROOT / "NOTICE").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(package["name"] for package in PACKAGES)


def test_no_file_names_another_one_that_is_not_here() -> None:
    """A source map would be asked for by whoever opens the browser's tools."""
    for path in VENDOR.glob("*js"):
        content = path.read_text(encoding="utf-8")
        maps = re.findall(r"sourceMappingURL=(\S+)", content)
        assert [name for name in maps if not (VENDOR / name).exists()] in ([], maps)
        assert not re.findall(r"""import[( ]?["']https?:""", content)


# -- who imports whom ----------------------------------------------------------------------------------------------


def imports(path: Path) -> Iterator[str]:
    """Return what a script imports before it runs; what it asks for later is not among it."""
    code = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"""(?:^|[;}\s])(?:import|export)\b(?:[^;'"()]*?\bfrom)?\s*["']([^"']+)["']""", code)


def import_map(page: Page) -> dict[str, str]:
    """Return the addresses of the libraries by their names."""
    [text] = re.findall(r'<script type="importmap">(.*?)</script>', page.html.decode())
    found: dict[str, str] = json.loads(text)["imports"]
    return found


def test_the_import_map_is_the_table(page: Page) -> None:
    named = {
        bare: f"/static/{page.build}/vendor/{Path(file).name}"
        for library in TABLE["library"]
        for bare, file in zip(library["bare"], library["files"], strict=True)
    }
    assert import_map(page) == named


def test_scripts_import_by_name_what_the_map_has_and_all_of_it(page: Page) -> None:
    every = [*SCRIPTS.rglob("*.js"), *VENDOR.glob("*js")]
    found = {name for path in every for name in imports(path) if not name.startswith(".")}
    assert found == set(import_map(page))


def test_what_a_script_asks_for_is_there() -> None:
    """Also later, while it runs; types.js is a name for types alone, which no script imports."""
    missing = []
    for path in SCRIPTS.rglob("*.js"):
        code = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        later = re.findall(r"""\bimport\(\s*["']([^"']+)["']""", code)
        missing += [
            (path.name, name)
            for name in [*imports(path), *later]
            if name.startswith(".") and not (path.parent / name).is_file()
        ]
    assert missing == []


def loaded_first(page: Page, *beginning: str) -> set[Path]:
    """Return the scripts that are there before the first of these does anything."""
    bare = import_map(page)
    found: set[Path] = set()
    ahead = [SCRIPTS / name for name in beginning]
    while ahead:
        path = ahead.pop().resolve()
        if path not in found:
            found.add(path)
            ahead += [VENDOR / Path(bare[name]).name if name in bare else path.parent / name for name in imports(path)]
    return found


# -- how much there is ---------------------------------------------------------------------------------------------


def sent(page: Page, files: set[Path]) -> int:
    """Return how many bytes of some files are sent."""
    return sum(len(page.files[file.relative_to(STATIC.resolve()).as_posix()]) for file in files)


@pytest.mark.parametrize(("screen", "most_kib"), MOST_KIB.items(), ids=MOST_KIB)
def test_a_screen_needs_few_scripts(page: Page, screen: str, most_kib: int) -> None:
    assert sent(page, loaded_first(page, "main.js", f"{screen}.js")) <= most_kib * KIB


def test_all_scripts_together(page: Page) -> None:
    scripts = [path for path in page.packed if path.endswith("js")]
    assert len(scripts) > 50
    assert sum(len(page.packed[path]) for path in scripts) <= MOST_TRAVELLING_KIB * KIB


@pytest.mark.parametrize("screen", MOST_KIB)
def test_a_screen_needs_few_styles(page: Page, screen: str) -> None:
    assert len(page.files["css/base.css"]) + len(page.files[f"css/{screen}.css"]) <= MOST_STYLES_KIB * KIB


@pytest.mark.parametrize("path", [*SCRIPTS.rglob("*.js"), *STYLES.glob("*.css")], ids=lambda path: path.name)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_icons_that_are_shown_are_in_the_sprite() -> None:
    sprite = (STATIC / "icons.svg").read_text(encoding="utf-8")
    drawn = re.findall(r'<symbol id="([^"]+)"', sprite)
    assert sorted(drawn) == sorted(TABLE["icons"]["names"])
    assert not re.search(r"<script|href|style=|on[a-z]+=", sprite)
    code = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS.glob("*.js"))
    shown = set(re.findall(r'<\$\{Icon\} name="([^"]+)"|\bicon(?:=|: ?)"([^"]+)"', code))
    assert {name for pair in shown for name in pair if name} - set(drawn) == set()
