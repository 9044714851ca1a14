"""The YAML files: against the rules of Dify's daemon and API, against the code, and in four languages."""

import ast
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from qwen_image_studio.contract import words as vocabulary
from qwen_image_studio.contract.campaign import MAX_BRIEF_CHARS, MAX_PART_CHARS
from qwen_image_studio.contract.direction import MAX_STYLE_CHARS
from qwen_image_studio.contract.layers import MAX_LAYERS, MIN_LAYERS, Resolution
from qwen_image_studio.contract.references import Derive, Role
from qwen_image_studio.contract.transparency import Background
from tests.plugin.test_tools import (
    BATCH_VARIABLES,
    CAMPAIGN_VARIABLES,
    GENERATION_VARIABLES,
    JOB_VARIABLES,
    LAYERS_VARIABLES,
    PROMPT_VARIABLES,
    REVIEW_VARIABLES,
    STYLE_VARIABLES,
    VARIABLES,
)
from tests.support import ROOT
from tools import campaigns, wishes
from tools.parameters import (
    BatchParameters,
    CampaignParameters,
    Credentials,
    EditParameters,
    EnhanceParameters,
    GenerationParameters,
    JobParameters,
    LayersParameters,
    OutpaintParameters,
    ReviewParameters,
    StyleParameters,
    batch,
    campaign,
    editing,
    enhancing,
    layering,
    loras,
    outpainting,
    painting,
    pictures,
    roles,
    transparency,
)
from tools.versions import VERSION

LANGUAGES = ["en_US", "zh_Hans", "ja_JP", "pt_BR"]
WORDED = {"label", "human", "human_description", "placeholder"}
MODELS: dict[str, type[BaseModel]] = {
    "image_generation": GenerationParameters,
    "image_edit": EditParameters,
    "image_outpaint": OutpaintParameters,
    "image_layers": LayersParameters,
    "image_batch": BatchParameters,
    "image_campaign": CampaignParameters,
    "image_job": JobParameters,
    "image_style": StyleParameters,
    "image_review": ReviewParameters,
    "prompt_enhance": EnhanceParameters,
}
LEAST: dict[str, dict[str, object]] = {
    "image_generation": {"prompt": "x"},
    "image_edit": {"prompt": "x", "image_id": "i"},
    "image_outpaint": {"image_id": "i", "aspect_ratio": "2:1"},
    "image_layers": {},
    "image_batch": {"prompt": "x", "rows": "a\n1"},
    "image_campaign": {"brief": "x"},
    "image_job": {"job_id": "j"},
    "image_style": {},
    "image_review": {"image_id": "img_1", "verdict": "approved"},
    "prompt_enhance": {"prompt": "x"},
}
"""What each tool cannot do without."""
EMITTED = {
    "image_generation": GENERATION_VARIABLES,
    "image_edit": VARIABLES,
    "image_outpaint": VARIABLES,
    "image_layers": LAYERS_VARIABLES,
    "image_batch": BATCH_VARIABLES,
    "image_campaign": CAMPAIGN_VARIABLES,
    "image_job": JOB_VARIABLES,
    "image_style": STYLE_VARIABLES,
    "image_review": REVIEW_VARIABLES,
    "prompt_enhance": PROMPT_VARIABLES,
}
PARAMETER_TYPES = {"string", "number", "boolean", "select", "files", "any"}
"""No model selector: Dify's agents silently leave out a tool whose selector is empty. No file: Dify itself fails one
that is bound to a list of none or several; how many there may be the code says."""


def loaded(path: str) -> Any:
    """A YAML file of the repository."""
    return yaml.safe_load((ROOT / path).read_text())


MANIFEST, PROVIDER = loaded("manifest.yaml"), loaded("provider/qwen_image.yaml")
TOOLS: dict[str, Any] = {path: loaded(path) for path in PROVIDER["tools"]}
PARAMETERS = [
    pytest.param(tool["identity"]["name"], parameter, id=f"{tool['identity']['name']}.{parameter['name']}")
    for tool in TOOLS.values()
    for parameter in tool["parameters"]
]
ONCE = [
    case for number, case in enumerate(PARAMETERS) if case.values[1] not in [c.values[1] for c in PARAMETERS[:number]]
]
"""The parameters, but each that several tools share only once."""


def worded(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every text that a person reads, with its place."""
    if isinstance(node, dict):
        for name, value in node.items():
            here = f"{path}.{name}"
            if name in WORDED or (name == "description" and path in {"", ".identity"}):
                if name == "description" and isinstance(value, dict) and "human" in value:
                    yield f"{here}.human", value["human"]
                else:
                    yield here, value
            else:
                yield from worded(value, here)
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from worded(value, f"{path}[{position}]")


@pytest.mark.parametrize("file", ["manifest.yaml", "provider/qwen_image.yaml", *TOOLS])
def test_every_text_is_in_four_languages(file: str) -> None:
    texts = dict(worded(loaded(file)))
    assert texts
    for place, text in texts.items():
        assert list(text) == LANGUAGES, place
        for value in text.values():
            assert 1 <= len(value.strip()) <= 1023, place
        if len(text["en_US"].split()) > 4:
            assert len(set(text.values())) == 4, f"{place}: a sentence was left untranslated"
            assert re.search(r"[一-鿿]", text["zh_Hans"]), place
            assert re.search(r"[ぁ-ヿ]", text["ja_JP"]), place


def test_manifest_follows_the_rules() -> None:
    version = r"\d{1,4}(\.\d{1,4}){2}(-\w{1,16})?"
    assert re.fullmatch(version, MANIFEST["version"])
    assert MANIFEST["version"] == VERSION
    assert re.fullmatch(version, MANIFEST["meta"]["version"])
    assert re.fullmatch(r"[a-z0-9_-]{1,64}", MANIFEST["author"])
    assert not re.search("langgenius|dify", MANIFEST["author"])
    assert re.fullmatch(r"[a-z0-9_-]{1,128}", MANIFEST["name"])
    assert MANIFEST["type"] == "plugin"
    assert MANIFEST["resource"]["memory"] > 0
    assert MANIFEST["resource"]["permission"] == {"model": {"enabled": True, "llm": True}}, "and for nothing else"
    assert MANIFEST["plugins"] == {"tools": ["provider/qwen_image.yaml"]}
    assert set(MANIFEST["meta"]["arch"]) == {"amd64", "arm64"}
    assert MANIFEST["meta"]["runner"] == {"language": "python", "version": "3.12", "entrypoint": "main"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", MANIFEST["created_at"])
    assert (ROOT / MANIFEST["privacy"]).is_file()
    known = "search image videos weather finance design travel social news medical productivity education business"
    for tags in (MANIFEST["tags"], PROVIDER["identity"]["tags"]):
        assert set(tags) <= set(known.split())


def test_icons_exist() -> None:
    for owner in (MANIFEST, PROVIDER["identity"]):
        for icon in (owner["icon"], owner["icon_dark"]):
            assert (ROOT / "_assets" / icon).read_text().startswith("<svg")


def test_identities() -> None:
    provider = PROVIDER["identity"]
    assert re.fullmatch(r"[a-z0-9_-]+/[a-z0-9_-]+/[a-z0-9_-]+", f"{provider['author']}/x/{provider['name']}")
    for path, tool in TOOLS.items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", tool["identity"]["name"])
        assert tool["identity"]["author"] == provider["author"] == MANIFEST["author"]
        assert path == f"tools/{tool['identity']['name']}.yaml"
        assert (ROOT / tool["extra"]["python"]["source"]).is_file()
        assert 20 < len(tool["description"]["llm"]) < 1000


def test_credentials_are_those_that_the_code_reads() -> None:
    declared = PROVIDER["credentials_for_provider"]
    assert set(declared) == set(Credentials.model_fields)
    types = {name: entry["type"] for name, entry in declared.items()}
    assert types == {
        "server_url": "text-input",
        "api_key": "secret-input",
        "verify_tls": "boolean",
        "time_budget": "text-input",
        "language": "select",
    }
    assert {name for name, entry in declared.items() if entry["required"]} == {"server_url"}
    for name, entry in declared.items():
        assert "scope" not in entry, "only selectors may have one"
        if "default" in entry:
            assert Credentials.parse({"server_url": "http://a", name: entry["default"]}) == Credentials.parse(
                {"server_url": "http://a"}
            )


def test_what_must_be_known_of_a_credential_stands_where_dify_shows_it() -> None:
    """D4: Dify renders the help of a credential only as the words of a link."""
    declared = PROVIDER["credentials_for_provider"]
    assert [name for name, entry in declared.items() if "help" in entry] == []
    seen = {name: f"{entry['label']} {entry.get('placeholder', '')}" for name, entry in declared.items()}
    assert "localhost" in seen["server_url"]
    assert "30 to 590" in seen["time_budget"]
    assert "PLUGIN_MAX_EXECUTION_TIMEOUT" in seen["time_budget"]
    assert "image_job" in seen["time_budget"]
    assert "self-signed" in seen["verify_tls"]


def as_dify_casts(parameter: dict[str, Any], value: object) -> object:
    """A value of a form for an agent, as Dify's API casts it; raises ValueError where Dify drops the whole tool."""
    value = parameter.get("default") if value in (None, "") else value
    match parameter["type"]:
        case "model-selector":
            if not isinstance(value, dict):
                raise ValueError("The selector must be a dictionary.")
            return value
        case "string" | "select":
            return "" if value is None else str(value)
        case "files":
            return value if isinstance(value, list) else [value]
    if value in (None, "") and parameter["required"]:
        raise ValueError(f"tool parameter {parameter['name']} not found in tool config")
    return value


@pytest.mark.parametrize("tool", list(MODELS))
def test_an_agent_gets_the_tool_while_nothing_is_set_in_it(tool: str) -> None:
    """D3: the classic agent silently drops a tool of which one setting cannot be cast."""
    settings = [each for each in TOOLS[f"tools/{tool}.yaml"]["parameters"] if each["form"] == "form"]
    cast = {each["name"]: as_dify_casts(each, None) for each in settings}
    MODELS[tool].model_validate({**LEAST[tool], **cast})


@pytest.mark.parametrize("name", list(MODELS))
def test_parameters_are_those_that_the_code_reads(name: str) -> None:
    declared = [parameter["name"] for parameter in TOOLS[f"tools/{name}.yaml"]["parameters"]]
    assert len(declared) == len(set(declared))
    assert set(declared) == set(MODELS[name].model_fields)


def test_files_are_what_the_code_reads_as_addresses() -> None:
    for name, model in MODELS.items():
        of_files = {each["name"] for each in TOOLS[f"tools/{name}.yaml"]["parameters"] if each["type"] == "files"}
        kinds = (pictures.addresses, pictures.one_address)
        read = {field for field, info in model.model_fields.items() for meta in info.metadata if reader(meta) in kinds}
        assert of_files == read


def reader(metadata: Any) -> object:
    """The function that reads a field, where the metadata names one."""
    return getattr(metadata, "func", None)


def taken(tool: str, name: str, value: float) -> bool:
    """Whether the code takes a value."""
    given = {**LEAST[tool], name: value}
    if name == "piece":
        given |= {"campaign": "job_1"}
    if name in {"left", "right", "top", "bottom"}:
        given |= {"aspect_ratio": "" if value else given["aspect_ratio"]}  # either says how far, not both
    try:
        MODELS[tool].model_validate(given)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("tool", "parameter"), PARAMETERS)
def test_declared_limits_and_defaults_are_the_codes(tool: str, parameter: dict[str, Any]) -> None:
    name, field = parameter["name"], MODELS[tool].model_fields[parameter["name"]]
    if parameter["type"] == "number":
        low, high = parameter["min"], parameter["max"]
        below = -2 if name == "seed" else low - 1  # the code also takes -1 for "random", which the form need not offer
        assert [taken(tool, name, value) for value in (below, low, high, high + 1)] == [False, True, True, False]
    assert parameter["required"] is field.is_required()
    assert parameter.get("default") == (None if field.is_required() or not field.default else field.default)
    if parameter["type"] == "select":
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if get_origin(kind) is Literal]
        assert [option["value"] for option in parameter["options"]] == list(get_args(kinds[0]))


@pytest.mark.parametrize(("tool", "parameter"), ONCE)
def test_parameter_follows_the_rules(tool: str, parameter: dict[str, Any]) -> None:
    assert parameter["type"] in PARAMETER_TYPES
    assert parameter["form"] in {"llm", "form"}
    assert "scope" not in parameter, "only selectors have one"
    assert (parameter["type"], parameter["form"]) != ("any", "llm"), "its type is none that a JSON schema has"
    if parameter["type"] == "files":
        assert not parameter["required"], "a required file makes the tool unusable for agents"
    said = parameter["llm_description"]
    for key in ("min", "max"):  # models never see min, max and default themselves
        assert key not in parameter or str(parameter[key]) in said
    default = parameter.get("default")
    assert default is None or f"default {str(default).lower() if isinstance(default, bool) else default}" in said
    for option in parameter.get("options", []):
        assert isinstance(option["value"], str)
        assert option["value"] in said


SHOWN = {
    "image_generation": {
        *("prompt", "negative_prompt", "aspect_ratio", "tier", "seed", "image", "image_id", "background"),
    },
    "image_edit": {
        *("prompt", "negative_prompt", "tier", "seed", "images", "image_id", "mask", "region", "slots"),
        *("roles", "background"),
    },
    "image_outpaint": {
        *("image", "image_id", "prompt", "negative_prompt", "tier", "seed"),
        *("left", "right", "top", "bottom", "aspect_ratio", "anchor"),
    },
    "image_layers": {"image", "image_id", "layers", "format", "prompt", "seed"},
    "image_batch": {"operation", "prompt", "rows", "rows_file", "image", "aspect_ratio", "tier", "seed", "slots"},
    "image_campaign": {
        *("brief", "channels", "languages", "product", "occasion", "audience", "image", "image_id", "tier", "seed"),
        *("campaign", "piece", "headline", "subline", "prompt"),
    },
    "image_job": {"job_id", "action", "format"},
    "image_style": {"action", "style", "style_words", "palette", "negative_prompt", "seed", "image_id"},
    "image_review": {"image_id", "verdict", "reason"},
    "prompt_enhance": {"prompt", "purpose", "product", "theme", "audience", "style"},
}


def test_words_and_limits_are_the_servers() -> None:
    for name in ("MIN_SIDE", "MAX_SEED", "MAX_PROMPT_CHARS"):
        assert getattr(painting, name) == getattr(vocabulary, name)
    assert (pictures.MAX_SIDE, roles.MAX_INPUTS) == (*(vocabulary.MAX_SIDE, vocabulary.MAX_INPUTS),)
    assert (layering.MIN_LAYERS, layering.MAX_LAYERS) == (MIN_LAYERS, MAX_LAYERS)
    assert list(get_args(layering.Resolution)) == ["auto", *(str(side.value) for side in Resolution)]
    assert (campaign.MAX_PIECES, campaigns.MAX_COLOURS) == (vocabulary.MAX_PIECES, vocabulary.MAX_COLOURS)
    assert (campaign.MAX_LINE_CHARS, painting.MAX_STYLE_NAME_CHARS) == (
        *(vocabulary.MAX_SLOT_CHARS, vocabulary.MAX_NAME_CHARS),
    )
    assert (campaign.MAX_BRIEF_CHARS, enhancing.MAX_PART_CHARS) == (MAX_BRIEF_CHARS, MAX_PART_CHARS)
    assert (campaigns.MAX_STYLE_CHARS, campaigns.MAX_COLOUR_CHARS) == (MAX_STYLE_CHARS, vocabulary.MAX_NAME_CHARS)
    assert (loras.MAX_LORAS, loras.MAX_LORA_SCALE, loras.MAX_LORA_NAME_CHARS) == (
        *(vocabulary.MAX_LORAS, vocabulary.MAX_LORA_SCALE, vocabulary.MAX_NAME_CHARS),
    )
    choices: dict[object, type[StrEnum]] = {
        painting.OutputFormat: vocabulary.OutputFormat,
        painting.PromptKind: vocabulary.PromptKind,
        editing.Prefer: vocabulary.Prefer,
        outpainting.Anchor: vocabulary.Anchor,
        batch.SeedMode: vocabulary.SeedMode,
        campaigns.Channel: vocabulary.Channel,
        wishes.Language: vocabulary.Language,
        roles.Role: Role,
        roles.Derive: Derive,
        transparency.Background: Background,
    }
    for literal, enum in choices.items():
        assert set(get_args(literal)) == set(enum)
    assert set(get_args(painting.NativeRatio)) == {"auto", *vocabulary.AspectRatio}
    assert list(get_args(painting.Tier)) == ["auto", *vocabulary.Tier]


def test_the_surface_for_models_is_small_and_short() -> None:
    for tool in TOOLS.values():
        shown = [parameter for parameter in tool["parameters"] if parameter["form"] == "llm"]
        assert {parameter["name"] for parameter in shown} == SHOWN[tool["identity"]["name"]]
        said = [parameter["llm_description"] for parameter in shown if parameter["type"] != "files"]
        assert max(len(text) for text in said) <= 320
        assert sum(len(text) for text in (tool["description"]["llm"], *said)) <= 2200


def test_every_tool_is_declared() -> None:
    assert [tool["identity"]["name"] for tool in TOOLS.values()] == list(MODELS)
    assert {path.name for path in ROOT.glob("tools/*.yaml")} == {Path(path).name for path in TOOLS}


@pytest.mark.parametrize("path", list(TOOLS))
def test_output_schema_is_what_is_emitted(path: str) -> None:
    schema = TOOLS[path]["output_schema"]
    assert schema["type"] == "object"
    variables = EMITTED[TOOLS[path]["identity"]["name"]]
    assert set(schema["properties"]) == variables
    assert not variables & {"text", "json", "files"}, "Dify keeps these names for itself"
    for field in schema["properties"].values():
        assert field["type"] in {"string", "number", "array"}, "an integer could not be chosen for a number input"
        assert field["type"] != "array" or field["items"] == {"type": "string"}
        assert field["description"].endswith(".")


def test_the_sdk_takes_the_declaration(facts: dict[str, Any]) -> None:
    assert facts["declaration"] == {
        "name": MANIFEST["name"],
        "credentials": list(PROVIDER["credentials_for_provider"]),
        "tools": {tool["identity"]["name"]: len(tool["parameters"]) for tool in TOOLS.values()},
    }


def imported(path: Path) -> set[str]:
    """Modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


SOURCES = [ROOT / "main.py", *sorted((ROOT / "tools").rglob("*.py")), *sorted(ROOT.glob("provider/*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_import_no_tool_and_nothing_of_the_server(path: Path) -> None:
    """A tool module that is imported is executed twice, with two classes (trap T3)."""
    tools = {source["extra"]["python"]["source"] for source in (*TOOLS.values(), PROVIDER)}
    forbidden = {source.removesuffix(".py").replace("/", ".") for source in tools} | {"server", "torch", "flask"}
    assert not imported(path) & forbidden
    assert not {name for name in imported(path) if name.startswith("server.")}
    assert ".en_US" not in path.read_text()
    assert not re.search(r"\bprint\(", path.read_text())


def test_requirements_are_few_and_ranged() -> None:
    lines = (ROOT / "requirements.txt").read_text().split("\n")
    assert lines == ["dify_plugin>=0.7.4,<1.0.0", "requests>=2.32.3,<3", "pydantic>=2.8.2,<3", "urllib3>=2.2.0,<3", ""]
