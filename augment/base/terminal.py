"""What data may do to a terminal or a spreadsheet: nothing. Names and values are shown, never obeyed."""

import re

import click

from augment.base.storage.addresses import shown as with_addresses

# Control characters but tab and newline, marks that turn the direction of writing, line separators, lone surrogates.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: object) -> str:
    """Text as it may be printed: what would steer a terminal is written as a backslash escape, copies by address."""
    text = with_addresses(str(text))
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def echo(text: object, err: bool = False) -> None:
    """Print a line to stdout or stderr."""
    click.echo(shown(text), err=err)


def spreadsheet_cell(text: str) -> str:
    """Text for a .csv: an apostrophe keeps a spreadsheet from taking it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
