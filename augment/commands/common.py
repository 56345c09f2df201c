"""Shared by the commands: reading a configuration, and reporting errors to the user."""

import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from augment.base.errors import AugmentError, out_of_memory, refusal
from augment.base.storage.addresses import is_address, is_copy, location
from augment.base.storage.copies import fetch
from augment.base.terminal import echo
from augment.commands.completion import ConfigFile, complete_override
from augment.config import Config, load_config


def read_config(path: Path, overrides: tuple[str, ...], others: tuple[Path, ...] = ()) -> Config:
    """The configuration of a file or a shipped name, with the architecture of ``gan.start``."""
    config = load_config(path, overrides, others)
    if config.gan.start is None:
        return config
    from augment.gan.generators import with_start  # which imports torch

    return with_start(config)


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument CONFIG, a file or a shipped name, and the options --with and --set.

    It receives ``config``.
    """

    def run(config_path: Path, overrides: tuple[str, ...], other_paths: tuple[Path, ...], **others: Any) -> Any:
        config = read_config(config_path, overrides, other_paths)
        remember_folder(config)
        return command(config=config, **others)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__click_params__ = getattr(command, "__click_params__", [])
    run = click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE",
                       shell_complete=complete_override,
                       help="Override one value of the configuration; can be repeated.")(run)  # fmt: skip
    run = click.option("--with", "other_paths", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
                       help="A file whose values override CONFIG's, like configs/runner/slurm.yaml.")(run)  # fmt: skip
    return click.argument("config_path", metavar="CONFIG", type=ConfigFile(path_type=Path))(run)


def remember_folder(config: Config) -> None:
    """Set the folder in which the traceback of an unexpected error is written."""
    click.get_current_context().find_root().obj = config.folder


class RunFolder(click.Path):
    """The type of an argument that is a run's folder or a file of one, on disk or in a storage, from which what is
    needed is fetched."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, that of its copy for an address."""
        path = location(value) if isinstance(value, str) else super().convert(value, param, ctx)
        if is_copy(path) and not fetch(path):
            from augment.pipeline.folder import bring

            bring(path)
        return path


class LocalPath(click.Path):
    """The type of an argument that must be on disk: an address of a storage is refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        if isinstance(value, str) and is_address(value):
            self.fail(f"{value}: must be on disk here. Copy it from or to the storage yourself.", param, ctx)
        return super().convert(value, param, ctx)


class Guarded(click.Group):
    """A group that reports every exception in a sentence, with its exit code; tracebacks are written to a file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Exit codes: 2 and 3 from :class:`AugmentError`, 130 interrupted, 1 an internal error."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from augment.base.interrupt import INTERRUPTED

            _tell("interrupted; the same command resumes from here.")
            ctx.exit(INTERRUPTED)
        except AugmentError as error:
            _tell(str(error))
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):  # `| head` is no error
            raise
        except Exception as error:
            ctx.exit(_report(error, ctx.find_root().obj))


def _tell(message: str) -> None:
    echo(f"augment: {message}", err=True)


def _report(error: Exception, folder: Path | None) -> int:
    """Say what happened; returns the exit code."""
    known = (refusal(error) if isinstance(error, OSError) else None) or out_of_memory(error)
    if known is not None:
        _tell(str(known))
        return known.exit_code
    log = _write_traceback(error, folder)
    _tell(f"unexpected {type(error).__name__}: {str(error) or 'no message'}\nThe traceback is in {log}. "
          "Finished work is kept; please report this with that file.")  # fmt: skip
    return 1


def _write_traceback(error: Exception, folder: Path | None) -> Path:
    text = "".join(traceback.format_exception(error))
    from augment.pipeline.folder import ERROR_LOG, is_run_folder

    if folder is not None and is_run_folder(folder) and os.access(folder, os.W_OK):
        log = folder / ERROR_LOG
        log.write_text(text, encoding="utf-8")
        return log
    handle, name = tempfile.mkstemp(prefix="augment-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name)
