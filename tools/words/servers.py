"""What the server says and people meet often in Dify, in Chinese by English; both have the same names in braces."""

from collections.abc import Mapping

SERVERS: Mapping[str, str] = {
    "style: you have no style '{style}'; you have {names}.": "没有名为“{style}”的风格；已有：{names}。",
    "style: you have no style '{style}'; save one with PUT /v1/styles/NAME first.": (
        "没有名为“{style}”的风格；请先用 image_style 保存一个。"
    ),
    "Painted by the miniature, a stand-in for machines without a GPU.": (
        "由微型模型绘制，它在没有 GPU 的机器上代替大模型。"
    ),
    "The miniature knows nothing in this prompt; it would know for example: {words}.": (
        "微型模型不认识这段提示词中的任何事物；它认识的例如：{words}。"
    ),
    "{model} is not on this server; the miniature answered for it.": "服务器上没有 {model}；由微型模型代替。",
    "The miniature left out what it knows no word of: '{parts}'.": "微型模型略去了它不认识的部分：“{parts}”。",
    "The pictures are those of an earlier request, whose prompt (similar_prompt) differs from this one only in case, "
    "blanks, the order of its parts or words that show nothing; cache: off has them painted anew.": (
        "图片来自之前的请求，其提示词（similar_prompt）只有大小写、空格、语序或无关画面的词不同；"
        "要重新绘制，请选择 cache: off。"
    ),
    "seed {seed} is the art direction's; send a seed for another picture.": (
        "种子 {seed} 来自已保存的风格；想要不同的图片，请另给一个种子。"
    ),
    "guidance_scale and negative_prompt have no effect: {model} paints without guidance.": (
        "guidance_scale 和 negative_prompt 不起作用：{model} 绘制时不使用引导。"
    ),
    "negative_prompt has no effect at tier {tier}, which is made without guidance; use tier quality with "
    "guidance_scale above 1.": (
        "{tier} 档位不使用引导，negative_prompt 不起作用；请改用 quality 档位，guidance_scale 大于 1。"
    ),
    "negative_prompt has no effect while guidance_scale is 1; raise it above 1.": (
        "guidance_scale 为 1 时 negative_prompt 不起作用；请把它调到 1 以上。"
    ),
    "negative_prompt has no effect without a prompt.": "没有提示词时 negative_prompt 不起作用。",
    "{tier} is made for {steps} steps; with {own} its pictures may be worse.": (
        "{tier} 档位按 {steps} 步训练；改为 {own} 步，效果可能变差。"
    ),
    "{tier} is made for guidance_scale {scale}; with {own} its pictures may be worse.": (
        "{tier} 档位按 guidance_scale {scale} 训练；改为 {own}，效果可能变差。"
    ),
    "Painted at {painted} and resized to {size}: {model} paints {least} to {most} pixels with sides in multiples of "
    "{grid}.": "先按 {painted} 绘制，再缩放为 {size}：{model} 绘制 {least} 到 {most} 像素，边长为 {grid} 的倍数。",
    "Painted at {painted} and resized to {size}: {model} paints {least} to {most} pixels with sides in multiples of "
    "{grid} at tier {tier}.": (
        "先按 {painted} 绘制，再缩放为 {size}：{model} 在 {tier} 档位绘制 {least} 到 {most} 像素，"
        "边长为 {grid} 的倍数。"
    ),
    "A part of {size} was painted at {painted} and resized: {model} paints parts of {least} to {most} pixels.": (
        "{size} 的区域先按 {painted} 绘制，再缩放：{model} 绘制 {least} 到 {most} 像素的区域。"
    ),
    "A part of {size} was painted at {painted} and resized: {model} paints parts of {least} to {most} pixels at tier "
    "{tier}.": "{size} 的区域先按 {painted} 绘制，再缩放：{model} 在 {tier} 档位绘制 {least} 到 {most} 像素的区域。",
    "A part of {size} was painted at {painted} and resized: {model} paints parts of {most} pixels at tier {tier}.": (
        "{size} 的区域先按 {painted} 绘制，再缩放：{model} 在 {tier} 档位绘制 {most} 像素的区域。"
    ),
    "LoRA {lora} answers to {words}; the prompt has none of these words.": (
        "LoRA {lora} 由这些词触发：{words}；提示词中没有这些词。"
    ),
    "Memory had run out, so pictures were encoded and decoded in tiles; this one may differ very slightly from one "
    "that was not.": "显存不足，图片分块编码和解码；与不分块的结果可能有极细微的差别。",
    "Memory had run out, so the text encoder left the card once the texts were encoded; the picture is the same, and "
    "the next text takes a little longer.": "显存不足，文本编码后编码器暂离显卡；图片不变，下一段文本会稍慢。",
    "Memory had run out, so the other models left the card; the picture is the same, and the next one by another model "
    "takes longer.": "显存不足，其他模型暂离显卡；图片不变，下次使用其他模型会更慢。",
    "Memory had run out, so the model passed through the card block by block; the picture is the same, but "
    "took longer.": "显存不足，模型逐块通过显卡；图片不变，但用时更长。",
    "The card of this server holds the model in fp8 alone, so this picture may differ slightly from one in bf16.": (
        "此服务器的显卡只能以 fp8 容纳该模型，因此图片与 bf16 的结果可能略有差别。"
    ),
    "'{text}' is lettered nowhere, since no piece is in its language; name that in languages.": (
        "“{text}”没有写进任何一件，因为没有该语言的作品；请在 languages 中加上该语言。"
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
    "'{name}' is not a parameter of this {operation} request.": "此服务器的 {operation} 请求没有参数“{name}”。",
    "See /openapi.json for the ones there are.": "现有参数见 /openapi.json。",
    "tier: input should be {names} (you sent '{value}').": "速度档位（tier）：服务器只认识 {names}（收到：{value}）。",
    "tier: {model} has no tier {tier}; it has: {names}.": (
        "速度档位（tier）：{model} 没有 {tier}；请改选其中之一：{names}，或选“自动”。"
    ),
    "tier: {model} has no tier {tier}; it has: {names}; its licence ({licence}) has to be accepted by the operator "
    "first, as STUDIO_LICENCES={id}.": (
        "速度档位（tier）：{model} 的 {tier} 档位须由管理员先接受其许可证（{licence}，STUDIO_LICENCES={id}）；"
        "现有：{names}，或选“自动”。"
    ),
    "model '{model}' is not on this server; it has: {there}.": "服务器上没有模型“{model}”；现有：{there}。",
    "{model} is not offered: its licence ({licence}) has to be accepted by the operator first, as "
    "STUDIO_LICENCES={id}.": "{model} 未提供：须由管理员先接受其许可证（{licence}，STUDIO_LICENCES={id}）。",
    "LoRA {lora} does not fit beside the model; ask for fewer at once, or a smaller one.": (
        "显存放不下 LoRA {lora}；请减少同时使用的 LoRA，或换小一些的。"
    ),
    "loras: '{lora}' is not offered for {model} any more; send the job again without it.": (
        "LoRA “{lora}”已不再提供给 {model}；请去掉它再试。"
    ),
    "loras: there is no '{lora}'; {model} has: {there}.": "没有名为“{lora}”的 LoRA；{model} 有：{there}。",
    "loras: there is no '{lora}'; {model} has: none for you here.": (
        "没有名为“{lora}”的 LoRA；此服务器没有为 {model} 提供您可用的 LoRA。"
    ),
    "loras: '{lora}' is for {others}, not for {model}; {model} has: {there}.": (
        "LoRA “{lora}”适用于 {others}，不适用于 {model}；{model} 有：{there}。"
    ),
    "loras: '{lora}' is for {others}, not for {model}; {model} has: none for you here.": (
        "LoRA “{lora}”适用于 {others}，不适用于 {model}；此服务器没有为 {model} 提供您可用的 LoRA。"
    ),
    "loras[{number}].name: '{lora}' is named twice; send it once, with its scale.": (
        "loras[{number}]：“{lora}”写了两次；请只写一次，并带上权重。"
    ),
    "loras[{number}].scale: '{lora}' takes {least} to {most} (you sent {value}).": (
        "loras[{number}]：“{lora}”的权重可为 {least} 到 {most}（收到：{value}）。"
    ),
    "loras: takes names, each with a scale or without; send {json}, or {lora}.": (
        "LoRA（loras）请写名称，可带权重，例如 {json}，或 {lora}。"
    ),
    "loras: takes names, each with a scale or without; send {json}, or {lora} (you sent {value}).": (
        "LoRA（loras）请写名称，可带权重，例如 {json}，或 {lora}（收到：{value}）。"
    ),
    "LoRA {lora}: its file cannot be read; the server's log says more.": (
        "LoRA {lora} 的文件无法读取；详情见服务器日志，请联系管理员。"
    ),
    "LoRA {lora}: its file has numbers that are infinite or none at all, which paint black; save it again.": (
        "LoRA {lora} 的文件含有无穷大或无效的数值，会画成全黑；请管理员重新保存该文件。"
    ),
    "LoRA {lora}: its file is not there; put it back, or correct STUDIO_LORAS.": (
        "LoRA {lora} 的文件不存在；请管理员放回文件或改正 STUDIO_LORAS。"
    ),
    "LoRA {lora}: {file} is not on this machine and cannot be fetched from {repository}; check the names and the "
    "network, or name a file.": (
        "LoRA {lora}：{file} 不在服务器上，也无法从 {repository} 获取；请管理员检查名称和网络，或指定本机文件。"
    ),
    "image: there is no image in this conversation yet, or it was long ago; send the one you mean.": "本次对话中还没有"
    "图片，或者时间太久；请发送您要修改的图片。",
    "The model is still loading, {share} % so far.": "模型仍在加载，已完成 {share} %。",
    "{size} does not fit into the memory of {device}; ask for {smaller} or smaller.": (
        "{device} 的显存放不下 {size}；请改用 {smaller} 或更小的尺寸。"
    ),
    "{size} does not fit into the memory of {device}; ask for {smaller} or smaller, or send fewer input images.": (
        "{device} 的显存放不下 {size}；请改用 {smaller} 或更小的尺寸，或减少输入图片。"
    ),
    "{size} does not fit into the memory of {device}; no smaller size can be asked for: free memory there, give the "
    "server a larger device, or send fewer input images.": (
        "{device} 的显存放不下 {size}，且尺寸不能再小；请释放显存、换用更大的设备，或减少输入图片。"
    ),
}
