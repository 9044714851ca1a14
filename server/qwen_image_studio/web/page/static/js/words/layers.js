/** Texts of layers. */
import { add } from "../words.js";

add({
  "layers.title": ["Layers", "图层"],
  "layers.about": ["The picture is taken apart into transparent layers that lie one on the other. The first one is the background.", "把图片拆成叠在一起的透明图层，最底下的一层是背景。"],
  "layers.count": ["How many", "层数"],
  "layers.resolution": ["Resolution", "处理分辨率"],
  "layers.usual": ["Usual", "默认"],
  "layers.prompt": ["What the picture shows", "图片内容"],
  "layers.prompt.hint": ["May stay empty: the model looks for itself.", "可以留空，由模型自己看图。"],
  "layers.go": ["Take apart", "开始分层"],
  "layers.anew": ["Take apart once more", "重新分层"],
  "layers.list": ["Layers, the one in front first", "图层，最前面的在上"],
  "layers.layer": ["Layer {n}", "图层 {n}"],
  "layers.back": ["Background", "背景"],
  "layers.front": ["In front", "最前"],
  "layers.shown": ["{n} of {of} layers shown", "显示 {n}/{of} 层"],
  "layers.failed": ["A layer could not be loaded; open this again.", "有一层没有加载出来，请重新打开。"],
  "layers.downloads": ["Downloads", "下载"],
  "layers.download": ["Download: {name}", "下载：{name}"],
  "layers.save": ["Save what is shown", "保存所显示的"],
  "layers.saved": ["Saved as PNG", "已保存为 PNG"],
});
