"""The parameters of image_job: jobs that were started before."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tools.parameters.layering import Archived
from tools.parameters.tolerant import QUOTES, Tolerant, Whole, lowered

MAX_JOBS = 100

JobAction = Literal["result", "list", "cancel"]


def one_id(value: object) -> object:
    """Return the id in what people and models write: in quotation marks or brackets, after the word job, or within the
    whole line of a tool's answer. Raises ValueError where there is none.
    """
    if not isinstance(value, str):
        return value
    if len(named := set(re.findall(r"\bjob_[0-9a-f]{8,60}\b", value))) == 1:
        return named.pop()
    around = f"{QUOTES}.,;:[](){{}}<>"
    found = re.sub(r"(?i)^job([_ ]id)?[\s:=\"']+", "", value.strip(around)).strip(around)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found):
        raise ValueError("takes one id such as the tool that started the job named it")
    return found


class JobParameters(Tolerant):
    """Parameters of image_job."""

    job_id: Annotated[str | None, BeforeValidator(one_id)] = None
    action: Annotated[JobAction, BeforeValidator(lowered)] = "result"
    wait: bool = True
    format: Archived = "zip"
    """The file in which the layers of a job for layers are given besides; of no effect for other jobs."""
    limit: Whole = Field(5, ge=1, le=MAX_JOBS)

    @classmethod
    def relevant(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters without job_id where jobs are to be listed."""
        listing = lowered(params.get("action")) == "list"
        return {name: value for name, value in params.items() if not (listing and name == "job_id")}

    @model_validator(mode="after")
    def _about_a_job(self) -> Self:
        if self.action != "list" and self.job_id is None:
            raise ValueError("job_id is missing. Take it from the answer of the tool that started the job.")
        return self

    @property
    def about(self) -> str:
        """The id of the job that the action is about; empty for a list."""
        return self.job_id or ""
