"""Parameters of the tools and credentials: defaults, tolerant parsing, and all checks before the network is used.

A value that cannot be used raises :class:`tools.errors.Refused` with a sentence that names the parameter.
"""

from tools.parameters.batch import BatchParameters
from tools.parameters.campaign import CampaignParameters
from tools.parameters.credentials import Credentials, language_for
from tools.parameters.editing import EditParameters
from tools.parameters.enhancing import ChosenModel, EnhanceParameters
from tools.parameters.jobs import JobParameters
from tools.parameters.layering import LayersParameters
from tools.parameters.outpainting import OutpaintParameters
from tools.parameters.painting import GenerationParameters
from tools.parameters.reviewing import ReviewParameters
from tools.parameters.styling import StyleParameters

__all__ = [
    "BatchParameters",
    "CampaignParameters",
    "ChosenModel",
    "Credentials",
    "EditParameters",
    "EnhanceParameters",
    "GenerationParameters",
    "JobParameters",
    "LayersParameters",
    "OutpaintParameters",
    "ReviewParameters",
    "StyleParameters",
    "language_for",
]
