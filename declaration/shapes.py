"""The shapes of what is declared, and how each is written for Dify."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_serializer

LANGUAGES = {"en": "en_US", "zh": "zh_Hans", "ja": "ja_JP", "pt": "pt_BR"}
"""The languages of every text, and Dify's names for them."""


def _in_all_languages(value: object) -> object:
    """Return a text under Dify's names of the languages. Raises ValueError where one is missing."""
    if isinstance(value, str):
        return dict.fromkeys(LANGUAGES.values(), value)
    if not isinstance(value, Mapping) or list(value) != list(LANGUAGES):
        raise ValueError(f"write it in {', '.join(LANGUAGES)}, in this order, or once where it is the same in all")
    return {LANGUAGES[short]: text for short, text in value.items()}


Text = Annotated[dict[str, str], BeforeValidator(_in_all_languages)]
"""A text that a person reads."""


def _as_list(options: dict[str, dict[str, str]] | None) -> list[dict[str, Any]] | None:
    """Return the options of a select as Dify has them."""
    return None if options is None else [{"value": value, "label": label} for value, label in options.items()]


class Declared(BaseModel):
    """The base of everything that is declared: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")

    def for_dify(self) -> dict[str, Any]:
        """Return it with Dify's names, without what is left out."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Parameter(Declared):
    """One parameter of a tool; ``human`` is for the person at the form, ``llm`` for the model that calls the tool."""

    type: Literal["string", "number", "boolean", "select", "files", "any"]
    form: Literal["llm", "form"]
    """Who fills it in: the model that calls the tool, or the builder of the app alone."""
    required: bool = False
    default: bool | int | float | str | None = None
    min: int | float | None = None
    max: int | float | None = None
    label: Text
    human: Text = Field(serialization_alias="human_description")
    llm: str = Field(serialization_alias="llm_description")
    options: dict[str, Text] | None = None
    """Label of each value of a select."""

    @field_serializer("options")
    def _listed(self, options: dict[str, dict[str, str]] | None) -> list[dict[str, Any]] | None:
        return _as_list(options)


class Output(Declared):
    """One variable that a tool gives to later nodes; an array is one of texts."""

    type: Literal["string", "number", "array"]
    description: str

    def for_dify(self) -> dict[str, Any]:
        """Return it with Dify's names."""
        of_texts = {"items": {"type": "string"}} if self.type == "array" else {}
        return {"type": self.type, **of_texts, "description": self.description}


class Tool(Declared):
    """One tool; ``human`` and ``llm`` describe it to people and to models."""

    label: Text
    human: Text
    llm: str
    parameters: dict[str, Parameter]
    outputs: dict[str, Output]

    def file_of(self, name: str, author: str) -> dict[str, Any]:
        """Return the content of ``tools/NAME.yaml``."""
        parameters = [{"name": each, **parameter.for_dify()} for each, parameter in self.parameters.items()]
        return {
            "identity": {"author": author, "name": name, "label": self.label},
            "description": {"human": self.human, "llm": self.llm},
            "parameters": parameters,
            "output_schema": {
                "type": "object",
                "properties": {each: output.for_dify() for each, output in self.outputs.items()},
            },
            "extra": {"python": {"source": f"tools/{name}.py"}},
        }


class Credential(Declared):
    """One entry of the form in which the administrator sets up the provider."""

    type: Literal["text-input", "secret-input", "boolean", "select"]
    required: bool = False
    default: bool | str | None = None
    label: Text
    placeholder: Text | None = None
    options: dict[str, Text] | None = None
    """Label of each value of a select."""

    @field_serializer("options")
    def _listed(self, options: dict[str, dict[str, str]] | None) -> list[dict[str, Any]] | None:
        return _as_list(options)


class Provider(Declared):
    """What the provider alone says."""

    name: str
    description: Text
    credentials: dict[str, Credential]


class Manifest(Declared):
    """What the manifest alone says; Dify's own names from ``resource`` on."""

    version: str
    name: str
    description: Text
    resource: dict[str, Any]
    meta: dict[str, Any]
    created_at: str
    privacy: str


class Plugin(Declared):
    """The plugin as a whole."""

    author: str
    label: Text
    icon: str
    icon_dark: str
    tags: list[str]
    manifest: Manifest
    provider: Provider
    tools: list[str]

    def manifest_file(self) -> dict[str, Any]:
        """Return the content of ``manifest.yaml``."""
        return {
            "type": "plugin",
            **self.model_dump(include={"author", "label", "icon", "icon_dark", "tags"}),
            **self.manifest.for_dify(),
            "plugins": {"tools": [f"provider/{self.provider.name}.yaml"]},
        }

    def provider_file(self) -> dict[str, Any]:
        """Return the content of ``provider/NAME.yaml``."""
        name, credentials = self.provider.name, self.provider.credentials
        return {
            "identity": {
                **self.model_dump(include={"author", "label", "icon", "icon_dark", "tags"}),
                "name": name,
                "description": self.provider.description,
            },
            "credentials_for_provider": {each: entry.for_dify() for each, entry in credentials.items()},
            "tools": [f"tools/{tool}.yaml" for tool in self.tools],
            "extra": {"python": {"source": f"provider/{name}.py"}},
        }


def filled_in(entries: Sequence[str | Mapping[str, Any]], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a tool names, in order: as it is shared, with the tool's own parts in place of the shared ones.

    Raises ValueError for a name that is not shared, or is there twice.
    """
    found: dict[str, Any] = {}
    for entry in entries:
        own = {entry: {}} if isinstance(entry, str) else dict(entry)
        for name, parts in own.items():
            if not parts and name not in shared:
                raise ValueError(f"{name} is not shared; describe it here")
            if name in found:
                raise ValueError(f"{name} is there twice")
            found[name] = {**shared.get(name, {}), **parts}
    return found
