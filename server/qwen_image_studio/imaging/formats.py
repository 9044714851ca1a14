"""The file formats that are taken, known by their first bytes, and the others, which are refused by name."""

import re
from importlib import import_module

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from qwen_image_studio.contract.errors import StudioError

TAKEN = "Send a PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF or BMP picture."
HEIC = "HEIC"
_START = 4096  # bytes in which a format that is not taken is recognised
HEIC_READER = ("pi_heif.as_plugin", "HeifImageFile")  # libheif without encoders; imported only for such a file

_READERS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "AVIF": AvifImageFile,
    "TIFF": TiffImageFile,
}
# ISO/IEC 14496-12, 4.3: a major brand, and after a version the compatible ones; mif1 and msf1 leave the codec open.
_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"....ftyp(avi[fs]|mi[af]1.{4}(....){0,12}avi[fs])", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(he[iv][cxms]|mif1|msf1)", re.DOTALL), HEIC),
    (re.compile(rb"II\*\0|MM\0\*"), "TIFF"),
)
_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"%PDF"), "a PDF document"),
    (
        re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", re.I | re.S),
        "an SVG drawing",
    ),
    (re.compile(rb"\s*<"), "a web page"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"gimp xcf"), "a GIMP file"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "a JPEG XL picture"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"II\+\0|MM\0\+"), "a BigTIFF picture"),
    (re.compile(rb"\0\0\x01\0"), "an icon file (ICO)"),
    (re.compile(rb"%!PS"), "a PostScript document"),
    (re.compile(rb"v/1\x01"), "an OpenEXR picture"),
    (re.compile(rb"#\?(RADIANCE|RGBE)"), "a Radiance HDR picture"),
    (re.compile(rb"DDS "), "a DDS texture"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive or an Office document"),
    (re.compile(rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer and not the picture itself"),
    (re.compile(rb'\s*[{\["]'), "JSON"),
    (re.compile(rb"data:image/"), "a data URL as text"),
)


def format_of(data: bytes, param: str) -> str:
    """Return the name of the format. Raises StudioError ``unsupported_image``, which names any other format we know."""
    for signature, name in _SIGNATURES:
        if signature.match(data):
            return name
    if not data:
        raise unsupported(param, f"is empty. {TAKEN}")
    start = data[:_START]
    for signature, name in _OTHERS:
        if signature.match(start):
            raise unsupported(param, f"is {name}, which is not taken. {TAKEN}")
    raise unsupported(param, f"is not a picture in a known format. {TAKEN}")


def reader_of(name: str, param: str) -> type[ImageFile]:
    """Return Pillow's reader of a format. Raises StudioError where this server has none for HEIC."""
    if name != HEIC:
        return _READERS[name]
    module, attribute = HEIC_READER
    try:
        reader: type[ImageFile] = getattr(import_module(module), attribute)
    except ImportError:
        raise unsupported(
            param, "is an HEIC picture, and this server was installed without pi-heif. Save it as JPEG or PNG."
        ) from None
    return reader


def unsupported(param: str, what: str) -> StudioError:
    """Return the error for bytes that cannot be used; `what` is the rest of the sentence and its remedy."""
    return StudioError("unsupported_image", f"'{param}' {what}", param=param)


def too_large(param: str, what: str) -> StudioError:
    """Return the error for too many bytes or pixels."""
    return StudioError("image_too_large", f"'{param}' has {what}. Send a smaller picture.", param=param)
