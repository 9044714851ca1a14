"""From stored images to what a gallery and reviewers are shown of them."""

from collections.abc import Sequence

from qwen_image_studio.contract.answers import ImageView
from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.pictures import (
    MAX_TOTAL,
    ImageChain,
    ImageList,
    ImagesQuery,
    ListedImage,
    ReviewerView,
)
from qwen_image_studio.contract.words import Prompts, Source, Tier
from qwen_image_studio.jobs.pictures import Picture, Wanted
from qwen_image_studio.jobs.review import judges
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.present import image_record, image_view
from qwen_image_studio.web.routing import services

_NOT_KEPT = (
    "This server does not keep prompts (STUDIO_PROMPTS): a search finds only images from the time before, and those of "
    "jobs that have not ended."
)


def image_list(who: Caller, query: ImagesQuery) -> ImageList:
    """Return a page of the images that the caller may see. Raises StudioError ``not_found`` for an unknown `after`."""
    found, has_more, total = services().store.pictures.page(
        who,
        Wanted(**query.model_dump(exclude={"limit", "after"})),
        limit=query.limit,
        after=query.after,
        count_to=MAX_TOTAL,
    )
    are_kept = services().settings.prompts is Prompts.KEPT
    note = None if query.q is None or are_kept else _NOT_KEPT
    return ImageList(data=listed_for(who, found), has_more=has_more, total=total, note=note)


def image_chain(image_id: str, who: Caller) -> ImageChain:
    """Return the history of an image. Raises StudioError ``not_found`` and ``held_for_review``."""
    services().store.reviews.look(image_id, who)
    pictures = services().store.pictures
    [picture], related = pictures.of([image_id]), pictures.related(image_id, who)
    return ImageChain(
        image=listed_for(who, [picture])[0],
        ancestors=listed_for(who, related.ancestors),
        descendants=listed_for(who, related.descendants),
        truncated=related.truncated,
    )


def listed_for(who: Caller, found: Sequence[Picture]) -> list[ListedImage]:
    """Return images with what is known of their jobs, and of those that the caller judges what reviewers see."""
    judged = for_reviewers([each for each in found if judges(who, each.image)])
    return [judged.get(each.image.id) or listed(each) for each in found]


def for_reviewers(found: Sequence[Picture]) -> dict[str, ListedImage]:
    """Return images as reviewers see them, by their ids."""
    named = {parent for each in found for parent in each.parents}
    sources = {each.image.id: each for each in services().store.pictures.of(named)} if named else {}
    return {
        each.image.id: listed(
            each,
            ReviewerView(
                owner=each.image.owner,
                key=each.key,
                scores=dict(each.image.scores),
                made_from=[_viewed(sources[parent]) for parent in each.parents if parent in sources],
                by=each.image.review_by,
                at=each.image.review_at,
                note=each.image.review_note,
            ),
        )
        for each in found
    }


def _viewed(picture: Picture) -> ImageView:
    return image_view(picture.image, picture.key)


def listed(picture: Picture, reviewer: ReviewerView | None = None) -> ListedImage:
    """Return one image with what is known of its job."""
    return ListedImage(
        **image_record(picture.image, picture.key).model_dump(),
        source=Source.UPLOAD if picture.operation is None else Source.MADE,
        operation=picture.operation,
        model=picture.model,
        tier=None if picture.tier is None else Tier(picture.tier),
        prompt=picture.prompt,
        parent_ids=list(picture.parents),
        parent_id=picture.batch,
        user=None if caller().guest else picture.user,
        reviewer=reviewer,
    )
