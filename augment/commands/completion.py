"""What Tab completes beside commands and options: configurations, and the keys and values of ``--set``.

Bash cuts words at ``=``, where ``gan.system=full`` is one for us; its script below joins them.
"""

import types
import typing

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class
from pydantic import BaseModel

from augment.config import Config, all_keys, shipped_configs


class ConfigFile(click.Path):
    """A file, or the name of a configuration that comes with the package."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names where one begins so, else files."""
        names = [CompletionItem(name) for name in shipped_configs() if name.startswith(incomplete)]
        return names or super().shell_complete(ctx, param, incomplete)


def complete_override(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys as far as the next dot, then the values of a key that has only a few."""
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={choice}" for choice in _values(key) if choice.startswith(value)]
    depth = incomplete.count(".")
    parts = [(name.split("."), name) for name in all_keys() if name.startswith(incomplete)]
    return list(dict.fromkeys(".".join(words[: depth + 1]) + ("=" if words[: depth + 1] == words else ".")
                              for words, _ in parts))  # fmt: skip


def _values(key: str) -> list[str]:
    """Those of a choice or a switch; none where the key is unknown or takes anything."""
    *sections, last = key.split(".")
    section: type[BaseModel] = Config
    for name in sections:
        field = section.model_fields.get(name)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        section = field.annotation
    field = section.model_fields.get(last)
    return [] if field is None else list(_choices(field.annotation))


def _choices(annotation: typing.Any) -> typing.Iterator[str]:
    if annotation is bool:
        yield from ("true", "false")
    elif typing.get_origin(annotation) is typing.Literal:
        yield from (str(value).lower() if isinstance(value, bool) else str(value)
                    for value in typing.get_args(annotation))  # fmt: skip
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for choice in typing.get_args(annotation):
            yield from ["null"] if choice is type(None) else _choices(choice)


@add_completion_class
class _Bash(BashComplete):
    """Click's, but ``a.b=c`` is one word and no space follows what ends in ``=`` or ``.``. In the template, which is
    formatted, ``%%`` is one."""

    source_template = (
        BashComplete.source_template.replace("COMPREPLY+=($value)", """COMPREPLY+=("${value#"$cut"}")
            [[ $value == *[=.] ]] && compopt -o nospace""")
        .replace("    local response\n", """    local response cut
    local line=${COMP_LINE:0:COMP_POINT}
    local word=${line##* }
    [[ $word == *=* && $COMP_WORDBREAKS == *=* ]] && cut=${word%%=*}=
""")
    )  # fmt: skip

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and the one at it, each with the parts that Bash cut at ``=``."""
        words = super().get_completion_args()
        joined: list[str] = []
        for word in [*words[0], words[1]]:
            if joined and (word == "=" or joined[-1].endswith("=")) and joined[-1][:1] not in ("-", "="):
                joined[-1] += word
            else:
                joined.append(word)
        return joined[:-1], joined[-1]
