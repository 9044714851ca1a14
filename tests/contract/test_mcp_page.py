"""docs/mcp.md, held against the code: tools, headers, settings, and the lines to paste."""

import json
import re
from typing import Any

import pytest
import yaml

from qwen_image_studio.contract.mcp import MAX_WAIT_S, CallOptions, Inline, JobAction
from qwen_image_studio.settings import PREFIX, Settings
from qwen_image_studio.web.mcp.calls import OPTION_HEADERS, USER_HEADER
from qwen_image_studio.web.mcp.errors import PATH
from qwen_image_studio.web.mcp.serving import SESSION_HEADER
from qwen_image_studio.web.mcp.streaming import PING_S
from qwen_image_studio.web.mcp.tools import HIDDEN, JOB_TOOL, PAINT_TOOLS
from tests.support import ROOT

PAGE = (ROOT / "docs/mcp.md").read_text(encoding="utf-8")
ADDRESS = f"https://studio.example.com{PATH}"


def block(language: str) -> Any:
    [text] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return json.loads(text) if language == "json" else yaml.safe_load(text)


def test_its_table_has_the_tools_and_their_operations() -> None:
    rows = dict(re.findall(r"^\| `(image_\w+)` \|(.*?)\|", PAGE, flags=re.MULTILINE))
    tools = {name: list(tool.operations) for name, tool in PAINT_TOOLS.items()}
    assert {name: re.findall(r"`(\w+)`", cell) for name, cell in rows.items()} == {**tools, JOB_TOOL: []}
    assert all(f"`{name}`" in PAGE for name in HIDDEN - {"operation"})


def test_its_headers_and_parameters_are_those_that_are_read() -> None:
    rows = re.findall(r"^\| `(X-[\w-]+)` \| (?:`(\w+)`)? ?\|", PAGE, flags=re.MULTILINE)
    assert rows == [(USER_HEADER, ""), *((header, name) for name, header in OPTION_HEADERS.items())]
    assert set(re.findall(r"X-[A-Z][\w-]+", PAGE)) == {USER_HEADER, *OPTION_HEADERS.values()}
    assert SESSION_HEADER in PAGE
    assert all(f"`{value.value}`" in PAGE for value in [*Inline, JobAction.CANCEL])


def test_its_settings_are_there_and_have_the_values_that_it_says() -> None:
    own = set(re.findall(r"\bSTUDIO_\w+", PAGE)) - {"STUDIO_KEY"}
    assert {name.removeprefix(PREFIX).lower() for name in own} <= Settings.model_fields.keys()
    assert f"`STUDIO_MCP_WAIT_S`, which is {Settings.model_fields['mcp_wait_s'].default:g}" in PAGE
    assert Settings.model_fields["mcp_wait_s"].default == CallOptions().wait
    assert f"up to {MAX_WAIT_S:g}" in PAGE
    assert f"every {PING_S:g} seconds" in PAGE
    [price] = re.findall(r"STUDIO_MCP_PRICE=([\d.]+ \w+)", PAGE)
    assert Settings(mcp_price=price).mcp_price == price
    with pytest.raises(ValueError, match=r"such as 0\.02 USD"):
        Settings(mcp_price="2 cents")


def test_what_is_to_be_pasted_can_be_read_and_leads_here() -> None:
    claude, libre = block("json")["mcpServers"]["studio"], block("yaml")["mcpServers"]["studio"]
    assert claude["args"][:3] == ["-y", "mcp-remote", ADDRESS]
    headers = dict(claude["args"][at + 1].split(":", 1) for at, each in enumerate(claude["args"]) if each == "--header")
    assert headers == {"Authorization": "${STUDIO_KEY}", OPTION_HEADERS["inline"]: Inline.PREVIEW.value}
    assert claude["env"] == {"STUDIO_KEY": "Bearer KEY"}
    assert (libre["type"], libre["url"]) == ("streamable-http", ADDRESS)
    assert libre["headers"].keys() == {"Authorization", USER_HEADER}
    assert libre["timeout"] > 1000 * CallOptions().wait
    for name in ("Dify", "Claude Desktop", "Open WebUI", "LibreChat"):
        section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert ADDRESS in section, name
        assert "KEY" in section, name
