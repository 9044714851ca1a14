"""Make the font of watermarks: DejaVu Sans with the letters of European languages alone.

    pip install fonttools
    python -m tests.support.watermark_font /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf

writes server/qwen_image_studio/imaging/watermark.ttf. DejaVu is in Debian's package fonts-dejavu-core; its licence,
which goes along as watermark.txt, allows changed copies under names without "Bitstream" and "Vera".
"""

import sys

from fontTools import subset  # type: ignore[import-not-found]

from tests.support import ROOT

TARGET = ROOT / "server" / "qwen_image_studio" / "imaging" / "watermark.ttf"
BLOCKS = (
    *((0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x1E00, 0x1EFF)),
    *((0x2000, 0x206F), (0x2070, 0x209F), (0x20A0, 0x20CF), (0x2100, 0x218F), (0x2190, 0x21FF), (0x2200, 0x22FF)),
    *((0x2500, 0x25FF), (0x2605, 0x2606), (0x2660, 0x266F), (0xFB00, 0xFB06), (0xFFFD, 0xFFFD)),
)
"""Latin with all accents (also Vietnamese), Greek, Cyrillic, and common signs."""


def main() -> None:
    """Write the font."""
    source = sys.argv[1]
    letters = [point for first, last in BLOCKS for point in range(first, last + 1)]
    options = subset.Options(hinting=False, layout_features=["kern", "mark", "mkmk", "ccmp"], notdef_outline=True)
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
    font = subset.load_font(source, options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=letters)
    subsetter.subset(font)
    subset.save_font(font, str(TARGET), options)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
