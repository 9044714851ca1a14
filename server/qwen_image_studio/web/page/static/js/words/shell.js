/** Texts of the frame around the screens. */
import { add } from "../words.js";

add({
  "shell.paint": ["Paint", "绘制"],
  "shell.edit": ["Edit", "编辑"],
  "shell.gallery": ["Gallery", "图库"],
  "shell.review": ["Review", "审核"],
  "shell.status": ["Status", "状态"],
  "shell.sign_in": ["Sign in", "登录"],
  "shell.screens": ["Screens", "页面"],
  "shell.more": ["More", "更多"],
  "shell.language": ["中文", "English"],
  "shell.speak": ["Switch to Chinese (中文)", "切换到英文 (English)"],
  "shell.dark": ["Dark colours", "深色"],
  "shell.light": ["Light colours", "浅色"],
  "shell.sign_out": ["Sign out", "退出登录"],
  "shell.settings": ["Settings of this page", "页面设置"],
  "shell.close": ["Close", "关闭"],
  "shell.cancel": ["Cancel", "取消"],
  "shell.lost": [
    "The server cannot be reached. What you wrote stays here; try again in a moment.",
    "无法连接服务器。已填写的内容不会丢失，请稍后再试。",
  ],
  "shell.line_lost": ["The connection is lost. Trying again …", "连接已断开，正在重新连接……"],
  "shell.line_back": ["Connected again", "已重新连接"],
  "shell.broken": ["This screen could not be loaded. Reload the page.", "无法加载此页面，请刷新。"],
  "shell.reload": ["Reload", "刷新"],
  "shell.held": ["{n} {n|waits|wait} for review", "{n} 张等待审核"],
});
