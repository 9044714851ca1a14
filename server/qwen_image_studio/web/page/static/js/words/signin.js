/** Words of the door. */
import { add } from "../words.js";

add({
  "signin.first": ["Sign in", "登录"],
  "signin.first_text": ["Enter your API key to paint, edit and look at your pictures.", "请输入 API 密钥，即可绘制、编辑和查看您的图片。"],
  "signin.out": ["You are signed out", "您已退出登录"],
  "signin.out_text": [
    "What you wrote here is gone from this browser. Your pictures are safe on the server.",
    "您在此填写的内容已从该浏览器中清除，图片仍安全地保存在服务器上。",
  ],
  "signin.over": ["Sign in again", "请重新登录"],
  "signin.over_text": [
    "Your session is over: nobody used it for a long while, or its API key was revoked or replaced.",
    "会话已结束：长时间未使用，或者 API 密钥已被撤销或更换。",
  ],
  "signin.link": ["This link opens nothing any more", "此链接已失效"],
  "signin.link_text": [
    "It has expired, was withdrawn, or was not copied whole. Ask for a new one where you got it, such as in the chat: each new picture comes with one.",
    "链接已过期、已被撤回，或复制得不完整。请在获得它的地方（例如聊天中）重新索取：每张新图片都会附带一个链接。",
  ],
  "signin.down": ["The studio does not answer", "工作室没有响应"],
  "signin.down_text": [
    "The server cannot be reached or is starting. Nothing is lost; try again in a moment.",
    "无法连接服务器，或服务器正在启动。内容不会丢失，请稍后再试。",
  ],
  "signin.again": ["Try again", "重试"],
  "signin.have_key": ["I have an API key", "我有 API 密钥"],
  "signin.key": ["API key", "API 密钥"],
  "signin.key_hint": ["It begins with qis_. Who runs this server makes one for you.", "以 qis_ 开头，由服务器的管理员为您创建。"],
  "signin.empty": ["Enter your API key.", "请输入 API 密钥。"],
  "signin.show": ["Show the key", "显示密钥"],
  "signin.go": ["Sign in", "登录"],
  "signin.speak": ["中文", "English"],
});
