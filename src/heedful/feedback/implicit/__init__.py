"""What users do, read from the conversation itself: signs that an answer was of use, or was not.

Nobody was asked, so nothing here is certain: each sign carries a confidence. `signs` reads a whole
conversation, `latest` only the user's last message; `signs_of_edit` and `reply_times` measure instead.

The rules are phrases and shapes, not a model: they cost a few milliseconds, need no download, and every
sign can be traced to the words that gave it. `english.py` and `languages.py` hold the phrases, `praise.py`,
`blame.py`, `again.py`, `retry.py` and `leaving.py` one rule or two each, `reading.py` puts them in order.
"""

from heedful.feedback.implicit.edits import edit_distance, reply_times, signs_of_edit
from heedful.feedback.implicit.lines import KINDS, MEASURES, Line, Sign
from heedful.feedback.implicit.reading import latest, signs

__all__ = [
    "KINDS",
    "MEASURES",
    "Line",
    "Sign",
    "edit_distance",
    "latest",
    "reply_times",
    "signs",
    "signs_of_edit",
]
