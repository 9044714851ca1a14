"""The operations, one file each: the request, how many images it takes, and how it becomes a plan."""

from typing import Annotated, get_args

from pydantic import Field

from qwen_image_studio.operations.adjust import AdjustRequest
from qwen_image_studio.operations.batch import BatchRequest
from qwen_image_studio.operations.campaign import CampaignRequest
from qwen_image_studio.operations.edit import EditRequest
from qwen_image_studio.operations.generate import GenerateRequest
from qwen_image_studio.operations.inpaint import InpaintRequest
from qwen_image_studio.operations.layers import LayersRequest
from qwen_image_studio.operations.outpaint import OutpaintRequest
from qwen_image_studio.operations.request import OPERATIONS

JobRequest = Annotated[
    GenerateRequest
    | EditRequest
    | InpaintRequest
    | OutpaintRequest
    | LayersRequest
    | AdjustRequest
    | BatchRequest
    | CampaignRequest,
    Field(discriminator="operation"),
]
"""The parameters of one job. A new operation is a new file in this package and an entry here."""

for _request in get_args(get_args(JobRequest)[0]):
    OPERATIONS[_request.NAME] = _request
