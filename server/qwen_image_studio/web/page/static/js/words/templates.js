/** Texts of the templates' forms. */
import { add } from "../words.js";

add({
  "paint.reading": ["Reading …", "正在读取……"],
  "paint.template": ["Template", "模板"],
  "paint.template.generate": ["Paint a picture", "绘制图片"],
  "paint.template.edit": ["Change a picture", "修改图片"],
  "paint.template.none": ["There is no template for what you may do here.", "没有可用的模板。"],
  "paint.sources": ["{n|Picture|Pictures} to change", "要修改的图片"],
  "paint.sentence": ["The sentence that is sent", "将要发送的句子"],
  "paint.place.left": ["left", "左边"],
  "paint.place.right": ["right", "右边"],
  "paint.place.top": ["top", "上面"],
  "paint.place.bottom": ["bottom", "下面"],
  "paint.place.center": ["center", "中间"],
  "paint.place.top_left": ["top left corner", "左上角"],
  "paint.place.top_right": ["top right corner", "右上角"],
  "paint.place.bottom_left": ["bottom left corner", "左下角"],
  "paint.place.bottom_right": ["bottom right corner", "右下角"],
});
