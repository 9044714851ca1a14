"""The official client of the Model Context Protocol, unchanged, against a running server with the miniature."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

from tests.support.pictures import png
from tests.support.studio import Studio
from tests.support.waiting import until

VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
"""What the client speaks in each of its modes: with the handshake, and what is found without one."""
QUICK = {"prompt": "a red apple", "steps": 4}
LONG = {"prompt": "a red apple", "steps": 150, "n": 10, "wait": 120}
"""A job that outlasts whoever waits for it here."""
Talk = Callable[[Client], Awaitable[Any]]


@asynccontextmanager
async def connected(studio: Studio, mode: str, **headers: str) -> AsyncIterator[Client]:
    sent = {"Authorization": f"Bearer {studio.api_key}", **headers}
    async with httpx2.AsyncClient(headers=sent, timeout=120) as http:
        transport = streamable_http_client(f"{studio.url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


def talk(studio: Studio, mode: str, say: Talk, **headers: str) -> Any:
    """Connect, say something, and return what comes of it."""

    async def whole() -> Any:
        with anyio.fail_after(240):
            async with connected(studio, mode, **headers) as client:
                return await say(client)

    return anyio.run(whole)


def pictures(result: CallToolResult) -> list[Image.Image]:
    return [
        Image.open(BytesIO(base64.b64decode(each.data))) for each in result.content if isinstance(each, ImageContent)
    ]


def text_of(result: CallToolResult) -> str:
    [text] = [each.text for each in result.content if isinstance(each, TextContent)]
    return text


@pytest.mark.parametrize("mode", VERSIONS)
def test_an_image_is_painted_with_progress_and_changed_by_its_id(studio: Studio, mode: str) -> None:
    """The client itself holds structuredContent to the schema that the list of tools has."""
    told: list[tuple[float, float | None]] = []

    async def follow(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async def say(client: Client) -> tuple[CallToolResult, CallToolResult]:
        assert client.protocol_version == VERSIONS[mode]
        assert client.server_info is not None
        assert client.server_info.name == "qwen-image-studio"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"image_generation", "image_edit", "image_outpaint", "image_job"} <= tools.keys()
        painted = await client.call_tool(
            "image_generation", {**QUICK, "steps": 150, "cache": False}, progress_callback=follow
        )
        assert painted.structured_content is not None
        image = painted.structured_content["image_id"]
        edited = await client.call_tool("image_edit", {"prompt": "make it green", "image": image, "steps": 4})
        return painted, edited

    painted, edited = talk(studio, mode, say)
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})
    assert told[-1][0] > 0, "it was told of steps, of which there are 150"
    assert told[-1][1] == 150
    assert [len(pictures(result)) for result in (painted, edited)] == [1, 1]
    found = edited.structured_content
    assert found["state"] == "succeeded"
    assert f"Image {found['image_id']}" in text_of(edited)
    job = studio.job(found["job_id"])
    assert (job["operation"], job["images"][0]["id"]) == ("edit", found["image_id"])


def test_an_image_goes_in_and_out_whole(studio: Studio) -> None:
    async def say(client: Client) -> tuple[CallToolResult, CallToolResult]:
        picture = f"data:image/png;base64,{base64.b64encode(png(64, 48)).decode()}"
        turned = await client.call_tool("image_edit", {"prompt": "rotate it 90 degrees", "image": picture})
        wide = await client.call_tool("image_outpaint", {"image": picture, "left": 16, "steps": 4, "inline": "none"})
        return turned, wide

    turned, wide = talk(studio, "auto", say)
    assert [image.size for image in pictures(turned)] == [(48, 64)]
    assert wide.structured_content is not None
    assert (wide.structured_content["width"], pictures(wide)) == (80, [])


def test_a_large_answer_reaches_a_client_whose_events_are_small(studio: Studio) -> None:
    """Of 1 MiB, which is where this one stops; JSON may be of any size."""
    buffer = BytesIO()
    Image.effect_noise((1000, 1000), 90).convert("RGB").save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    told: list[float] = []

    async def follow(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async def say(client: Client) -> list[CallToolResult]:
        ask = {"prompt": "rotate it 90 degrees", "image": picture}
        return [
            await client.call_tool("image_edit", ask),
            await client.call_tool("image_edit", ask, progress_callback=follow),
        ]

    whole, small = talk(studio, "auto", say)
    assert [image.format for image in pictures(whole)] == ["PNG"]
    assert len(base64.b64encode(buffer.getvalue())) > 1024**2
    assert [max(image.size) <= 1024 for image in pictures(small)] == [True]
    assert sum(len(each.data) for each in small.content if isinstance(each, ImageContent)) < 1_000_000


def test_a_long_job_is_fetched_by_its_id(studio: Studio) -> None:
    async def say(client: Client) -> CallToolResult:
        begun = await client.call_tool("image_generation", QUICK)
        assert begun.structured_content is not None
        job_id = begun.structured_content["job_id"]
        assert "Call image_job" in text_of(begun)
        return await client.call_tool("image_job", {"job_id": job_id, "wait": 120})

    assert len(pictures(talk(studio, "legacy", say, **{"X-Studio-Wait": "0"}))) == 1


@pytest.mark.parametrize("mode", VERSIONS)
def test_a_call_that_is_given_up_cancels_its_job(studio: Studio, mode: str) -> None:
    """With the handshake the client sends a note, without it closes the connection."""
    person = f"canceller-{mode}"

    def jobs() -> list[dict[str, Any]]:
        return list(studio.request("GET", "/v1/jobs", params={"user": person}).json()["data"])

    async def say(client: Client) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "image_generation", LONG)
            while not await anyio.to_thread.run_sync(jobs):
                await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
        await client.list_tools()  # the note goes out before this does

    talk(studio, mode, say, **{"X-Studio-User": person})
    until(lambda: [job["state"] for job in jobs()] == ["cancelled"])


def test_a_client_of_the_handshake_that_just_leaves_has_its_job_painted(studio: Studio) -> None:
    """There a closed connection takes nothing back, as Dify's Stop does not; the job can be fetched."""

    async def say(client: Client) -> str:
        begun = await client.call_tool("image_generation", {**QUICK, "seed": 12, "wait": 0})
        assert begun.structured_content is not None
        return str(begun.structured_content["job_id"])

    job_id = talk(studio, "legacy", say)
    headers = {"Authorization": f"Bearer {studio.api_key}"}
    ask = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "image_job", "arguments": {"job_id": job_id}},
    }
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{studio.url}/mcp", json=ask, headers=headers, timeout=0.01)
    assert studio.finished(job_id)["state"] == "succeeded"


@pytest.mark.parametrize("mode", VERSIONS)
def test_errors_reach_the_user_with_field_and_remedy(studio: Studio, mode: str) -> None:
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("image_generation", {"prompt": "x", "n": 99}, "n: "),
        ("image_generation", {"promt": "x"}, "did you mean 'prompt'"),
        ("image_edit", {"prompt": "x", "image": "img_none"}, "there is no image 'img_none'"),
        ("image_job", {"job_id": "job_none"}, "job_none"),
    ]

    async def say(client: Client) -> None:
        for tool, arguments, said in refused:
            with pytest.raises(MCPError) as caught:
                await client.call_tool(tool, arguments)
            assert said in str(caught.value)

    talk(studio, mode, say)


@pytest.mark.parametrize("mode", VERSIONS)
def test_a_wrong_key_is_said_in_a_sentence(studio: Studio, mode: str) -> None:
    async def say(client: Client) -> None:
        raise AssertionError("it came in")

    with pytest.raises((MCPError, ExceptionGroup)) as caught:
        talk(studio, mode, say, Authorization="Bearer wrong")
    assert "The API key is missing or wrong" in text_of_error(caught.value)


def text_of_error(error: BaseException) -> str:
    return "\n".join(map(text_of_error, error.exceptions)) if isinstance(error, BaseExceptionGroup) else str(error)
