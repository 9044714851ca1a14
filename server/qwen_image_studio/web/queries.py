"""Query parameters, read through their model."""

from typing import TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from qwen_image_studio.contract.errors import from_validation

Query = TypeVar("Query", bound=BaseModel)


def read_query(model: type[Query]) -> Query:
    """The current request's query parameters. Raises StudioError that names the one at fault."""
    try:
        return model.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise from_validation(error) from error
