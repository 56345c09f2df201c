"""YAML as configurations use it: plain values, numbers of YAML 1.2, no repeated keys, bounded in size and depth."""

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from augment.base.errors import UsageError

_BYTES, _VALUES, _DEPTH = 2**20, 10_000, 20


class Loader(yaml.SafeLoader):
    """Numbers of YAML 1.2, such as ``2e-4``, which YAML 1.1 reads as a string; a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The dictionary of a node."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key.value, str) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)
# As Python and the descriptions of the settings write it; a folder cannot have this name then.
Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^None$"), ["N"])


def parse_yaml(text: str) -> Any:
    """What YAML says. Raises ValueError where it is nested or repeated by aliases beyond what a configuration needs."""
    values = yaml.load(text, Loader=Loader)
    seen, level = 0, [values]
    for _ in range(_DEPTH):
        level = list(islice((part for value in level for part in _parts(value)), _VALUES + 1))
        seen += len(level)
        if not level:
            return values
        if seen > _VALUES:
            break
    raise ValueError(f"more than {_VALUES:,} values or {_DEPTH} levels, aliases counted as often as they stand")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set) else ()


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a file. Raises :class:`UsageError` where it is none of a configuration."""
    from augment.base.files import read_file  # with numpy and Pillow, for which `augment --help` need not wait

    try:
        values = parse_yaml(read_file(path, _BYTES).decode("utf-8-sig"))
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {_in_a_line(error)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as a configuration: {short(error, 400)}") from None
    if values is None:
        raise UsageError(f"{path}: is empty. `augment config show NAME` prints one that comes with the package.")
    if not isinstance(values, dict):
        raise UsageError(f"{path}: must hold sections like 'gan:' with keys below them, not a {type(values).__name__}.")
    return {key: value for key, value in values.items() if value is not None}  # a section with no key below it


def _in_a_line(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return short(error, 400)
    tab = " (YAML indents with spaces, not with tabs)" if "\\t" in str(error.problem) else ""
    return short(f"line {error.problem_mark.line + 1}: {error.problem}{tab}", 400)


def short(text: Any, limit: int = 100) -> str:
    """Its beginning, for a message."""
    text = str(text)
    return text if len(text) <= limit else text[:limit] + " ..."
