"""From stored images to what a gallery shows of them."""

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.pictures import MAX_TOTAL, ImageChain, ImageList, ImagesQuery, ListedImage
from qwen_image_studio.contract.words import Prompts, Source, Tier
from qwen_image_studio.jobs.pictures import Picture, Wanted
from qwen_image_studio.web.present import image_record
from qwen_image_studio.web.routing import services

_NOT_KEPT = (
    "This server does not keep prompts (STUDIO_PROMPTS): a search finds only images from the time before, and those of "
    "jobs that have not ended."
)


def image_list(caller: Caller, query: ImagesQuery) -> ImageList:
    """Return a page of the images that the caller may see. Raises StudioError ``not_found`` for an unknown `after`."""
    found, has_more, total = services().store.pictures.page(
        caller,
        Wanted(**query.model_dump(exclude={"limit", "after"})),
        limit=query.limit,
        after=query.after,
        count_to=MAX_TOTAL,
    )
    are_kept = services().settings.prompts is Prompts.KEPT
    note = None if query.q is None or are_kept else _NOT_KEPT
    return ImageList(data=[listed(each) for each in found], has_more=has_more, total=total, note=note)


def image_chain(image_id: str, caller: Caller) -> ImageChain:
    """Return the history of an image. Raises StudioError ``not_found`` and ``held_for_review``."""
    services().store.reviews.look(image_id, caller)
    pictures = services().store.pictures
    [picture], related = pictures.of([image_id]), pictures.related(image_id, caller)
    return ImageChain(
        image=listed(picture),
        ancestors=[listed(each) for each in related.ancestors],
        descendants=[listed(each) for each in related.descendants],
        truncated=related.truncated,
    )


def listed(picture: Picture) -> ListedImage:
    """Return one image with what is known of its job."""
    return ListedImage(
        **image_record(picture.image).model_dump(),
        source=Source.UPLOAD if picture.operation is None else Source.MADE,
        operation=picture.operation,
        model=picture.model,
        tier=None if picture.tier is None else Tier(picture.tier),
        prompt=picture.prompt,
        parent_ids=list(picture.parents),
        parent_id=picture.batch,
        user=picture.user,
    )
