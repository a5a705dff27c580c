"""What an encoder reads of a text: its normal form, and the words of it."""

from __future__ import annotations

import re

from cotasp.tasks.sentences import LONGEST_TEXT, NORMALISATION, checked_texts, normal_form

__all__ = ["LONGEST_TEXT", "NORMALISATION", "checked_texts", "normal_form", "words"]


def words(text: str) -> list[str]:
    """Lower-case words of a text, in order."""
    return re.findall(r"\w+", text.lower())
