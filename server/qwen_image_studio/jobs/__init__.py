"""The jobs, their images and the workers of a server; `store` is where to begin."""

from qwen_image_studio.jobs.states import (
    ACTIVE,
    FEW_ROWS,
    OPEN_ROWS,
    Job,
    Lease,
    NewJob,
    Progress,
    RowCounts,
    StoredImage,
    Submitted,
    Tag,
    state_shown,
)
from qwen_image_studio.jobs.store import JobStore, open_store
from qwen_image_studio.jobs.workers import WorkerReport

__all__ = [
    "ACTIVE",
    "FEW_ROWS",
    "OPEN_ROWS",
    "Job",
    "JobStore",
    "Lease",
    "NewJob",
    "Progress",
    "RowCounts",
    "StoredImage",
    "Submitted",
    "Tag",
    "WorkerReport",
    "open_store",
    "state_shown",
]
