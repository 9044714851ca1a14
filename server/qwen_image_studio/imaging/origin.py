"""The origin of a picture, written into its file and read again, and the labels that say it was made by AI.

The facts are one JSON object ``{"qwen_image_studio": {...}}``: in PNG the text chunk Comment, in JPEG and WebP the EXIF
field UserComment. The labels are XMP (ISO 16684-1), the same in all three formats:

* ``TC260:AIGC``, the implicit label of GB 45438-2025 Annex E, where TC260-PG-20258A puts it in image files;
* ``Iptc4xmpExt:DigitalSourceType``, IPTC's digital source type.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from xml.sax.saxutils import escape

from PIL import Image
from PIL.ImageFile import ImageFile

from qwen_image_studio.imaging.opening import BROKEN, read_header

Origin = Mapping[str, str | int | float]
"""Facts about what made a picture, by name."""

PRODUCER = "Qwen-Image Studio"
PNG_FACTS = "Comment"
PNG_XMP = "XML:com.adobe.xmp"
_MARK = "qwen_image_studio"
_MADE_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MAX_COMMENT_BYTES = 65_000  # a JPEG segment holds 65,533, with some of them for EXIF's own structure

_TAG_SOFTWARE = 0x0131
_TAG_EXIF_IFD = 0x8769
_TAG_USER_COMMENT = 0x9286
# UserComment begins with the name of its character code in 8 bytes (Exif 3.0, 4.6.6).
_UTF16 = b"UNICODE\0"
_DEFLATED = b"\0" * 8  # undefined: for the rare prompt that is too long as text

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/">
   <TC260:AIGC>{label}</TC260:AIGC>
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{producer}</xmp:CreatorTool>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def as_text(facts: Origin) -> str:
    """Return the facts as JSON, always spelt the same way."""
    text = json.dumps({_MARK: dict(facts)}, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # Half a surrogate pair has no UTF-8; backslashreplace writes it as JSON would escape it.
    return text.encode("utf-8", "backslashreplace").decode()


def as_exif(facts: Origin) -> bytes:
    """Return the facts as an EXIF block."""
    comment = _UTF16 + as_text(facts).encode("utf-16-le")
    if len(comment) > _MAX_COMMENT_BYTES:
        comment = _DEFLATED + zlib.compress(as_text(facts).encode(), 9)
    exif = Image.Exif()
    exif[_TAG_SOFTWARE] = PRODUCER
    exif[_TAG_EXIF_IFD] = {_TAG_USER_COMMENT: comment}
    return exif.tobytes()


def as_xmp(facts: Origin, producer: str = PRODUCER) -> str:
    """Return the labels as an XMP packet, which names the picture's producer."""
    label = json.dumps(aigc_label(facts, producer), ensure_ascii=False, separators=(",", ":"))
    return _XMP.format(label=escape(label), source=_MADE_BY_AI, producer=escape(PRODUCER))


def aigc_label(facts: Origin, producer: str = PRODUCER) -> dict[str, str]:
    """Return the label of GB 45438-2025 Annex E; its number depends on the facts alone: not on host, owner or time."""
    return {
        "Label": "1",  # 1: is generated; 2: may be; 3: is suspected to be
        "ContentProducer": producer,
        "ProduceID": hashlib.sha256(as_text(facts).encode()).hexdigest()[:32],
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }


def read_origin(data: bytes) -> dict[str, str | int | float]:
    """Return the facts that `imaging.encode` wrote into ``data``; empty for any other picture or bytes."""
    opened = read_header(data)
    return {} if opened is None else origin_in(opened)


def origin_in(opened: ImageFile) -> dict[str, str | int | float]:
    """Return the facts in an opened file, decoded or not; empty for a picture that is not ours."""
    try:
        text = opened.info.get(PNG_FACTS) if opened.format == "PNG" else _user_comment(opened.getexif())
        facts = json.loads(text or "{}")[_MARK]
    except BROKEN:
        return {}
    if not isinstance(facts, dict):
        return {}
    return {name: value for name, value in facts.items() if isinstance(value, str | int | float)}


def _user_comment(exif: Image.Exif) -> str:
    comment = exif.get_ifd(_TAG_EXIF_IFD).get(_TAG_USER_COMMENT, b"")
    code, rest = comment[:8], comment[8:]
    if code == _DEFLATED:
        return zlib.decompressobj().decompress(rest, 1_000_000).decode()
    return str(rest, "utf-16-le") if code == _UTF16 else ""
