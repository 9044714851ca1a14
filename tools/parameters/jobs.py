"""The parameters of image_job: jobs that were started before."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tools.parameters.tolerant import QUOTES, Tolerant, Whole, lowered

MAX_JOBS = 100

JobAction = Literal["result", "list", "cancel"]


def one_id(value: object) -> object:
    """An id as people and models write it: in quotation marks or brackets, after the word job, or in the whole line in
    which a tool named it.
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
    limit: Whole = Field(10, ge=1, le=MAX_JOBS)

    @classmethod
    def relevant(cls, told: dict[str, Any]) -> dict[str, Any]:
        """A list is of no job in particular."""
        listing = lowered(told.get("action")) == "list"
        return {name: value for name, value in told.items() if not (listing and name == "job_id")}

    @model_validator(mode="after")
    def _about_a_job(self) -> Self:
        if self.action != "list" and self.job_id is None:
            raise ValueError("job_id is missing. Take it from the answer of the tool that started the job.")
        return self

    @property
    def about(self) -> str:
        """The job that is meant, where the action is about one."""
        return self.job_id or ""
