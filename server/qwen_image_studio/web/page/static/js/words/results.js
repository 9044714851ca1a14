/** Texts of what the Paint screen has made. */
import { add } from "../words.js";

add({
  "paint.visit": ["Pictures of this visit", "本次绘制的图片"],
  "paint.preview": ["Preview of the unfinished picture", "未完成图片的预览"],
  "paint.actions": ["What to do with it", "操作"],
  "paint.edit": ["Edit", "编辑"],
  "paint.vary": ["Vary", "变化"],
  "paint.download": ["Download", "下载"],
  "paint.link": ["Copy link", "复制链接"],
  "paint.copied": ["The link is copied", "链接已复制"],
  "paint.reuse": ["Use these settings", "使用这些设置"],
  "paint.seed.is": ["Seed {seed}", "种子 {seed}"],
  "paint.notes": ["Remarks of the server", "服务器说明"],
  "paint.cached": ["An equal picture was there already, so nothing was painted. Change or clear the seed for another one.", "已有相同的图片，因此没有重新绘制。修改或清空种子可得到新图。"],
  "paint.held": ["{n} {n|picture waits|pictures wait} for a reviewer", "{n} 张图片等待审核"],
  "paint.held.hint": ["It is shown here once it is approved.", "通过审核后会显示在这里。"],
  "paint.cancelOthers": ["Cancel the other {n}", "取消其余 {n} 个"],
  "paint.campaign": ["Campaign", "宣传组图"],
});
