/** Texts of the settings of the Paint screen. */
import { add } from "../words.js";

add({
  "paint.distilled": ["This speed is made for {steps} steps; with other figures pictures may be worse.", "此速度专为 {steps} 步设计，改动后效果可能变差。"],
  "paint.keepOut": ["Keep out", "不要出现"],
  "paint.keepOut.eg": ["blur, extra fingers", "模糊、多余的手指"],
  "paint.seed": ["Seed", "种子"],
  "paint.seed.any": ["random", "随机"],
  "paint.size": ["Exact size", "精确尺寸"],
  "paint.steps": ["Steps", "步数"],
  "paint.guidance": ["Guidance", "引导强度"],
  "paint.model": ["Model", "模型"],
  "paint.model.usual": ["Usual ({name})", "默认（{name}）"],
  "paint.loras": ["LoRAs", "LoRA"],
  "paint.weight": ["Weight", "权重"],
  "paint.style": ["Style", "风格"],
  "paint.style.none": ["None", "无"],
  "paint.format": ["File", "文件格式"],
  "paint.likeness": ["In the likeness of", "参考图"],
  "paint.likeness.hint": ["A picture to start from", "从这张图开始画"],
  "paint.strength": ["How far to go from it", "偏离程度"],
});
