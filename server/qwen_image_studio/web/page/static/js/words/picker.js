/** Words of the picker of pictures. */
import { add } from "../words.js";

add({
  "picker.how": ["Drop a picture here, paste it with Ctrl+V, or choose a file", "把图片拖到这里、按 Ctrl+V 粘贴，或选择文件"],
  "picker.how.touch": ["Choose a picture of this device, or take one", "从手机选择图片，或直接拍照"],
  "picker.choose": ["Choose a picture", "选择图片"],
  "picker.newest": ["Newest pictures", "最近的图片"],
  "picker.search": ["Search by words", "按文字搜索"],
  "picker.nothing": ["No picture has “{words}” in its words.", "没有文字包含“{words}”的图片。"],
  "picker.more": ["Show more", "显示更多"],
  "picker.close": ["Close", "关闭"],
  "picker.uploaded": ["Uploaded picture, {size}", "上传的图片，{size}"],
});
