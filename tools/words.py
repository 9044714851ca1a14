"""The plugin's words to people: written in English where they are said, and here in Chinese.

A text of the server that people meet often in Dify stands here as well.
"""

import re
from collections.abc import Mapping
from functools import cache

from tools.wishes import Language

CHINESE: Mapping[str, str] = {
    # -- progress
    "starting": "正在开始",
    "loading the model": "正在加载模型",
    "reading the prompt": "正在读取提示词",
    "writing the prompt": "正在撰写提示词",
    "painting": "正在绘制",
    "painting {step}": "正在绘制 {step}",
    "adjusting": "正在调整",
    "turning the result into pixels": "正在生成像素",
    "storing the images": "正在保存图片",
    "no answer from the server, trying again": "服务器没有响应，正在重试",
    "waiting, the queue is full": "队列已满，正在等待",
    "waiting, a limit of the API key is reached": "已达到 API 密钥的上限，正在等待",
    "waiting, the server takes no jobs yet": "服务器暂不接受作业，正在等待",
    "waiting, next in the queue": "正在排队，下一个就是",
    "waiting, place {place} in the queue": "正在排队，第 {place} 位",
    "waiting for a person to approve the result": "等待人工审核",
    "{done} of {total} rows done": "已完成 {done}/{total} 行",
    ", {count} failed": "，{count} 行失败",
    "failed": "失败",
    "cancelled": "已取消",
    "done, {seconds} s": "完成，{seconds} 秒",
    " (job {job})": "（作业 {job}）",
    # -- what was made
    "Painted {count} image": "已生成 {count} 张图片",
    "Painted {count} images": "已生成 {count} 张图片",
    "Edited {count} image": "已编辑 {count} 张图片",
    "Edited {count} images": "已编辑 {count} 张图片",
    "Extended {count} image": "已扩展 {count} 张图片",
    "Extended {count} images": "已扩展 {count} 张图片",
    "with {model}": "使用 {model}",
    "without a model": "未使用模型",
    "To change it, call image_edit.": "要修改它，请调用 image_edit。",
    "To change one, call image_edit with its image_id.": "要修改其中一张，请用它的 image_id 调用 image_edit。",
    "Note: ": "说明：",
    " Show it to the person with: ": " 请这样展示给用户：",
    "is running": "正在运行",
    "waits for a person's approval": "等待人工审核",
    "is queued": "正在排队",
    "is queued at place {place}": "正在排队，第 {place} 位",
    "fetch it with image_job": "请用 image_job 取回结果",
    "then fetch it with image_job": "之后请用 image_job 取回结果",
    "{count} more wait for a reviewer; fetch them later with image_job, job_id {job}.": (
        "另有 {count} 张等待审核；稍后请用 image_job（job_id {job}）取回。"
    ),
    "Image {image} is approved.": "图片 {image} 已通过审核。",
    "Image {image} is rejected.": "图片 {image} 未通过审核。",
    "The record names the person who started this run.": "审核记录中的人是启动本次运行的人。",
    "Job {job} {state}; {fetch}.": "作业 {job} {state}；{fetch}。",
    "Job {job} is cancelled.": "作业 {job} 已取消。",
    "Job {job} stops at its next step.": "作业 {job} 将在下一步停止。",
    "It leaves no image; all others stay.": "它不会留下图片；其他作业不受影响。",
    "There are no jobs yet.": "还没有作业。",
    "1 job:": "1 个作业：",
    "{count} jobs, newest first:": "{count} 个作业，最新的在前：",
    "place {place}": "第 {place} 位",
    "{count} of {total} rows succeeded": "{total} 行中有 {count} 行成功",
    "{count} d ago": "{count} 天前",
    "{count} h ago": "{count} 小时前",
    "{count} min ago": "{count} 分钟前",
    "just now": "刚刚",
    " All images as a ZIP file: ": " 全部图片的 ZIP 文件：",
    "Row and image_id of each, for image_edit: ": "各行的 image_id（供 image_edit 使用）：",
    # -- what went wrong
    "Job {job} failed: ": "作业 {job} 失败：",
    "Job {job} was cancelled at the server.": "作业 {job} 已在服务器上被取消。",
    "Run it again if the image is still wanted.": "如果仍需要这张图片，请重新运行。",
    "Job {job} goes on at the server; image_job fetches its result later.": "作业 {job} 仍在服务器上继续；"
    "稍后可用 image_job 取回结果。",
    "The time budget ended while job {job} was {state}.": "作业 {job} 尚未完成（{state}），时间上限已到。",
    "It goes on at the server: fetch its result later with the tool image_job and job_id {job}.": "它仍在服务器上继续："
    "稍后请用工具 image_job 和 job_id {job} 取回结果。",
    "To wait longer in one call, raise time_budget in the credentials.": "要在一次调用中等待更久，请在凭据中调大 "
    "time_budget。",
    "The time budget ended before {host} answered.": "{host} 响应之前，时间上限已到。",
    "Raise time_budget in the credentials, or look at the server's log.": (
        "请在凭据中调大 time_budget，或查看服务器日志。"
    ),
    "The server refused the API key.": "服务器拒绝了 API 密钥。",
    "Enter a valid api_key in the credentials of the Qwen-Image Studio plugin; the server's operator hands them out.": (
        "请在 Qwen-Image 工作室插件的凭据中填写有效的 api_key；密钥由服务器管理员发放。"
    ),
    "The queue is full (jobs that wait: {count}).": "队列已满（等待中的作业：{count}）。",
    "Send it again later.": "请稍后再试。",
    "The API key '{key}' may make {limit} images a day, of which {left} are left; this asks for {asked}.": (
        "API 密钥“{key}”每天最多生成 {limit} 张图片，还剩 {left} 张；本次需要 {asked} 张。"
    ),
    "The API key '{key}' may make {limit} images a month, of which {left} are left; this asks for {asked}.": (
        "API 密钥“{key}”每月最多生成 {limit} 张图片，还剩 {left} 张；本次需要 {asked} 张。"
    ),
    "Each person of the API key '{key}' may make {limit} images a day, of which {left} are left; "
    "this asks for {asked}.": (
        "API 密钥“{key}”的每位用户每天最多生成 {limit} 张图片，还剩 {left} 张；本次需要 {asked} 张。"
    ),
    "Each person of the API key '{key}' may make {limit} images a month, of which {left} are left; "
    "this asks for {asked}.": (
        "API 密钥“{key}”的每位用户每月最多生成 {limit} 张图片，还剩 {left} 张；本次需要 {asked} 张。"
    ),
    "Ask for fewer, again after {day} {time} UTC, or the operator for more.": (
        "请减少张数，在 {day} {time}（UTC）之后再试，或请管理员提高上限。"
    ),
    "The API key '{key}' may submit {limit} jobs a minute, and has.": "API 密钥“{key}”每分钟最多提交 {limit} 个作业，"
    "已达上限。",
    "Each person of the API key '{key}' may submit {limit} jobs a minute, and has.": (
        "API 密钥“{key}”的每位用户每分钟最多提交 {limit} 个作业，已达上限。"
    ),
    "Send it again in {count} seconds.": "请在 {count} 秒后再试。",
    "The API key '{key}' may have {limit} jobs at once, and {count} have not ended.": (
        "API 密钥“{key}”最多同时有 {limit} 个作业，现有 {count} 个尚未结束。"
    ),
    "Each person of the API key '{key}' may have {limit} jobs at once, and {count} have not ended.": (
        "API 密钥“{key}”的每位用户最多同时有 {limit} 个作业，现有 {count} 个尚未结束。"
    ),
    "Wait for one to end, or cancel one.": "请等其中一个结束，或取消一个。",
    "{param}: {size} has more than the {limit} pixels that the API key '{key}' may ask for; ask for at most {most}, "
    "or another shape of as many pixels.": (
        "{param}：{size} 超过 API 密钥“{key}”可请求的 {limit} 像素；请最多请求 {most}，或像素数相同的其他形状。"
    ),
    "{param}: {size} has more than the {limit} pixels that each person of the API key '{key}' may ask for; "
    "ask for at most {most}, or another shape of as many pixels.": (
        "{param}：{size} 超过 API 密钥“{key}”的每位用户可请求的 {limit} 像素；"
        "请最多请求 {most}，或像素数相同的其他形状。"
    ),
    "steps: {steps} are more than the {limit} that the API key '{key}' may ask for; send steps of at most {most}.": (
        "steps：{steps} 步超过 API 密钥“{key}”可请求的 {limit} 步；steps 请最多填 {most}。"
    ),
    "steps: {steps} are more than the {limit} that each person of the API key '{key}' may ask for; "
    "send steps of at most {most}.": (
        "steps：{steps} 步超过 API 密钥“{key}”的每位用户可请求的 {limit} 步；steps 请最多填 {most}。"
    ),
    "steps: {steps}, which {model} takes by itself, are more than the {limit} that the API key '{key}' may ask for; "
    "send steps of at most {most}.": (
        "steps：{model} 默认的 {steps} 步超过 API 密钥“{key}”可请求的 {limit} 步；steps 请最多填 {most}。"
    ),
    "steps: {steps}, which {model} takes by itself, are more than the {limit} that each person of the API key '{key}' "
    "may ask for; send steps of at most {most}.": (
        "steps：{model} 默认的 {steps} 步超过 API 密钥“{key}”的每位用户可请求的 {limit} 步；steps 请最多填 {most}。"
    ),
    "The API key '{key}' lacks the scope {scope} that this needs; it has {scopes}.": (
        "API 密钥“{key}”缺少所需的权限 {scope}；它有：{scopes}。"
    ),
    "The operator gives it with '{command}'.": "请管理员运行“{command}”来授予。",
    "{host} refused the connection: nothing listens there.": "{host} 拒绝了连接：该地址没有服务在监听。",
    "Start the server, check the port in {setting}; inside Docker, localhost is the container itself.": "请启动服务器，"
    "检查 {setting} 中的端口；在 Docker 中，localhost 指容器本身。",
    "{host} did not accept a connection in time.": "{host} 未能及时接受连接。",
    "{host} accepted the connection but did not answer in time.": "{host} 接受了连接，但未能及时响应。",
    "It may be overloaded; look at its log.": "它可能已过载；请查看其日志。",
    "The connection to {host} broke off.": "与 {host} 的连接中断了。",
    "Check that the server runs and look at its log.": "请确认服务器在运行，并查看其日志。",
    "Check {setting} and DNS.": "请检查 {setting} 和 DNS。",
    "The host name {host} is not known where the plugin daemon runs.": "插件守护进程所在的环境不认识主机名 {host}。",
    "prompt is missing.": "缺少提示词（prompt）。",
    "Fill it in.": "请填写。",
    "Say what to change in the image, or choose a template.": "请说明要在图片中修改什么，或选择一个模板。",
    "{name}: takes at most {count} characters.": "{name}：最多 {count} 个字符。",
    "{name}: the variable {variable} has no value in Dify; choose it anew.": (
        "{name}：变量 {variable} 在 Dify 中没有值；请重新选择。"
    ),
    "image: there is no image in this conversation yet, or it was long ago; send the one you mean.": "本次对话中还没有"
    "图片，或者时间太久；请发送您要修改的图片。",
    "image: none was given, and this app has no earlier one of yours; give a file, or image_id.": "没有给出图片，您在该"
    "应用中也没有之前的图片；请提供文件或 image_id。",
    "{what} could not be downloaded: ": "{what} 无法下载：",
    "{what} is larger than {size} MB.": "{what} 大于 {size} MB。",
    "Send a smaller one.": "请发送更小的文件。",
    "The model is still loading, {share} % so far.": "模型仍在加载，已完成 {share} %。",
    "{size} does not fit into the memory of {device}; ask for {smaller} or smaller.": (
        "{device} 的显存放不下 {size}；请改用 {smaller} 或更小的尺寸。"
    ),
    "Run it again; if it fails again, tell the plugin's developers these words and what you asked for.": "请重新运行；"
    "如果再次失败，请把这些文字和您的要求告诉插件开发者。",
}
"""Chinese by English; both have the same names in braces."""

_OF_MANY_WORDS = {"what", "state", "scope", "scopes", "command"}
"""Names in braces that stand for more than one word."""


def said(language: Language, english: str, **values: object) -> str:
    """Return a text in a language, with its names in braces filled in. One that is not in CHINESE stays English."""
    text = CHINESE.get(english, english) if language == "zh" else english
    return text.format(**values) if values else text


def translated(message: str, language: Language) -> str:
    """Return a message with all sentences of it that are known in another language, and the others as they are."""
    if language == "en":
        return message
    found, rest = "", message
    while rest:
        taken = next((match for pattern in _patterns() if (match := pattern.match(rest))), None)
        if taken is None:
            here = re.match(r".*?[.:](?:\s+|$)|.+", rest, re.DOTALL)
            found += here.group() if here else rest
            rest = rest[here.end() :] if here else ""
            continue
        english = _patterns()[taken.re]
        found += CHINESE[english].format(**taken.groupdict())
        rest = rest[taken.end() :]
    return found.strip()


@cache
def _patterns() -> Mapping[re.Pattern[str], str]:
    """Return the patterns of all sentences, the longest first, each with the sentence."""
    sentences = sorted((text for text in CHINESE if text.endswith((".", ": "))), key=len, reverse=True)
    return {re.compile(_pattern(sentence), re.DOTALL): sentence for sentence in sentences}


def _pattern(sentence: str) -> str:
    parts = re.split(r"\{(\w+)\}", sentence)
    seen: set[str] = set()
    pattern = ""
    for position, part in enumerate(parts):
        if position % 2 == 0:
            pattern += re.escape(part)
        else:
            one = "[^.:]+?" if part in _OF_MANY_WORDS else r"\S+?"
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>{one})"
            seen.add(part)
    return rf"{pattern}(?:\s+|$)" if sentence[-1] in ".!" else pattern
