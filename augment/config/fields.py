"""The base of all sections, and the types of their fields with their limits."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.fields import FieldInfo

from augment.base.errors import UsageError
from augment.base.storage import addresses


def Runtime(default: Any, **constraints: Any) -> Any:
    """A field that determines how a stage works, not what it makes."""
    return Field(default, json_schema_extra={"runtime": True}, **constraints)


def _at_home(path: Any) -> Any:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("there is no such user") from None


def _file_at_home(name: str) -> str:
    if addresses.is_address(name):
        return str(_copy_of(name))
    return str(_at_home(Path(name))) if name.startswith("~") else name


def _copy_of(given: Any) -> Any:
    try:
        return addresses.copy_of(given) if isinstance(given, str) and addresses.is_address(given) else given
    except UsageError as error:
        raise ValueError(str(error)) from None


def _with_address(path: Any) -> str:
    return addresses.shown(str(path))


def odd(number: int) -> int:
    """Validates that it is."""
    if number % 2 == 0:
        raise ValueError("must be odd")
    return number


def check_pattern(pattern: str) -> str:
    """A pattern of names, as it is. Raises ValueError unless it is a regular expression with the groups pid, camid."""
    try:
        groups = re.compile(pattern, re.ASCII).groupindex
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from None
    if not {"pid", "camid"} <= set(groups):
        raise ValueError(r"needs the groups pid and camid, as in '(?P<pid>\d+)_c(?P<camid>\d+)'")
    return pattern


_address_in_json = PlainSerializer(_with_address, when_used="json")
# ~ is the user's home, as in a shell. An address of object storage becomes the path of its copy.
Location = Annotated[Path, BeforeValidator(_copy_of), AfterValidator(_at_home), _address_in_json]
# The same of a file that may be looked for in several folders.
File = Annotated[str, AfterValidator(_file_at_home), _address_in_json]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every library takes
Count = Annotated[int, Field(ge=1, le=10**9)]
People = Annotated[int, Field(ge=1, le=10**6)]
Batch = Annotated[int, Field(ge=1, le=2**16)]
Edge = Annotated[int, Field(ge=16, le=1024)]  # pixels
Pattern = Annotated[str, Field(max_length=1000), AfterValidator(check_pattern)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys are errors, numbers are finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def identity(self) -> dict[str, Any]:
        """The fields that can change a result, as plain JSON types."""
        plain = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if _is_runtime(field):
                del plain[name]
            elif isinstance(value, Section):
                plain[name] = value.identity()
        return plain

    def with_identity(self, identity: Mapping[str, Any]) -> Self:
        """The section of that :meth:`identity`, else as this one. Raises ValueError where another version made it."""
        fields = type(self).model_fields.items()
        values = {name: getattr(self, name) for name, field in fields if _is_runtime(field)}
        for name, made in identity.items():
            values[name] = _with_identity(getattr(self, name, None), made)
        return type(self).model_validate(values)


def _is_runtime(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("runtime"))


def _with_identity(value: Any, made: Any) -> Any:
    if isinstance(value, Section) and isinstance(made, Mapping):
        return value.with_identity(made)
    if isinstance(value, Mapping) and isinstance(made, Mapping):  # sections by name, in their order: the arms
        names = [name for name in value if name in made] + [name for name in made if name not in value]
        return {name: _with_identity(value.get(name), made[name]) for name in names}
    return made
