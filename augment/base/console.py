"""rich's console for text that comes from data: square brackets are text, and nothing steers the terminal."""

from typing import Any

from rich.console import Console
from rich.text import Text

from augment.base.terminal import shown


class PlainConsole(Console):
    """A console whose strings, in tables and trees too, are shown as they are."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "highlight": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Every string that is printed comes through here."""
        return super().render_str(shown(text), **options)


def output_console(width: int) -> PlainConsole:
    """For stdout; ``width`` where that is no terminal."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=width)
