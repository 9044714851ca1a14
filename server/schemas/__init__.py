"""THE contract: what a caller may send and what comes back. OpenAPI is derived from these models.

Fields are a superset of OpenAI's image API.
"""

from server.schemas.requests import JOB_REQUEST, AdjustRequest, EditRequest, GenerateRequest, JobRequest, Request
from server.schemas.views import (
    ErrorBody,
    ErrorDetail,
    Health,
    HealthState,
    ImageRecord,
    ImageView,
    JobError,
    JobList,
    JobQuery,
    JobsQuery,
    JobView,
    ModelList,
    ModelView,
    ProgressView,
    SizeView,
    SlotView,
    TemplateList,
    TemplateView,
    VocabularyView,
    WordsView,
    WorkerView,
)

__all__ = [
    "JOB_REQUEST",
    "AdjustRequest",
    "EditRequest",
    "ErrorBody",
    "ErrorDetail",
    "GenerateRequest",
    "Health",
    "HealthState",
    "ImageRecord",
    "ImageView",
    "JobError",
    "JobList",
    "JobQuery",
    "JobRequest",
    "JobView",
    "JobsQuery",
    "ModelList",
    "ModelView",
    "ProgressView",
    "Request",
    "SizeView",
    "SlotView",
    "TemplateList",
    "TemplateView",
    "VocabularyView",
    "WordsView",
    "WorkerView",
]
