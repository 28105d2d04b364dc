r"""Texts of others (paths, names, reasons: whatever a repository or a server says), as a terminal may be shown them.

A character that a terminal obeys, or that hides or turns round what stands beside it, is shown escaped, as Python
writes it (`\x1b`, `\n`, `\u202e`), a line end too: a line on the terminal is a line of ours. JSON needs none of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from rich.text import Span, Text


def printable(text: str) -> str:
    """The text with whatever is no visible character or plain space escaped."""
    return text if text.isprintable() else "".join(_pieces(text))


def line(*parts: str | tuple[str, str], style: str = "") -> Text:
    """A line of texts, each plain or with its style. `Text` itself would drop some control characters unseen."""
    styled = ((part, "") if isinstance(part, str) else part for part in parts)
    return Text.assemble(*((printable(text), look) for text, look in styled), style=style)


def shown(content: Any) -> Any:
    """What a console is given, with texts made printable; their styles stay where they are."""
    if isinstance(content, str):
        return Text(printable(content))
    return _restyled(content) if isinstance(content, Text) and not content.plain.isprintable() else content


def _restyled(text: Text) -> Text:
    pieces = list(_pieces(text.plain))
    at = [0, *accumulate(map(len, pieces))]
    spans = [Span(at[span.start], at[min(span.end, len(pieces))], span.style) for span in text.spans]
    return Text("".join(pieces), style=text.style, spans=spans)


def _pieces(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
