"""The example apps as files: what Dify's importer and editor ask for, and what a wrong name would break at run time."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from PIL import Image, ImageChops, ImageStat

from examples.draw_graphs import draw
from qwen_image_studio.settings import Settings
from tests.support import ROOT

FOLDER = ROOT / "examples/apps"
NAMES = (
    *("bilingual_poster", "campaign_from_one_sentence", "edit_last_picture", "form_to_image", "paint_and_approve"),
    *("product_batch", "sketch_then_paint", "take_apart", "upload_and_edit"),
)
REFERENCE = re.compile(r"\{\{#([^#]+)#\}\}")
SYSTEM = {"query", "files"}
VARIABLE_TYPES = {"string": str, "number": int, "array[file]": list, "array[string]": list}
STREAMED_BY_TOOLS = {"text", "progress"}
"""What of a tool an Answer may name. The engine closes the stream of every other variable with an empty chunk, and the
person then sees nothing in its place (dify#32903)."""
SHOWN_AS = {
    "string": {"mixed"},
    **{kind: {"constant", "variable"} for kind in ("select", "number", "boolean")},
    **{kind: {"variable"} for kind in ("file", "files")},
    "any": {"variable"},
}
"""How Dify's editor writes the value of a parameter of a tool node, by the parameter's type."""


@pytest.fixture(scope="module")
def plugin() -> dict[str, Any]:
    """What the plugin declares: ``id`` as nodes name it, and ``tools`` by name."""
    manifest = yaml.safe_load((ROOT / "manifest.yaml").read_text())
    provider = yaml.safe_load((ROOT / manifest["plugins"]["tools"][0]).read_text())
    tools = [yaml.safe_load((ROOT / path).read_text()) for path in provider["tools"]]
    whole = f"{manifest['author']}/{manifest['name']}/{provider['identity']['name']}"
    return {"id": whole, "tools": {tool["identity"]["name"]: tool for tool in tools}}


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each app in turn."""
    return str(request.param)


@pytest.fixture
def app(name: str) -> dict[str, Any]:
    """The app's file, read."""
    read: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return read


def nodes_of(app: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The data of the nodes by their ids."""
    return {node["id"]: node["data"] for node in app["workflow"]["graph"]["nodes"]}


def test_all_apps_are_here_with_their_pictures_and_told_in_the_readme() -> None:
    assert {path.stem for path in FOLDER.glob("*.yml")} == set(NAMES) == {path.stem for path in FOLDER.glob("*.webp")}
    readme = (FOLDER / "README.md").read_text()
    for name in NAMES:
        assert f"({name}.yml)" in readme
        assert f"]({name}.webp)" in readme


def test_the_frame_is_what_the_importer_takes(app: dict[str, Any]) -> None:
    # A string, or the importer refuses. That of Dify 1.16, which notes of every older one that it is older (E10);
    # Dify 1.15 and older ask once whether to go on.
    assert app["version"] == "0.7.0"
    assert app["kind"] == "app"
    assert app["app"]["mode"] in {"workflow", "advanced-chat"}
    assert app["app"]["icon_type"] == "emoji"
    # The checksum in a plugin's identifier changes with every build, and Dify asks about every other one.
    assert app["dependencies"] == []
    assert app["workflow"]["environment_variables"] == []


def test_variables_of_conversations(app: dict[str, Any]) -> None:
    variables = app["workflow"]["conversation_variables"]
    assert not variables or app["app"]["mode"] == "advanced-chat"
    for variable in variables:
        assert str(uuid.UUID(variable["id"])) == variable["id"]
        assert variable["selector"] == ["conversation", variable["name"]]
        assert isinstance(variable["value"], VARIABLE_TYPES[variable["value_type"]])
    assert len({variable["id"] for variable in variables}) == len(variables)


def test_nodes_and_edges_make_one_graph(app: dict[str, Any]) -> None:
    graph, nodes = app["workflow"]["graph"], nodes_of(app)
    assert len(nodes) == len(graph["nodes"])
    assert all(re.fullmatch("[a-zA-Z0-9_]{1,50}", node_id) for node_id in nodes)
    assert [data["type"] for data in nodes.values()].count("start") == 1
    assert ("end" if app["app"]["mode"] == "workflow" else "answer") in {data["type"] for data in nodes.values()}
    for edge in graph["edges"]:
        source, target = nodes[edge["source"]], nodes[edge["target"]]
        assert (edge["data"]["sourceType"], edge["data"]["targetType"]) == (source["type"], target["type"])
        assert edge["sourceHandle"] in ways_out(source)
    assert len({edge["id"] for edge in graph["edges"]}) == len(graph["edges"])
    taken = {(edge["source"], edge["sourceHandle"]) for edge in graph["edges"]}
    assert {(i, way) for i, data in nodes.items() if len(ways_out(data)) > 1 for way in ways_out(data)} <= taken
    assert set(nodes) == {"start", *(node_id for node_id in nodes if ancestors(app, node_id))}


def ways_out(data: dict[str, Any]) -> set[str]:
    """Names of a node's exits."""
    if data["type"] == "if-else":
        return {*(case["case_id"] for case in data["cases"]), "false"}
    if data["type"] == "human-input":
        return {*(action["id"] for action in data["user_actions"]), "__timeout__"}
    return {"source", "fail-branch"} if data.get("error_strategy") == "fail-branch" else {"source"}


def ancestors(app: dict[str, Any], node_id: str) -> set[str]:
    """All nodes that a run may have passed before this one."""
    direct = {edge["source"] for edge in app["workflow"]["graph"]["edges"] if edge["target"] == node_id}
    return direct.union(*(ancestors(app, one) for one in direct))


def test_no_node_lies_on_another(app: dict[str, Any]) -> None:
    places = [(n["position"]["x"], n["position"]["y"], n["height"]) for n in app["workflow"]["graph"]["nodes"]]
    for x, y, height in places:
        assert not [1 for other_x, other_y, _ in places if other_x == x and y < other_y < y + height]


def test_tool_nodes_fit_the_plugin(app: dict[str, Any], plugin: dict[str, Any]) -> None:
    for data in (data for data in nodes_of(app).values() if data["type"] == "tool"):
        assert data["provider_id"] == data["provider_name"] == plugin["id"]
        assert data["plugin_id"] == plugin["id"].rpartition("/")[0]
        assert (data["provider_type"], data["tool_node_version"]) == ("builtin", "2")
        tool = plugin["tools"][data["tool_name"]]
        assert data["tool_label"] == tool["identity"]["label"]["en_US"]
        by_form: dict[str, dict[str, Any]] = {"llm": {}, "form": {}}
        for parameter in tool["parameters"]:
            by_form[parameter["form"]][parameter["name"]] = parameter
        assert {name for name, one in by_form["llm"].items() if one["required"]} <= set(data["tool_parameters"])
        check_values(data["tool_parameters"], by_form["llm"])
        check_values(data["tool_configurations"], by_form["form"])


def check_values(given: dict[str, dict[str, Any]], declared: dict[str, dict[str, Any]]) -> None:
    """Each value is of a declared parameter, in a form that the engine takes, and one of its options."""
    for name, one in given.items():
        assert name in declared
        value = one["value"]
        match one["type"]:
            case "variable":
                assert isinstance(value, list)
            case "mixed":
                assert isinstance(value, str)
            case "constant":
                assert not isinstance(value, list)
                options = {option["value"] for option in declared[name].get("options", ())}
                assert not options or value in options
            case other:
                pytest.fail(f"{name} has the type {other}")
        # In any other form Dify's editor shows the field as empty.
        assert one["type"] in SHOWN_AS[declared[name]["type"]]


def test_forms_offer_only_what_the_tools_take(app: dict[str, Any], plugin: dict[str, Any]) -> None:
    nodes = nodes_of(app)
    fields = {variable["variable"]: variable for variable in nodes["start"]["variables"]}
    for data in (data for data in nodes.values() if data["type"] == "tool"):
        declared = {parameter["name"]: parameter for parameter in plugin["tools"][data["tool_name"]]["parameters"]}
        for name, one in {**data["tool_parameters"], **data["tool_configurations"]}.items():
            if one["type"] == "variable" and one["value"][0] == "start" and declared[name].get("options"):
                taken = {option["value"] for option in declared[name]["options"]}
                assert set(fields[one["value"][1]]["options"]) <= taken


def test_what_is_chosen_from_a_list_has_a_default(app: dict[str, Any]) -> None:
    """Dify refuses a form in which an optional one was left empty (dify#33069)."""
    for variable in nodes_of(app)["start"]["variables"]:
        assert variable["type"] != "select" or (variable["required"] and variable["default"] in variable["options"])


def test_every_reference_is_to_something_that_is_there(app: dict[str, Any], plugin: dict[str, Any]) -> None:
    nodes = nodes_of(app)
    kept = {variable["name"] for variable in app["workflow"]["conversation_variables"]}
    for node_id, data in nodes.items():
        for source, variable in references(data):
            if source in {"sys", "conversation"}:
                assert variable in (SYSTEM if source == "sys" else kept)
                assert app["app"]["mode"] == "advanced-chat"
            else:
                assert source in ancestors(app, node_id)
                assert variable in outputs(nodes[source], plugin)


def references(value: Any) -> Iterator[tuple[str, str]]:
    """All (node, variable) pairs in a node's data, written as selectors or within texts."""
    if isinstance(value, str):
        for found in REFERENCE.findall(value):
            source, variable, *_ = found.split(".")  # of a file, an attribute of it may follow
            if source != "$output":  # the place of a field in a form
                yield source, variable
    elif isinstance(value, dict):
        for key, one in value.items():
            selectors = {"value_selector", "variable_selector", "query", "variable"}
            is_selector = key in selectors or value.get("type") == "variable"
            is_selector = is_selector or value.get("input_type") == "variable"
            if is_selector and isinstance(one, list) and one:
                yield one[0], one[1]
            else:
                yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def outputs(data: dict[str, Any], plugin: dict[str, Any]) -> set[str]:
    """What a node gives to later ones."""
    match data["type"]:
        case "start":
            return {variable["variable"] for variable in data["variables"]}
        case "tool":
            declared = plugin["tools"][data["tool_name"]]["output_schema"]["properties"]
            failed = {"error_message", "error_type"} if data.get("error_strategy") else set()
            return {*declared, "text", "files", "json", *failed}
        case "list-operator":
            return {"result", "first_record", "last_record"}
        case "parameter-extractor":
            return {parameter["name"] for parameter in data["parameters"]}
        case "template-transform":
            return {"output"}
        case "human-input":
            return {field["output_variable_name"] for field in data["inputs"]}
    return set()


def test_answers_name_only_what_tools_stream(app: dict[str, Any]) -> None:
    nodes = nodes_of(app)
    for data in (data for data in nodes.values() if data["type"] == "answer"):
        for source, variable in references(data["answer"]):
            assert nodes.get(source, {}).get("type") != "tool" or variable in STREAMED_BY_TOOLS


def test_nothing_is_behind_a_branch_of_the_tool_itself(app: dict[str, Any]) -> None:
    """D2: Dify streams nothing that lies behind a node with a fail branch until that node has ended."""
    assert {data.get("error_strategy") for data in nodes_of(app).values()} <= {None, "default-value"}


def test_an_answer_shows_a_picture_once(app: dict[str, Any]) -> None:
    """D7: Dify shows a file that an answer names inline, and once more as an attachment; a link only inline."""
    for data in (data for data in nodes_of(app).values() if data["type"] == "answer"):
        assert "files" not in {variable for _, variable in references(data["answer"])}


def test_results_show_nothing_beside_progress_and_answer(app: dict[str, Any]) -> None:
    """Dify shows the texts among a workflow's outputs one after another; ids and links are no reading for people."""
    for data in (data for data in nodes_of(app).values() if data["type"] == "end"):
        texts = [output["variable"] for output in data["outputs"] if output["value_type"] == "string"]
        assert texts == ["progress", "answer"]


def test_forms_are_what_dify_takes_and_show_the_picture_for_as_long_as_they_wait() -> None:
    app = yaml.safe_load((FOLDER / "paint_and_approve.yml").read_text())
    assert app["app"]["mode"] == "advanced-chat", "Dify 1.16 aborts a workflow when its form is sent (dify#39448)"
    forms = [data for data in nodes_of(app).values() if data["type"] == "human-input"]
    assert len(forms) == 2
    for data in forms:
        assert [method["type"] for method in data["delivery_methods"]] == ["webapp"]
        for method in data["delivery_methods"]:
            assert str(uuid.UUID(method["id"])) == method["id"]
        placed = re.findall(r"\{\{#\$output\.(\w+)#\}\}", data["form_content"])
        assert placed == [field["output_variable_name"] for field in data["inputs"]]
        assert all(len(action["id"]) <= 20 for action in data["user_actions"])
        assert {action["button_style"] for action in data["user_actions"]} <= {"primary", "default", "ghost"}
        # Dify's address of a file ends 300 s after the form was made, our link outlives the form.
        assert "files" not in {variable for _, variable in references(data)}
        assert "image_url" in {variable for _, variable in references(data)}
        waits_s = data["timeout"] * {"hour": 3600, "day": 86400}[data["timeout_unit"]]
        assert 3600 <= waits_s < Settings.model_fields["link_ttl_s"].default


def test_no_language_model_is_named_where_a_tool_may_do_without() -> None:
    """So that the app runs right after its import, whatever models a workspace has."""
    app = yaml.safe_load((FOLDER / "form_to_image.yml").read_text())
    assert {data["type"] for data in nodes_of(app).values()} == {"start", "tool", "template-transform", "end"}
    assert nodes_of(app)["enhance"]["tool_configurations"]["enhance_model"]["value"] == ""


def test_the_picture_shows_the_graph_as_it_is(app: dict[str, Any], name: str) -> None:
    with Image.open(FOLDER / f"{name}.webp") as picture:
        fresh = draw(app)
        assert picture.size == fresh.size, "draw it again: python -m examples.draw_graphs"
        differences = ImageStat.Stat(ImageChops.difference(picture.convert("RGB"), fresh)).mean
    # Letters may come out a little differently elsewhere.
    assert max(differences) < 0.5, "draw it again: python -m examples.draw_graphs"
