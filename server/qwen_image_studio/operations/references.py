"""From the pictures of a request to those of its plan: whether a model takes so many, and what each is to it."""

from collections.abc import Iterable, Mapping, Sequence

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.references import ReferenceRole
from qwen_image_studio.contract.words import Way
from qwen_image_studio.models.table import MODELS, Model


def most_images(model: Model, way: Way) -> int:
    """Return the largest number of pictures that a model is shown in one way; a description takes one."""
    return model.max_images if way is Way.EDIT else 1


def too_many(model: Model, way: Way, count: int, models: Mapping[str, Model]) -> StudioError:
    """Return the error for more pictures than a model takes, which names those of this server that take more, or else
    those that there are.
    """
    most = most_images(model, way)
    if way is not Way.EDIT:
        return refusal(
            "image", f"there are {count}; {model.name} paints from a description and takes one image; send that alone"
        )
    said = [f"there are {count}", f"{model.name} takes {most}"]
    if here := _larger(models.values(), most):
        said += [f"{each.name} takes {each.max_images}" for each in here]
        remedy = f"send {most} at most, or name that model" if here[0].max_images >= count else f"send {most} at most"
    else:
        said += [
            f"{each.name}, which is not on this server, takes {each.max_images}"
            for each in _larger(MODELS.values(), most)
        ]
        remedy = f"send {most} at most"
    return refusal("image", "; ".join([*said, remedy]))


def checked_roles(
    roles: Sequence[ReferenceRole], way: Way, images: int, *, is_part: bool = False
) -> tuple[ReferenceRole, ...]:
    """Return the roles of a plan's inputs, of which there are so many; `is_part` says that only a part of the first is
    painted.

    Raises StudioError ``invalid_value`` for more roles than images, and where roles would have no effect.
    """
    if not roles:
        return ()
    if way is not Way.EDIT:
        raise refusal("roles", "belong to an instruction; leave them out, or name a model that edits")
    if len(roles) > images:
        sent = "there is 1 image" if images == 1 else f"there are {images} images"
        problem = f"has no image: {sent}, and {len(roles)} roles; leave it out, or send the image"
        raise refusal(f"roles[{images}]", problem)
    if is_part and roles[0].derive is not None:
        raise refusal(
            "roles[0].derive", "the first image is the one that is changed; a map can be made of those after it"
        )
    return tuple(roles)


def _larger(models: Iterable[Model], most: int) -> list[Model]:
    """Return the models that are shown more pictures than that, the one that takes the most first."""
    found = [model for model in models if Way.EDIT in model.families and model.max_images > most]
    return sorted(found, key=lambda model: -model.max_images)
