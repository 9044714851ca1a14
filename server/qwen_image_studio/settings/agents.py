"""The settings of the endpoint for agents, which speak the Model Context Protocol."""

from typing import Annotated

from pydantic import Field

from qwen_image_studio.contract.fields import shaped
from qwen_image_studio.contract.mcp import MAX_WAIT_S
from qwen_image_studio.settings.page import PageSettings

_PRICE = r"^(?:[0-9]{1,6}(?:\.[0-9]{1,6})? [A-Z]{3}|)$"


class AgentSettings(PageSettings):
    """The settings of the endpoint beside those that every server needs; `Settings` has all."""

    mcp_wait_s: float = Field(
        20.0,
        ge=0,
        le=MAX_WAIT_S,
        description="Seconds for which a call of an agent (MCP) waits for its images, unless it says otherwise, before "
        "it is told the job_id with which to fetch them.",
    )
    mcp_price: Annotated[str, shaped(_PRICE, "it has to be a price with a currency, such as 0.02 USD")] = Field(
        "",
        pattern=_PRICE,
        description="What agents (MCP) are told that a painted image costs, such as `0.02 USD`; Dify shows it on the "
        "node. Empty: nothing.",
    )
