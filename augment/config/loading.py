"""Files, further files and dotted overrides to a configuration, its differences to the defaults, and back to YAML."""

import difflib
import os
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from augment.base.errors import UsageError
from augment.base.storage.addresses import location
from augment.config.fields import Section
from augment.config.sections import ArmConfig, Config, ReidConfig
from augment.config.yaml_files import parse_yaml, read_yaml, short

_SHOWN = 5  # problems of a configuration that are reported


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    files = {path.stem: path for path in (Path(__file__).parents[1] / "configs").glob("*.yaml")}
    return dict(sorted(files.items()))


def find_config(path: Path) -> Path:
    """The file itself, or the shipped configuration of that name. Raises :class:`UsageError` naming the nearest."""
    if path.is_file():
        return path
    if path.is_dir():
        own = path / "config.yaml"
        raise UsageError(f"{path}: is the folder of a run; its configuration is {own}." if own.is_file() else
                         f"{path}: is a folder, not a configuration file.")  # fmt: skip
    shipped = shipped_configs()
    if str(path) in shipped:
        return shipped[str(path)]
    if path.exists():  # a pipe, say, which reading it tells
        return path
    beside = {file.stem: file for file in path.parent.glob("*.yaml")}
    near = difflib.get_close_matches(path.stem, [*beside, *shipped], 1)
    hint = f" Did you mean {beside.get(near[0], near[0])}?" if near else ""
    raise UsageError(f"{path}: no such configuration file.{hint} `augment config list` names those that come with the "
                     "package.")  # fmt: skip


def _find_further(path: Path) -> Path:
    """The file itself, or the shipped one of that name, like runner/slurm. Raises :class:`UsageError`."""
    if path.exists():
        return path
    folder = Path(__file__).parents[1] / "configs"
    shipped = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.glob("*/*.yaml"))}
    if str(path) in shipped:
        return shipped[str(path)]
    raise UsageError(f"--with {path}: no such file. With the package come {', '.join(shipped)}.")


def load_config(path: Path | None = None, overrides: list[str] | tuple[str, ...] = (),
                others: Sequence[Path] = ()) -> Config:  # fmt: skip
    """Defaults, then the YAML file or shipped configuration, then further files, then ``a.b=value`` overrides.

    Raises :class:`UsageError` that names the wrong key and the most similar valid key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = read_yaml(find_config(Path(path)))
        values.setdefault("name", Path(path).stem)
    for other in others:
        _merge(values, read_yaml(_find_further(Path(other))))
    for override in overrides:
        _apply_override(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        source = f"{path}: " if path else ""
        # A default that depends on a wrong value is no problem of its own.
        problems = [problem for problem in error.errors() if problem["type"] != "default_factory_not_called"]
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UsageError(source + "; ".join(map(_explain, problems[:_SHOWN])) + more) from None


def _merge(values: dict[str, Any], others: dict[str, Any]) -> None:
    for key, value in others.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def differences(config: Config, other: Config | None = None) -> dict[str, Any]:
    """Dotted keys whose value is not that of ``other`` (None: the defaults), with their values; None where ``config``
    lacks the key. Where the arms are others, or in another order, ``reid.arms`` lists their names."""
    ours, theirs = config.model_dump(mode="json"), (other or Config()).model_dump(mode="json")
    arms, other_arms = ours["reid"]["arms"], theirs["reid"]["arms"]
    if list(arms) == list(other_arms):
        return dict(_flat_differences(ours, theirs, ""))
    theirs["reid"]["arms"] = {name: settings for name, settings in other_arms.items() if name in arms}
    return {**dict(_flat_differences(ours, theirs, "")), "reid.arms": list(arms)}


def _flat_differences(values: dict[str, Any], others: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key in {**values, **others}:
        value, other = values.get(key), others.get(key)
        if isinstance(value, dict) and isinstance(other, dict) and other:
            yield from _flat_differences(value, other, f"{prefix}{key}.")
        elif value != other:
            yield prefix + key, _given(value)


def _given(value: Any) -> Any:
    """Without the settings that an arm, say, leaves open."""
    return {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else value


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {override}: write it as section.key=value, for example gan.iterations=1000.")
    *parents, last = key.strip().split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            hint = " It is a list there: give it keys, like reid.arms={real: {}, mixed: {until: 0.5}}."
            raise UsageError(f"--set {override}: '{parent}' is a value, not a section."
                             + hint * isinstance(values, list))  # fmt: skip
    try:
        values[last] = parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--set {short(override)}: the value is not valid YAML: {short(error, 400)}") from None


def _explain(problem: ErrorDetails) -> str:
    location = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        *parents, wrong = problem["loc"]
        section: Any = Config
        for parent in parents:
            if section is ReidConfig and parent == "arms":
                section = ArmConfig  # what follows is the name of an arm
                break
            section = section.model_fields[parent].annotation
        near = difflib.get_close_matches(str(wrong), section.model_fields, 1)
        meant = near or [known for known in all_keys() if known.endswith("." + str(wrong))]
        prefix = ".".join([*map(str, parents), ""]) if near else ""
        hint = f" Did you mean {prefix}{meant[0]}?" if meant else f" Known here: {', '.join(section.model_fields)}."
        return f"unknown key {short(location)}.{hint}"
    said = _IN_WORDS.get(problem["type"]) or problem["msg"].replace("Input should be", "must be")
    said = _OF_KEYS.get(location, said) if problem["type"] in ("tuple_type", "dict_type") else said
    return f"{short(location)}: {short(said.removeprefix('Value error, '), 300)} (got {reprlib.repr(problem['input'])})"


# What pydantic says of types in Python's terms.
_IN_WORDS = {
    "tuple_type": "must be a list, like [0, 1, 2]", "list_type": "must be a list, like [a, b]",
    "dict_type": "must have keys below it", "model_type": "is a section, with keys below it",
    "int_parsing": "must be a whole number", "int_type": "must be a whole number",
    "int_from_float": "must be a whole number", "float_parsing": "must be a number", "float_type": "must be a number",
    "bool_parsing": "must be true or false", "bool_type": "must be true or false", "string_type": "must be text",
}  # fmt: skip


_OF_KEYS = {
    "reid.arms": "must be a list of ready-made arms, like [real, augmented], or have an arm's settings below its name",
    "gan.image_size": "must be height and width, like [128, 64]",
}


def all_keys(section: type[Section] = Config, prefix: str = "") -> list[str]:
    """All dotted keys."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys += all_keys(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def dump_yaml(config: Config) -> str:
    """The whole configuration as YAML, readable by :func:`load_config`."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def environment_path(variable: str) -> Path | None:
    """The folder that an environment variable names, or None where it is not set."""
    value = os.environ.get(variable)
    return location(value) if value else None
