"""How many images a request has to come with, in all the ways in which they can be sent."""

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.operations.requests import AdjustRequest, GenerateRequest, InpaintRequest, Painting


def check_images(asked: Painting | AdjustRequest, files: int, masks: int) -> None:
    """Raise StudioError where there are too few images or too many, among them `files` and `masks` that came along."""
    named = len(asked.images)
    least, most = asked.TAKES_IMAGES
    how_many = f"{least} to {most} images" if most > 1 else "1 image"
    if named and files:
        raise refusal("image", f"send {how_many} either as files or as ids and URLs, not both")
    remembered = asked.conversation is not None and not named + files
    if not least <= named + files <= most and not remembered:
        said = f"{asked.operation} takes {how_many}, as files or as ids and URLs; there are {named + files}"
        raise refusal("image", said)
    if isinstance(asked, GenerateRequest) and asked.strength is not None and not named + files:
        raise refusal("strength", "says how far to go from an image; send an image, or leave it out")
    if isinstance(asked, InpaintRequest):
        if masks + (asked.mask is not None) + (asked.region is not None) != 1:
            raise refusal("mask", "send what may change, either as a mask (file, id or URL) or as a region")
    elif masks:
        raise StudioError("unknown_parameter", f"mask: {asked.operation} takes no mask; use inpaint.", param="mask")
