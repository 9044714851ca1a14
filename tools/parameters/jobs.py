"""The parameters of image_job: jobs that were started before."""

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tools.parameters.tolerant import Tolerant, Whole, lowered

MAX_JOBS = 100

JobAction = Literal["result", "list", "cancel"]


def one_id(value: object) -> object:
    """An id as people and models write it: in quotation marks, with the stop of a sentence, after the word job."""
    if not isinstance(value, str):
        return value
    found = re.sub(r"(?i)^job(_id)?[\s:=]+", "", value.strip(" \t\r\n.,;:`'\"“”")).strip(" `'\"“”")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found):
        raise ValueError("takes one id such as the tool that started the job named it")
    return found


class JobParameters(Tolerant):
    """Parameters of image_job."""

    job_id: Annotated[str | None, BeforeValidator(one_id)] = None
    action: Annotated[JobAction, BeforeValidator(lowered)] = "result"
    wait: bool = True
    limit: Whole = Field(10, ge=1, le=MAX_JOBS)

    @model_validator(mode="after")
    def _about_a_job(self) -> Self:
        if self.action != "list" and self.job_id is None:
            raise ValueError("job_id is missing. Take it from the answer of the tool that started the job.")
        return self

    @property
    def about(self) -> str:
        """The job that is meant, where the action is about one."""
        return self.job_id or ""
