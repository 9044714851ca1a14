"""The objects that the miniature knows, with their names in English and Chinese, and the colours of its backgrounds.

Names are written by hand; those of the Unicode CLDR describe emoji ("cat face") and read badly in a prompt.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """One object and what people call it; the first name of each language is the usual one."""

    icon: str
    """Name of its drawing in the icon set."""
    measure: str
    """Chinese measure word: 一只猫."""
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    text: str = ""
    """Letters of a short text; empty for other objects."""
    rgb: tuple[int, int, int] = (0, 0, 0)
    """Colour of the text's letters."""


@dataclass(frozen=True)
class Colour:
    """A background and the words for it; the first of each language is the usual one."""

    rgb: tuple[int, int, int]
    """Red, green and blue from 0 to 255."""
    english: tuple[str, ...]
    chinese: tuple[str, ...]


# icon | measure word | English names | Chinese names
_TABLE = """
red-apple | 个 | apple, red apple | 苹果, 红苹果
green-apple | 个 | green apple | 青苹果, 绿苹果
banana | 根 | banana | 香蕉
grapes | 串 | grapes, bunch of grapes | 葡萄
strawberry | 个 | strawberry | 草莓
watermelon | 块 | watermelon, slice of watermelon | 西瓜
tangerine | 个 | orange, tangerine | 橙子, 橘子
lemon | 个 | lemon | 柠檬
cherries | 颗 | cherry, cherries | 樱桃
peach | 个 | peach | 桃子
pear | 个 | pear | 梨, 梨子
pineapple | 个 | pineapple | 菠萝, 凤梨
tomato | 个 | tomato | 番茄, 西红柿
eggplant | 个 | eggplant, aubergine | 茄子
carrot | 根 | carrot | 胡萝卜
ear-of-corn | 根 | corn, ear of corn | 玉米
hot-pepper | 个 | chili pepper, chili | 辣椒
broccoli | 棵 | broccoli | 西兰花
mushroom | 个 | mushroom | 蘑菇
avocado | 个 | avocado | 牛油果, 鳄梨
bread | 块 | bread, loaf of bread | 面包
croissant | 个 | croissant | 羊角面包, 可颂
cheese-wedge | 块 | cheese | 奶酪, 芝士
hamburger | 个 | hamburger, burger | 汉堡, 汉堡包
french-fries | 份 | french fries, fries | 薯条
pizza | 块 | pizza, slice of pizza | 披萨, 比萨
hot-dog | 个 | hot dog | 热狗
dumpling | 个 | dumpling | 饺子
sushi | 份 | sushi | 寿司
steaming-bowl | 碗 | bowl of noodles, noodles | 面条, 拉面
birthday-cake | 个 | birthday cake | 生日蛋糕, 蛋糕
doughnut | 个 | donut, doughnut | 甜甜圈
cookie | 块 | cookie, biscuit | 饼干, 曲奇
ice-cream | 份 | ice cream | 冰淇淋, 冰激凌
chocolate-bar | 块 | chocolate, chocolate bar | 巧克力
candy | 颗 | candy, sweet | 糖果, 糖
egg | 个 | egg | 鸡蛋, 蛋
hot-beverage | 杯 | coffee, cup of coffee, cup | 咖啡, 杯子
teacup-without-handle | 杯 | tea, cup of tea | 茶, 绿茶
glass-of-milk | 杯 | milk, glass of milk | 牛奶
beer-mug | 杯 | beer, mug of beer | 啤酒
cat-face | 只 | cat, kitty, kitten | 猫
dog-face | 只 | dog, puppy | 狗
rabbit-face | 只 | rabbit, bunny | 兔子
panda | 只 | panda | 熊猫, 大熊猫
bear | 只 | bear | 熊
tiger-face | 只 | tiger | 老虎
lion | 只 | lion | 狮子
fox | 只 | fox | 狐狸
wolf | 只 | wolf | 狼
pig-face | 只 | pig | 猪
cow-face | 头 | cow | 牛, 奶牛
horse-face | 匹 | horse | 马
monkey-face | 只 | monkey | 猴子
mouse-face | 只 | mouse | 老鼠
frog | 只 | frog | 青蛙
koala | 只 | koala | 考拉
chicken | 只 | chicken, hen | 鸡, 母鸡
baby-chick | 只 | chick, baby chick | 小鸡
duck | 只 | duck | 鸭子
owl | 只 | owl | 猫头鹰
penguin | 只 | penguin | 企鹅
parrot | 只 | parrot | 鹦鹉
turtle | 只 | turtle | 乌龟
snake | 条 | snake | 蛇
whale | 头 | whale | 鲸鱼
dolphin | 只 | dolphin | 海豚
tropical-fish | 条 | fish, tropical fish | 鱼, 热带鱼
octopus | 只 | octopus | 章鱼
crab | 只 | crab | 螃蟹
butterfly | 只 | butterfly | 蝴蝶
honeybee | 只 | bee, honeybee | 蜜蜂
lady-beetle | 只 | ladybug, ladybird | 瓢虫
snail | 只 | snail | 蜗牛
elephant | 头 | elephant | 大象
ewe | 只 | sheep | 绵羊, 羊
rose | 朵 | rose | 玫瑰, 玫瑰花
tulip | 朵 | tulip | 郁金香
sunflower | 朵 | sunflower | 向日葵
cherry-blossom | 朵 | cherry blossom, flower | 樱花, 花
cactus | 棵 | cactus | 仙人掌
deciduous-tree | 棵 | tree | 树, 大树
palm-tree | 棵 | palm tree, palm | 棕榈树, 椰子树
evergreen-tree | 棵 | pine tree, fir | 松树
four-leaf-clover | 片 | four-leaf clover, clover | 四叶草
maple-leaf | 片 | maple leaf | 枫叶
automobile | 辆 | car, red car | 汽车, 轿车, 小汽车
taxi | 辆 | taxi, cab | 出租车
bus | 辆 | bus | 公交车, 公共汽车
police-car | 辆 | police car | 警车
fire-engine | 辆 | fire truck, fire engine | 消防车
delivery-truck | 辆 | truck, delivery truck | 卡车, 货车
tractor | 辆 | tractor | 拖拉机
bicycle | 辆 | bicycle, bike | 自行车
motor-scooter | 辆 | scooter, moped | 电动车, 踏板车
locomotive | 列 | train, steam train | 火车
airplane | 架 | airplane, plane | 飞机
helicopter | 架 | helicopter | 直升机
rocket | 枚 | rocket | 火箭
sailboat | 艘 | sailboat | 帆船
ship | 艘 | ship | 轮船, 船
house | 座 | house | 房子, 房屋
castle | 座 | castle | 城堡
grinning-face | 个 | smiley, smiling face | 笑脸
face-with-tears-of-joy | 个 | laughing face | 大笑的脸
smiling-face-with-heart-eyes | 个 | face with heart eyes | 花痴脸, 爱心眼笑脸
crying-face | 个 | crying face, sad face | 哭脸
angry-face | 个 | angry face | 生气的脸
smiling-face-with-sunglasses | 个 | cool face, face with sunglasses | 戴墨镜的脸, 酷脸
ghost | 个 | ghost | 鬼, 幽灵
robot | 个 | robot | 机器人
snowman-without-snow | 个 | snowman | 雪人
red-heart | 颗 | heart, red heart | 爱心, 红心
star | 颗 | star | 星星
sun | 个 | sun | 太阳
crescent-moon | 个 | moon, crescent moon | 月亮
cloud | 朵 | cloud | 云, 白云
rainbow | 道 | rainbow | 彩虹
umbrella | 把 | umbrella | 雨伞, 伞
snowflake | 片 | snowflake | 雪花
fire | 团 | fire, flame | 火, 火焰
high-voltage | 道 | lightning, lightning bolt | 闪电
globe-showing-asia-australia | 个 | globe, earth | 地球
soccer-ball | 个 | soccer ball, football | 足球
basketball | 个 | basketball | 篮球
tennis | 个 | tennis ball | 网球
trophy | 座 | trophy | 奖杯
balloon | 个 | balloon | 气球
wrapped-gift | 个 | gift, present | 礼物, 礼盒
teddy-bear | 个 | teddy bear | 泰迪熊, 玩具熊
guitar | 把 | guitar | 吉他
violin | 把 | violin | 小提琴
drum | 个 | drum | 鼓
t-shirt | 件 | t-shirt, shirt | 衬衫, 上衣
dress | 条 | dress | 连衣裙, 裙子
jeans | 条 | jeans, trousers | 牛仔裤, 裤子
running-shoe | 只 | sneaker, running shoe | 运动鞋, 跑鞋
high-heeled-shoe | 只 | high heel | 高跟鞋
handbag | 个 | handbag, bag | 手提包, 包
backpack | 个 | backpack | 背包, 书包
top-hat | 顶 | hat, top hat | 帽子, 礼帽
crown | 顶 | crown | 皇冠
glasses | 副 | glasses | 眼镜
ring | 枚 | ring, diamond ring | 戒指, 钻戒
gem-stone | 颗 | diamond, gem | 钻石, 宝石
lipstick | 支 | lipstick | 口红
watch | 块 | watch, wristwatch | 手表
alarm-clock | 个 | alarm clock, clock | 闹钟
mobile-phone | 部 | phone, mobile phone | 手机
laptop | 台 | laptop, computer | 笔记本电脑, 电脑
television | 台 | television, tv | 电视, 电视机
camera | 台 | camera | 相机, 照相机
headphone | 副 | headphones | 耳机
light-bulb | 个 | light bulb | 灯泡
books | 本 | books, pile of books | 书, 书本
pencil | 支 | pencil | 铅笔
key | 把 | key | 钥匙
chair | 把 | chair | 椅子
bed | 张 | bed | 床
bell | 个 | bell | 铃铛
candle | 支 | candle | 蜡烛
red-paper-lantern | 个 | lantern, red lantern | 灯笼, 红灯笼
firecracker | 串 | firecracker | 鞭炮, 爆竹
dragon-face | 条 | dragon | 龙
moon-cake | 块 | mooncake | 月饼
"""

# short text | red, green and blue of its letters
_WRITTEN = """
SALE | 214 40 40
NEW | 24 140 70
HOT | 232 96 20
OPEN | 40 90 200
福 | 214 40 40
喜 | 200 30 70
春 | 24 140 70
5折 | 232 96 20
新品 | 40 90 200
特价 | 120 50 180
"""

COLOURS: dict[str, Colour] = {
    "red": Colour((220, 50, 47), ("red",), ("红色", "红")),
    "orange": Colour((245, 145, 40), ("orange",), ("橙色", "橘色")),
    "yellow": Colour((252, 215, 60), ("yellow",), ("黄色", "黄")),
    "green": Colour((60, 165, 75), ("green",), ("绿色", "绿")),
    "cyan": Colour((70, 200, 215), ("cyan", "turquoise"), ("青色", "蓝绿色")),
    "blue": Colour((45, 100, 225), ("blue",), ("蓝色", "蓝")),
    "purple": Colour((130, 65, 190), ("purple", "violet"), ("紫色", "紫")),
    "pink": Colour((255, 165, 195), ("pink",), ("粉色", "粉红色")),
    "brown": Colour((125, 80, 45), ("brown",), ("棕色", "褐色")),
    "black": Colour((20, 20, 22), ("black",), ("黑色", "黑")),
    "white": Colour((250, 250, 250), ("white",), ("白色", "白")),
    "gray": Colour((145, 148, 152), ("gray", "grey"), ("灰色", "灰")),
}
"""The backgrounds by name."""


def _read(line: str) -> Thing:
    icon, measure, english, chinese = (cell.strip() for cell in line.split("|"))
    return Thing(icon, measure, tuple(english.split(", ")), tuple(chinese.split(", ")))


def _write(line: str) -> Thing:
    """Return a short text as an object: letters with a white edge, as on a sticker."""
    text, rgb = (cell.strip() for cell in line.split("|"))
    red, green, blue = (int(one) for one in rgb.split())
    english = (f'the text "{text}"', f"text '{text}'", f"the word {text}")
    chinese = (f"文字“{text}”", f"“{text}”", f"“{text}”字样", f"{text}字")
    return Thing(f"text {text}", "", english, chinese, text, (red, green, blue))


THINGS: tuple[Thing, ...] = (
    *(_read(line) for line in _TABLE.strip().splitlines()),
    *(_write(line) for line in _WRITTEN.strip().splitlines()),
)
BY_ICON = {thing.icon: thing for thing in THINGS}
