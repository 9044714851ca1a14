"""Text that teaches the miniature's tokenizer its words: prompts and instructions, in English and in Chinese."""

from collections.abc import Iterator

import numpy as np
from diffusers import QwenImageEditPlusPipeline, QwenImagePipeline

from training.data.edits import Stock, draw_edit, tell_edit
from training.data.prompts import tell
from training.data.scenes import Layout, draw_scene
from training.data.things import COLOURS as BACKGROUNDS
from training.data.things import THINGS

TEMPLATE_REPEATS = 4000  # so that every word of the two chat templates becomes one token
OTHER_REPEATS, KNOWN_REPEATS = 30, 200  # of words that it may meet, and of words that it learns
TOLD = 4000  # prompts of the training data in each language

OBJECTS = """
airplane anchor apple axe baby backpack balloon banana barn basket basketball bath bear bed bee beer bell bicycle bird
boat book boot bottle bouquet bowl box bread bridge broom bucket bug burger bus butterfly cabin cactus cake calendar
camel camera candle candy car carrot castle cat chair cheese cherry chicken clock cloud clover coat coconut coffee
comb compass computer cookie corn couch cow crab crown cup deer diamond dinosaur dog doll dolphin donut door dragon
dress drum duck eagle egg elephant envelope eye factory feather ferry fire fish flag flamingo flashlight flower
football fork fountain fox frog garlic ghost gift giraffe glasses globe glove goat grapes guitar hammer hamster hat
heart hedgehog helicopter helmet honey horse hospital hotel house iceberg island jacket jar jellyfish kangaroo key
kite kiwi knife koala ladder lamp laptop leaf lemon letter lighthouse lightning lion lipstick lizard lobster lock
magnet mango map mask medal melon microphone microscope milk mirror monkey moon mosquito motorcycle mountain mouse mug
mushroom necklace needle nest notebook ocean octopus onion orange owl ox paintbrush palm panda parachute parrot peach
peacock peanut pear pen pencil penguin pepper phone piano pie pig pillow pineapple pizza planet plant plate police
popcorn potato present pretzel pumpkin puzzle rabbit radio rainbow raccoon rat ribbon rice ring robot rocket rooster
rose ruler sailboat sandwich satellite saxophone scarf school scissors scooter scorpion seal shark sheep shell ship
shirt shoe shrimp skateboard skull snail snake snowman sock spider spoon squid squirrel star stethoscope strawberry
suitcase sun sunflower sushi swan sword syringe taco taxi teapot telephone telescope tent tiger toast tomato tooth
tractor train tree trophy truck trumpet tulip turkey turtle umbrella unicorn vase violin volcano waffle wallet watch
watermelon whale wheel window wolf worm yarn zebra
""".split()
COLOURS = "red orange yellow green teal blue navy purple pink brown black white gray gold silver beige lime".split()
PLACES = (
    "left right top bottom middle center centre corner front back above below beside behind under over inside".split()
)
WORDS = """
a an the one two three four five with without on in of to at from by for into and or not no it its is are be as this
that small big large tiny huge smaller bigger larger brighter darker bright dark light flat plain simple cute happy
old new picture photo photograph drawing illustration icon poster sticker image background color colour style scene
view change make turn replace remove delete add put draw paint show keep move swap erase fill give set everything else
rest same please background object everything watercolor oil painting cartoon studio lighting soft high quality
detailed grayscale greyscale flip mirror horizontally vertically rotate colours colors instead next corner take away
switch swap left-right puppies butterflies violet get rid
""".split()
PROMPTS = (
    "a {a} {x}",
    "a {x} on a {a} background",
    "A photo of a {x}, {a} background",
    "an icon of a {a} {x}, flat {b} background",
    "a small {x} in the {p} corner on {a}",
    "two {x}s side by side on a {a} background",
    "change the background to {a}",
    "make the {x} {a}",
    "replace the {x} with a {y}",
    "remove the {x} from the {p}",
    "turn it into black and white",
    "make the {x} smaller, keep the rest",
    "add a {y} on the {p} of the {x}",
)

CHINESE = """
一只两个三四五六七八九十的在了是和与把将变成换为改上下左右中间边角前后里外背景颜色红橙黄绿青蓝紫粉棕黑白灰金银米深浅亮暗
大小高低新旧可爱简单平面图片照片插画图标海报贴纸画风格卡通水彩油光影柔和细节清晰写实一张幅请给加删除去掉移动保持其他不变
苹果香蕉葡萄西瓜草莓樱桃柠檬桃子梨芒果菠萝椰子猕猴番茄茄胡萝卜玉米辣椒蘑菇洋葱土豆面包奶酪汉堡薯条披萨三明治饼干蛋糕
糖巧克力咖啡茶牛奶啤酒杯碗盘勺叉刀瓶猫狗老虎狮子大象长颈鹿斑马熊猫兔鼠松鼠狐狸狼猪羊马牛骆驼猴鸡鸭鹅鹰企鹅孔雀鹦鹉天鹅
青蛙乌龟蛇蜥蜴龙恐鲸海豚鲨鱼章虾螃蟹贝壳蜗蝴蝶蜜蜂蜘蛛蚂蚁花玫瑰向日葵郁金香仙人掌树叶草月亮太阳星云彩虹雪火水山岛沙漠
房屋城堡桥塔医院学校酒店工厂帐篷汽车公共交巴士出租卡摩托自行飞机直升火箭船帆轮卫气球足篮网乒乓羽毛棒保龄吉他钢琴小提琴鼓喇叭
电脑手机话视相钟表灯泡蜡烛书本铅笔剪尺子锁钥匙锤斧头盾剑弓箭帽围巾衬衫裙裤鞋靴袜眼镜戒指皇冠包伞礼物奖杯旗帜信封地球
眼睛心人男女孩婴儿机器鬼魂骷髅雪人消防员警察医生国王公主巫师
翻转镜像水平垂直旋转灰度放缩换添擦除抹掉挪往侧旁并排原样其余余不动别处第张里物体插进入转成调整尺寸些点更
""".split()


def templates() -> dict[str, tuple[str, int]]:
    """Return each pipeline's chat template, and how many of its leading tokens the pipeline drops from the encoding."""
    bare = {name: None for name in ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")}
    pipelines = {"generate": QwenImagePipeline(**bare), "edit": QwenImageEditPlusPipeline(**bare, processor=None)}
    return {
        name: (pipeline.prompt_template_encode, pipeline.prompt_template_encode_start_idx)
        for name, pipeline in pipelines.items()
    }


def lines() -> Iterator[str]:
    """Yield the whole corpus, cut where special tokens stand.

    Chinese goes one character a line: whole phrases would become tokens, and those generalise badly.
    """
    for template, _ in templates().values():
        pieces = [piece.partition("|>")[2] for piece in template.replace("{}", "").split("<|")]
        for _ in range(TEMPLATE_REPEATS):
            yield from filter(None, pieces)
    for number in range(1, 4):
        yield from [f"Picture {number}: "] * TEMPLATE_REPEATS
    for _ in range(OTHER_REPEATS):
        yield from (f" {word}" for word in WORDS + COLOURS)
        yield from (character for text in CHINESE for character in text)
    yield from _told()
    for index, word in enumerate(OBJECTS):
        words = {
            "x": word,
            "y": OBJECTS[-index],
            "a": COLOURS[index % len(COLOURS)],
            "b": COLOURS[index % 7],
            "p": PLACES[index % len(PLACES)],
        }
        for prompt in PROMPTS:
            yield prompt.format(**words)


def _told() -> Iterator[str]:
    """Yield the words of the training data: every name, and prompts as they are made."""
    chinese = {character for thing in THINGS for name in thing.chinese for character in name + thing.measure}
    english = {word for thing in THINGS for name in thing.english for word in name.split()}
    english |= {word for colour in BACKGROUNDS.values() for word in colour.english} | {"first", "second"}
    chinese |= {character for colour in BACKGROUNDS.values() for name in colour.chinese for character in name}
    rng = np.random.default_rng(0)
    for _ in range(TOLD):
        scene = draw_scene(rng, list(Layout))
        yield tell(rng, scene, "en")
        chinese |= set(tell(rng, scene, "zh"))
    stock = Stock([draw_scene(rng, [Layout.PAIR]) for _ in range(100)])
    for _ in range(TOLD // 2):
        edit = draw_edit(rng, stock)
        yield tell_edit(rng, edit, "en")
        chinese |= set(tell_edit(rng, edit, "zh"))
    for _ in range(KNOWN_REPEATS):
        yield from sorted(chinese)
        yield from (f" {word}" for word in sorted(english))
