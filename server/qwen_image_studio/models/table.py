"""The table of models: everything the product knows about each. A model of a known family is added as a row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import AspectRatio, Operation, Precision, Size, Tier, Way
from qwen_image_studio.models.families import FAMILIES, Family
from qwen_image_studio.planning.sizes import Limits
from qwen_image_studio.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """Steps and guidance of one tier of a model."""

    steps: int
    """Denoising steps of one picture."""
    guidance_scale: float
    """Weight of the prompt (true CFG); at 1 the negative prompt has no effect."""


@dataclass(frozen=True)
class Model:
    """One row of the table."""

    name: str
    repository: str
    """Repository id or local folder, for ``from_pretrained``."""
    licence: str
    """Licence of the weights, as an SPDX identifier where there is one."""
    families: Mapping[Way, str]
    """Name of the family for each way: painting from a description (generate), following an instruction (edit)."""
    sizes: Mapping[AspectRatio, Size]
    """Native size of each aspect ratio, in pixels."""
    grid: int
    """Number of pixels of which painted sides are multiples."""
    max_pixels: int
    """Largest area that may be asked for, in pixels."""
    paint_pixels: tuple[int, int]
    """Least and largest area that the model paints itself, in pixels; any other size is resized from these."""
    region_pixels: int
    """Least area in pixels at which a part of an image is painted; a smaller part is enlarged, and so gains detail."""
    max_aspect: float
    """Longest shape that it paints, as long side divided by short side."""
    tiers: Mapping[Tier, Recipe]
    """Recipe of each tier that the model has; every model has ``quality``."""
    negative_prompt: str
    """Negative prompt where the caller gives none; without one, guidance is silently off."""
    max_prompt_tokens: Mapping[Way, int]
    """Largest number of tokens of a prompt in each way, with those that close the chat template."""
    memory_gib: float
    """Memory of the weights in bf16, text encoder and VAE included, in GiB."""
    working_gib: float = 12.0
    """Memory for painting besides the weights, in GiB: activations, and above all the VAE's decoding."""
    precisions: tuple[Precision, ...] = (Precision.BF16, Precision.FP32)
    """Number formats in which the model paints correctly, its own first."""
    aliases: tuple[str, ...] = ()
    """Other names that callers may use, besides the repository id."""
    owner: str = ""
    """Publisher of the model on the Hugging Face Hub; empty where it is not published there."""
    max_images: int = 0
    """Largest number of pictures that an edit takes."""
    input_pixels: int = 1024 * 1024
    """Area in pixels to which an edit's inputs are resized for the VAE."""
    input_grid: int = 32
    """Number of pixels of which the sides of resized inputs are multiples, for VAE and text encoder."""
    vision_pixels: int = 384 * 384
    """Area in pixels to which an edit's inputs are resized for the text encoder."""
    cpu_threads: int | None = None
    """Number of threads on a processor; None for torch's own choice."""
    miniature: bool = False
    """Whether it is the very small model, which knows only the words in its file."""
    shares: str = ""
    """Key that models with the same text encoder and VAE have in common; empty where it shares neither."""

    def family(self, way: Way) -> Family:
        """Return the family that paints in that way, which the model must have."""
        return FAMILIES[self.families[way]]

    def recipe(self, tier: Tier = Tier.QUALITY) -> Recipe:
        """Return the steps and guidance of a tier. Raises StudioError ``invalid_value`` for a tier that it lacks."""
        if tier not in self.tiers:
            tiers = ", ".join(self.tiers)
            raise refusal("tier", f"{self.name} has no tier {tier.value}; it has: {tiers}")
        return self.tiers[tier]

    def precision(self, asked: Precision | None = None) -> tuple[Precision, str | None]:
        """Return the precision to paint in, and a warning where it is not the one asked for."""
        own = self.precisions[0]
        if asked is None or asked in self.precisions:
            return asked or own, None
        return own, f"{self.name} does not paint right in {asked.value}; {own.value} was taken instead."

    @property
    def needed_gib(self) -> float:
        """Return the memory in GiB that a device must have to paint with the model in bf16."""
        return self.memory_gib + self.working_gib

    @property
    def limits(self) -> Limits:
        """Return the sizes that the model can paint, in numbers."""
        square = self.sizes[AspectRatio.SQUARE]
        return Limits(square, self.grid, self.paint_pixels, self.region_pixels, self.max_aspect)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Return the operations that the model does; inpaint and outpaint work in either way."""
        return (*(Operation(way) for way in self.families), Operation.INPAINT, Operation.OUTPAINT)


_OFFICIAL_SIZES: Mapping[AspectRatio, Size] = {
    AspectRatio.SQUARE: (1328, 1328),
    AspectRatio.WIDE: (1664, 928),
    AspectRatio.TALL: (928, 1664),
    AspectRatio.LANDSCAPE: (1472, 1104),
    AspectRatio.PORTRAIT: (1104, 1472),
    AspectRatio.PHOTO: (1584, 1056),
    AspectRatio.PHOTO_TALL: (1056, 1584),
}
_MEGAPIXEL_SIZES: Mapping[AspectRatio, Size] = {  # about one megapixel, sides in multiples of 32
    AspectRatio.SQUARE: (1024, 1024),
    AspectRatio.WIDE: (1376, 768),
    AspectRatio.TALL: (768, 1376),
    AspectRatio.LANDSCAPE: (1184, 896),
    AspectRatio.PORTRAIT: (896, 1184),
    AspectRatio.PHOTO: (1248, 832),
    AspectRatio.PHOTO_TALL: (832, 1248),
}
_MINIATURE_SIZES: Mapping[AspectRatio, Size] = {  # about 128 x 128 pixels
    AspectRatio.SQUARE: (128, 128),
    AspectRatio.WIDE: (176, 96),
    AspectRatio.TALL: (96, 176),
    AspectRatio.LANDSCAPE: (144, 112),
    AspectRatio.PORTRAIT: (112, 144),
    AspectRatio.PHOTO: (160, 112),
    AspectRatio.PHOTO_TALL: (112, 160),
}

_QWEN_IMAGE = Model(
    name="Qwen-Image",
    repository="Qwen/Qwen-Image",
    licence="Apache-2.0",
    families={Way.GENERATE: "qwen-image"},
    sizes=_OFFICIAL_SIZES,
    grid=16,
    max_pixels=2048 * 2048,
    paint_pixels=(256 * 256, 2048 * 2048),
    region_pixels=384 * 384,
    max_aspect=4.0,
    tiers={Tier.QUALITY: Recipe(steps=50, guidance_scale=4.0)},
    negative_prompt=" ",
    max_prompt_tokens={Way.GENERATE: 1024},
    memory_gib=54.0,
    aliases=("qwen-image-20b",),
    owner="Qwen",
    shares="qwen2.5-vl-7b",
)
_QWEN_IMAGE_EDIT_2509 = replace(
    _QWEN_IMAGE,
    name="Qwen-Image-Edit-2509",
    repository="Qwen/Qwen-Image-Edit-2509",
    families={Way.EDIT: "qwen-image-edit"},
    sizes=_MEGAPIXEL_SIZES,
    grid=32,
    tiers={Tier.QUALITY: Recipe(steps=40, guidance_scale=4.0)},
    max_prompt_tokens={Way.EDIT: 2048},
    aliases=("qwen-image-edit", "qwen-image-edit-plus"),
    max_images=3,
)

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _QWEN_IMAGE,
        replace(
            _QWEN_IMAGE,
            name="Qwen-Image-2512",
            repository="Qwen/Qwen-Image-2512",
            aliases=(),
            negative_prompt="低分辨率，低画质，肢体畸形，手指畸形，画面过饱和，蜡像感，人脸无细节，过度光滑，"
            "画面具有AI感。构图混乱。文字模糊，扭曲。",
        ),
        _QWEN_IMAGE_EDIT_2509,
        replace(
            _QWEN_IMAGE_EDIT_2509,
            name="Qwen-Image-Edit-2511",
            repository="Qwen/Qwen-Image-Edit-2511",
            aliases=(),
        ),
        Model(
            name="Qwen-Image-2.1",
            repository="Qwen/Qwen-Image-2.1",
            licence="Qwen Research License (no commercial use)",
            families={Way.GENERATE: "qwen-image-2.1", Way.EDIT: "qwen-image-2.1"},
            sizes=_MEGAPIXEL_SIZES,
            grid=32,
            max_pixels=2048 * 2048,
            paint_pixels=(256 * 256, 2048 * 2048),
            region_pixels=384 * 384,
            max_aspect=4.0,
            tiers={Tier.QUALITY: Recipe(steps=40, guidance_scale=1.0)},
            negative_prompt=" ",
            max_prompt_tokens={Way.GENERATE: 1024, Way.EDIT: 2048},
            memory_gib=30.0,
            owner="Qwen",
            max_images=10,
            shares="qwen3-vl-8b",
        ),
        Model(
            name="miniature",
            repository=str(Path(__file__).parent.parent / "miniature" / "weights"),
            licence="Apache-2.0",
            families={Way.GENERATE: "qwen-image", Way.EDIT: "qwen-image-edit"},
            sizes=_MINIATURE_SIZES,
            grid=16,
            max_pixels=2048 * 2048,
            paint_pixels=(64 * 64, 160 * 128),
            region_pixels=128 * 128,
            max_aspect=4.0,
            tiers={Tier.QUALITY: Recipe(steps=20, guidance_scale=3.0), Tier.TURBO: Recipe(steps=8, guidance_scale=3.0)},
            negative_prompt=" ",
            max_prompt_tokens={Way.GENERATE: 256, Way.EDIT: 256},
            memory_gib=0.1,
            working_gib=0.5,
            max_images=3,
            input_pixels=128 * 128,
            input_grid=16,  # an input of a native size keeps it, and its tokens lie on those of the result
            vision_pixels=112 * 112,
            # A second thread saves a seventh of the time on an idle machine; on a busy one painting takes twenty times
            # as long, because the two threads wait for each other.
            cpu_threads=1,
            miniature=True,
            shares="miniature",
        ),
    )
}


def configured_models(settings: Settings, *, card_gib: float) -> Mapping[str, Model]:
    """Return the models that this server offers, in the operator's order.

    By default these are the large ones where the largest card, of `card_gib` (0: there is none), can hold one, and the
    miniature where it cannot. Raises StudioError ``unknown_model`` for a name that is not in the table.
    """
    large = card_gib >= _QWEN_IMAGE.needed_gib
    wanted = settings.models or (("Qwen-Image", "Qwen-Image-Edit-2509") if large else ("miniature",))
    models: dict[str, Model] = {}
    for entry in wanted:
        name, _, folder = entry.partition("=")
        model = find_model(name.strip(), MODELS)
        models[model.name] = replace(model, repository=folder.strip()) if folder.strip() else model
    return models


def find_model(name: str, models: Mapping[str, Model]) -> Model:
    """Return the model of that name, alias or repository id, whatever its case.

    Raises StudioError ``unknown_model`` that lists the models there are.
    """
    for model in models.values():
        if _is_called(model, name):
            return model
    # Where the miniature is the only model, it stands in for the large ones; planning adds a warning.
    if [model.miniature for model in models.values()] == [True] and any(
        _is_called(row, name) for row in MODELS.values()
    ):
        return next(iter(models.values()))
    raise StudioError(
        "unknown_model", f"model '{name}' is not on this server; it has: {', '.join(models)}.", param="model"
    )


def _is_called(model: Model, name: str) -> bool:
    row = MODELS.get(model.name, model)  # a model loaded from a folder keeps its repository id as a name
    return name.casefold() in {known.casefold() for known in (model.name, row.repository, *model.aliases)}
