"""The table of models: everything the product knows about each. A model of a known family is added as a row."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.words import AspectRatio, Operation, Precision, Size, Tier, Way
from qwen_image_studio.models import architectures, tiers
from qwen_image_studio.models.architectures import GIB, WIDE, Network
from qwen_image_studio.models.families import FAMILIES, Family
from qwen_image_studio.models.licences import to_accept
from qwen_image_studio.models.loras import Lora
from qwen_image_studio.models.tiers import Recipe, Tiers
from qwen_image_studio.planning.sizes import Limits


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
    tiers: Tiers
    """Recipe of each tier that the model has; every model has ``quality``."""
    negative_prompt: str
    """Negative prompt where the caller gives none; without one, guidance is silently off."""
    max_prompt_tokens: Mapping[Way, int]
    """Largest number of tokens of a prompt in each way, with those that close the chat template."""
    network: Network
    """Its networks in numbers, from which memory and work are counted."""
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
    stands_in: bool = False
    """Whether it answers for every model of the table where no other one is on the server."""
    shares: str = ""
    """Key that models with the same text encoder and VAE have in common; empty where it shares neither."""
    own_vae: bool = False
    """Whether it shares the text encoder alone."""
    licence_id: str = ""
    """Name under which an operator accepts a licence that forbids some uses (STUDIO_LICENCES); empty for others."""
    file: str = ""
    """File that the transformer is read from, GGUF or safetensors; empty where it lies with the other parts."""
    loras: Mapping[str, Lora] = field(default_factory=dict)
    """LoRAs that the operator offers for it, by name."""

    def family(self, way: Way) -> Family:
        """Return the family that paints in that way, which the model must have."""
        return FAMILIES[self.families[way]]

    def recipe(self, tier: Tier = Tier.QUALITY) -> Recipe:
        """Return how it paints at a tier. Raises StudioError ``invalid_value`` for a tier that it lacks."""
        if tier in self.tiers:
            return self.tiers[tier]
        row = MODELS[self.name].tiers.get(tier) if self.name in MODELS else None
        lacks = f"{self.name} has no tier {tier.value}; it has: {', '.join(self.tiers)}"
        if row is not None and row.lora is not None and row.lora.licence_id:
            lacks += f"; {to_accept(row.lora.licence, row.lora.licence_id)}"
        raise refusal("tier", lacks)

    def precision(self, asked: Precision | None = None) -> tuple[Precision, str | None]:
        """Return the precision to paint in, and a warning where it is not the one asked for."""
        own = self.precisions[0]
        if asked is None or asked in self.precisions:
            return asked or own, None
        return own, f"{self.name} does not paint right in {asked.value}; {own.value} was taken instead."

    @property
    def part_names(self) -> tuple[str, ...]:
        """Return the names of the parts that its families have together."""
        return tuple(dict.fromkeys(name for way in self.families for name in self.family(way).part_names))

    @property
    def memory_gib(self) -> float:
        """Return the memory of the weights in bf16, text encoder and VAE included, in GiB."""
        return WIDE * self.network.parameters / GIB

    @property
    def own_vae_bytes(self) -> int:
        """Return the memory of its VAE beside the one that others share, in bytes; 0 where it shares theirs."""
        return WIDE * self.network.vae.parameters if self.own_vae else 0

    @property
    def has_tier_lora(self) -> bool:
        """Return whether a LoRA belongs to any of its tiers."""
        return any(recipe.lora for recipe in self.tiers.values())

    @property
    def limits(self) -> Limits:
        """Return the sizes that the model can paint, in numbers."""
        square = self.sizes[AspectRatio.SQUARE]
        return Limits(square, self.grid, self.paint_pixels, self.region_pixels, self.max_aspect)

    def limits_at(self, tier: Tier) -> Limits:
        """Return the sizes that the model paints at a tier. Raises StudioError ``invalid_value`` for one it lacks."""
        return replace(self.limits, most_pixels=self.recipe(tier).max_pixels)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Return the operations that the model does; inpaint and outpaint work by a description or an instruction."""
        paints = {Way.GENERATE, Way.EDIT} & self.families.keys()
        parts = (Operation.INPAINT, Operation.OUTPAINT) if paints else ()
        return (*(Operation(way) for way in self.families), *parts)

    @property
    def transparent_operations(self) -> tuple[Operation, ...]:
        """Return those of its operations in which it paints transparency."""
        ways = {Way.GENERATE, Way.EDIT} & {way for way in self.families if self.family(way).alpha}
        parts = (Operation.INPAINT, Operation.OUTPAINT) if ways else ()
        return (*(Operation(way) for way in self.families if way in ways), *parts)


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
_LAYERED_SIZES: Mapping[AspectRatio, Size] = {  # about 640 x 640 pixels, sides in multiples of 32
    AspectRatio.SQUARE: (640, 640),
    AspectRatio.WIDE: (864, 480),
    AspectRatio.TALL: (480, 864),
    AspectRatio.LANDSCAPE: (736, 544),
    AspectRatio.PORTRAIT: (544, 736),
    AspectRatio.PHOTO: (768, 512),
    AspectRatio.PHOTO_TALL: (512, 768),
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
    tiers=tiers.QWEN_IMAGE,
    negative_prompt=" ",
    max_prompt_tokens={Way.GENERATE: 1024},
    network=architectures.QWEN_IMAGE,
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
    tiers=tiers.QWEN_IMAGE_EDIT_2509,
    max_prompt_tokens={Way.EDIT: 2048},
    aliases=("qwen-image-edit", "qwen-image-edit-plus"),
    max_images=3,
)
_MINIATURE = Model(
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
    tiers=tiers.MINIATURE,
    negative_prompt=" ",
    max_prompt_tokens={Way.GENERATE: 256, Way.EDIT: 256},
    network=architectures.MINIATURE,
    max_images=3,
    input_pixels=128 * 128,
    input_grid=16,  # an input of a native size keeps it, and its tokens lie on those of the result
    vision_pixels=112 * 112,
    # A second thread saves a seventh of the time on an idle machine; on a busy one painting takes twenty times as
    # long, because the two threads wait for each other.
    cpu_threads=1,
    miniature=True,
    stands_in=True,
    shares="miniature",
)

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _QWEN_IMAGE,
        replace(
            _QWEN_IMAGE,
            name="Qwen-Image-2512",
            repository="Qwen/Qwen-Image-2512",
            tiers=tiers.QWEN_IMAGE_2512,
            aliases=(),
            negative_prompt="低分辨率，低画质，肢体畸形，手指畸形，画面过饱和，蜡像感，人脸无细节，过度光滑，"
            "画面具有AI感。构图混乱。文字模糊，扭曲。",
        ),
        _QWEN_IMAGE_EDIT_2509,
        replace(
            _QWEN_IMAGE_EDIT_2509,
            name="Qwen-Image-Edit-2511",
            repository="Qwen/Qwen-Image-Edit-2511",
            tiers=tiers.QWEN_IMAGE_EDIT_2511,
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
            tiers=tiers.QWEN_IMAGE_21,
            negative_prompt=" ",
            max_prompt_tokens={Way.GENERATE: 1024, Way.EDIT: 2048},
            network=architectures.QWEN_IMAGE_21,
            owner="Qwen",
            max_images=10,
            shares="qwen3-vl-8b",
            licence_id="qwen-research",
        ),
        replace(
            _QWEN_IMAGE,
            name="Qwen-Image-Layered",
            repository="Qwen/Qwen-Image-Layered",
            families={Way.LAYERS: "qwen-image-layered"},
            sizes=_LAYERED_SIZES,
            grid=32,
            paint_pixels=(256 * 256, 1024 * 1024),
            tiers=tiers.QWEN_IMAGE_LAYERED,
            max_prompt_tokens={Way.LAYERS: 1024},
            network=architectures.QWEN_IMAGE_LAYERED,
            aliases=(),
            max_images=1,
            own_vae=True,
        ),
        _MINIATURE,
        replace(
            _MINIATURE,
            name="miniature-layered",
            repository=str(Path(_MINIATURE.repository).parent / "layered"),
            families={Way.LAYERS: "qwen-image-layered", Way.GENERATE: "qwen-image-alpha"},
            tiers=tiers.MINIATURE_LAYERED,
            max_prompt_tokens={Way.LAYERS: 256, Way.GENERATE: 256},
            network=architectures.MINIATURE_LAYERED,
            max_images=1,
            own_vae=True,
        ),
    )
}


def find_model(name: str, models: Mapping[str, Model]) -> Model:
    """Return the model of that name, alias or repository id, whatever its case.

    Raises StudioError ``unknown_model`` that lists the models there are.
    """
    for model in models.values():
        if is_called(model, name):
            return model
    row = next((row for row in MODELS.values() if is_called(row, name)), None)
    # Where the miniatures are the only models, they stand in for the large ones; planning adds a warning.
    if row and models and all(model.stands_in for model in models.values()):
        return next(iter(models.values()))
    message = f"model '{name}' is not on this server; it has: {', '.join(models)}."
    if row and row.licence_id:
        message += f" {not_offered(row)}"
    raise StudioError("unknown_model", message, param="model")


def models_for(name: str | None, models: Mapping[str, Model]) -> list[Model]:
    """Return the models that may paint what is asked of that one: itself, or all that stand in for it; without a name
    all. Raises StudioError as `find_model`.
    """
    found = None if name is None else find_model(name, models)
    return [found] if found is not None and name is not None and is_called(found, name) else list(models.values())


def is_called(model: Model, name: str) -> bool:
    """Return whether a name, whatever its case, is the model's own, an alias of it or its repository id."""
    row = MODELS.get(model.name, model)  # a model loaded from a folder keeps its repository id as a name
    return name.casefold() in {known.casefold() for known in (model.name, row.repository, *model.aliases)}


def not_offered(model: Model) -> str:
    """Return a sentence on why the model is left out although it is named, and what to do about it."""
    return f"{model.name} is not offered: {to_accept(model.licence, model.licence_id)}."
