/** Words of the comparison, which Edit and Review share. */
import { add } from "../words.js";

add({
  "compare.before": ["Before", "修改前"],
  "compare.after": ["After", "修改后"],
  "compare.handle": ["Before and after", "前后对比"],
  "compare.at": ["{share} before", "修改前占 {share}"],
  "compare.hold": ["Drag to compare. Hold \\ to see the picture before", "拖动对比；按住 \\ 查看修改前的图片"],
});
