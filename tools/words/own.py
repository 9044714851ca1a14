"""What the plugin itself says, in Chinese by English; both have the same names in braces."""

from collections.abc import Mapping

OWN: Mapping[str, str] = {
    # -- progress
    "starting": "正在开始",
    "loading the model": "正在加载模型",
    "reading the prompt": "正在读取提示词",
    "writing the prompt": "正在撰写提示词",
    "writing the campaign": "正在撰写营销方案",
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
    "{done} of {total} pieces done": "已完成 {done}/{total} 件",
    ", {count} failed": "，{count} 项失败",
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
    "Taken apart into {count} layers": "已分解为 {count} 个图层",
    "Layers from the back: ": "图层（从后到前）：",
    " All layers as one file: ": " 包含全部图层的文件：",
    "with {model}": "使用 {model}",
    "with {model} ({tier})": "使用 {model}（{tier}）",
    "without a model": "未使用模型",
    "To change it, call image_edit.": "要修改它，请调用 image_edit。",
    "To change one, call image_edit with its image_id.": "要修改其中一张，请用它的 image_id 调用 image_edit。",
    "Taken from an earlier run.": "取自之前的一次运行。",
    "Taken from an earlier run with the prompt “{prompt}”.": "取自之前的一次运行，其提示词为“{prompt}”。",
    ", {count} of them from earlier runs": "，其中 {count} 项取自之前的运行",
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
    "Job {job} goes on for others that share it; cancel it again for each.": (
        "作业 {job} 还有其他相同的请求在共用，因此继续进行；要停止它，请为每个请求各取消一次。"
    ),
    "It leaves no image; all others stay.": "它不会留下图片；其他作业不受影响。",
    "There are no jobs yet.": "还没有作业。",
    "1 job:": "1 个作业：",
    "{count} jobs, newest first:": "{count} 个作业，最新的在前：",
    "place {place}": "第 {place} 位",
    "{count} of {total} rows succeeded": "{total} 行中有 {count} 行成功",
    "{count} of {total} pieces succeeded": "{total} 件中有 {count} 件成功",
    "{count} of {total} pieces painted": "{total} 件中已生成 {count} 件",
    "Headlines: ": "标题：",
    "To paint one again, give campaign {job} and piece.": "要重做其中一件，请提供 campaign（{job}）和 piece。",
    " All pieces as a ZIP file: ": " 全部图片的 ZIP 文件：",
    "There are no saved styles yet.": "还没有保存的风格。",
    "Saved styles: ": "已保存的风格：",
    "Style {style} is deleted.": "风格 {style} 已删除。",
    "Style {style} is saved: ": "风格 {style} 已保存：",
    "Style {style}: ": "风格 {style}：",
    "Painting tools take it as style.": "绘图工具可以通过“已保存的风格”使用它。",
    "Piece": "序号",
    "Channel": "渠道",
    "Language": "语言",
    "Headline": "标题",
    "Subline": "副标题",
    "{count} d ago": "{count} 天前",
    "{count} h ago": "{count} 小时前",
    "{count} min ago": "{count} 分钟前",
    "just now": "刚刚",
    " All images as a ZIP file: ": " 全部图片的 ZIP 文件：",
    "Row and image_id of each, for image_edit: ": "各行的 image_id（供 image_edit 使用）：",
    # -- what is noted beside a result
    "The language model {why}; ": "语言模型未能给出可用的结果（{why}）；",
    "The language model is not chosen, or not written as PROVIDER/MODEL such as langgenius/openai/openai/gpt-4o; ": (
        "未选择语言模型，或未写成 PROVIDER/MODEL 的形式（如 langgenius/openai/openai/gpt-4o）；"
    ),
    "The language model did not answer within {seconds} s; ": "语言模型在 {seconds} 秒内没有响应；",
    "The language model left out or changed the text “{text}”; ": "语言模型漏掉或改动了文字“{text}”；",
    "The language model gave an empty answer; ": "语言模型的回答是空的；",
    "The language model gave no JSON with a prompt in it; ": "语言模型的回答中没有提示词；",
    "The language model gave no JSON with texts and scenes in it; ": "语言模型的回答中没有文案和画面；",
    "the campaign was put together by rules instead.": "已改用规则编排营销方案。",
    "the prompt was put together by rules instead.": "已改用规则撰写提示词。",
    "The language model added the text “{text}”, which the wish does not have.": (
        "语言模型添加了要求中没有的文字“{text}”。"
    ),
    "The language model added the text “{text}”, which the brief does not have.": (
        "语言模型添加了需求中没有的文字“{text}”。"
    ),
    "The language model did not write in English.": "语言模型没有用英文书写。",
    "The language model did not write in Simplified Chinese.": "语言模型没有用中文书写。",
    "Rules do not translate: the wish stays in its own language.": "规则不做翻译：保留原来的语言。",
    "There is no {kind} file: ": "没有 {kind} 文件：",
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
    "This server is version {server}; {needed} or later is needed for {what}: ask its operator to upgrade it, as "
    "docs/operations.md tells.": (
        "该服务器的版本是 {server}；{what} 需要 {needed} 或更高版本：请联系其管理员按 docs/operations.md 升级。"
    ),
    "This server is version {server}; {needed} or later is needed for more than 3 images: ask its operator to upgrade "
    "it, as docs/operations.md tells.": (
        "该服务器的版本是 {server}；使用 3 张以上的图片需要 {needed} 或更高版本："
        "请联系其管理员按 docs/operations.md 升级。"
    ),
    "This server is version {server}, which knows no other; leave the tier at auto, or use {needed}.": (
        "该服务器的版本是 {server}，没有其他档位；请把速度档位设为“自动”，或使用 {needed}。"
    ),
    "Ask the server's operator for an update.": "请联系服务器管理员升级。",
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
    "brief is missing.": "缺少一句话需求（brief）。",
    "Say in one sentence what the campaign is for.": "请用一句话说明这次活动的目的。",
    "piece is missing.": "缺少序号（piece）。",
    "Say which piece of the campaign to paint again, counted from 1.": "请说明要重做第几件，从 1 开始。",
    "style is missing.": "缺少风格名称（style）。",
    "Name the style, such as spring-2027.": "请填写风格名称，例如 spring-2027。",
    "{name}: takes letters, digits, - . and _, such as spring-2027 (given: {strange}).": (
        "{name}：可用字母、数字、- . 和 _，例如 spring-2027（收到：{strange}）。"
    ),
    "channels: takes {names}, separated by commas; not {strange}.": (
        "渠道（channels）可填 {names}，用逗号分隔；不支持“{strange}”。"
    ),
    "languages: takes {names}, separated by commas; not {strange}.": (
        "语言（languages）可填 {names}，用逗号分隔；不支持“{strange}”。"
    ),
    "loras: write names such as ink-wash or ink-wash:0.8, separated by commas; not {odd}.": (
        "LoRA（loras）请填写名称，例如 ink-wash 或 ink-wash:0.8，用逗号分隔；不支持“{odd}”。"
    ),
    "loras: takes at most {limit}; not {count}.": "LoRA（loras）最多 {limit} 个，现有 {count} 个。",
    "loras: takes each one once; not {name} twice.": "LoRA（loras）中的 {name} 只能写一次。",
    "loras: the weight of {name} must be a number from -{most} to {most}; not {odd}.": (
        "LoRA（loras）中 {name} 的权重必须是 -{most} 到 {most} 之间的数字（收到：{odd}）。"
    ),
    "tier: input should be {names} (given: {strange}).": "速度档位（tier）可填 {names}（收到：{strange}）。",
    "Say how the style looks: style_words, palette, negative_prompt, seed or image_id.": (
        "请说明风格的样子：style_words、palette、negative_prompt、seed 或 image_id。"
    ),
    "The server has no style {style} of this API key's owner; image_style with action list names them.": (
        "服务器上没有此 API 密钥所有者的风格 {style}；可用 image_style（action 为 list）列出。"
    ),
    "Say what to change in the image, or choose a template.": "请说明要在图片中修改什么，或选择一个模板。",
    "{name}: takes at most {count} characters.": "{name}：最多 {count} 个字符。",
    "{name}: the variable {variable} has no value in Dify; choose it anew.": (
        "{name}：变量 {variable} 在 Dify 中没有值；请重新选择。"
    ),
    "image: none was given, and this app has no earlier one of yours; give a file, or image_id.": "没有给出图片，您在该"
    "应用中也没有之前的图片；请提供文件或 image_id。",
    "{what} could not be downloaded: ": "{what} 无法下载：",
    "{what} is larger than {size} MB.": "{what} 大于 {size} MB。",
    "Send a smaller one.": "请发送更小的文件。",
    "Run it again; if it fails again, tell the plugin's developers these words and what you asked for.": "请重新运行；"
    "如果再次失败，请把这些文字和您的要求告诉插件开发者。",
}
