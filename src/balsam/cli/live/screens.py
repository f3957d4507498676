"""What every screen of the live view is: it loads in a thread, and presents what was loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Label

from balsam.cli.live.source import Source

if TYPE_CHECKING:
    from balsam.cli.live.app import TopApp


class LiveScreen(Screen[None]):
    """A screen with data of the server."""

    @property
    def top(self) -> TopApp:
        return cast("TopApp", self.app)

    def load(self, source: Source) -> Any:
        """Asks the server, in a thread of its own; raises ClientError."""
        raise NotImplementedError

    def present(self, data: Any) -> None:
        """Shows what `load` brought."""
        raise NotImplementedError

    def on_screen_resume(self) -> None:
        self.top.look_now()


class Question(ModalScreen[bool]):
    """Yes or no; Escape is no."""

    BINDINGS = [("y", "answer(True)", "Yes"), ("n,escape", "answer(False)", "No")]
    CSS = """
    Question { align: center middle; }
    #question {
        width: auto; max-width: 80%; height: auto; border: thick $warning; padding: 1 2; background: $surface;
    }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Label(f"{self._text}   y: yes   n: no", markup=False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
