"""What is read of a task's text, its normal form, and what is none."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from cotasp.errors import RecipeError

LONGEST_TEXT = 1000  # characters; language models read no more than some 256 words
NORMALISATION = "Unicode NFKC, lower case, single blanks, one full stop at the end"
_FINAL = ".,;:!?。"  # what NFKC makes of the others, too


def normal_form(text: str) -> str:
    """A text in lower case and Unicode's form NFKC, with single blanks, that ends in one full stop.

    Two texts that differ in nothing else are the same text to every encoder.  The full stop is
    kept for the sake of language models, to which a sentence with and one without it are not alike.

    >>> normal_form("  Push the   puck\\nto a GOAL !")
    'push the puck to a goal.'
    """
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(text.split()).rstrip(_FINAL + " ") + "."


def checked_texts(where: str, texts: Sequence[str]) -> list[str]:
    """The normal forms of texts.

    Args:
        where: the place in a recipe, or the encoder's name, for messages.

    Raises:
        RecipeError: a single string instead of a sequence, or a text that is no string, has
            neither letters nor digits, is not Unicode, or is longer than 1,000 characters.
    """
    if isinstance(texts, str):
        raise RecipeError(
            f"{where}: expected a sequence of texts, got the string {texts!r}; write [{texts!r}]"
        )
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not any(map(str.isalnum, normal_form(text))):
            literal = repr(text)
            raise RecipeError(
                f"{where}: expected a text that describes the task, got "
                f"{literal if len(literal) <= 60 else literal[:57] + '...'} as text {place}; "
                "write what the agent has to do, as in 'Push the puck to a goal.'"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise RecipeError(
                f"{where}: expected text in Unicode, got {text!r:.60} as text {place}, which has "
                "bytes that are no UTF-8; type it again"
            )
        if len(text) > LONGEST_TEXT:
            raise RecipeError(
                f"{where}: expected at most {LONGEST_TEXT:,} characters, got {len(text):,} as text "
                f"{place}; say in a sentence what the agent has to do"
            )
    return [normal_form(text) for text in texts]
