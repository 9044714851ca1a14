"""The base of all answers."""

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """What the server sends back; the docstrings of its fields are their descriptions in the OpenAPI document."""

    model_config = ConfigDict(use_attribute_docstrings=True)
