"""The phrase tables of all languages under one name each, and the fillers between which phrases stand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from heedful.errors import InvalidInput
from heedful.feedback.implicit.english import PHRASES as ENGLISH
from heedful.feedback.implicit.languages import FRENCH, GERMAN, PORTUGUESE, SPANISH
from heedful.feedback.implicit.phrases import compiled

# Nobody says which language a message is in, and nobody has to: the tables are looked through together.
LANGUAGES = (ENGLISH, GERMAN, SPANISH, FRENCH, PORTUGUESE)

# Taken off both ends of a sentence before it is looked at.
OPENERS = re.compile(
    r"^(?:(?:okay|well|so|hm+|um+|uh+|ugh+|argh+|oh|ah+|aha|hey|hi|hello|yeah|yes|yep|yo|lol|haha|ha|omg|"
    r"wtf|man|dude|"
    r"look|listen|seriously|honestly|frankly|sorry|please|and|but|then|right|fine|sure|alright|guys|sigh|"
    r"bro|meh|nah|eh|er|"
    r"god|jesus|wow|whoa|oops|come on|wait|hang on|hold on|also|just|now|in that case|excuse me|pardon|to "
    r"be honest|tbh|"
    r"you know what|ja|bitte|na gut|okay gut|pues|bueno|vale|por favor|entonces|bon|ben|alors|svp|ouais|"
    r"entao|bom|olha|mas|pero|"
    r"aber|dann|mais)(?: ,| :)?(?: |$))+"
)
CLOSERS = re.compile(
    r"(?: ,)?(?: (?:please|then|now|okay|thanks|thank you|man|dude|lol|haha|buddy|mate|bro|right now|"
    r"immediately|asap|for me|"
    r"bitte|danke|por favor|gracias|s il (?:te|vous) plait|svp|merci|obrigad[oa]|would you|will you|can "
    r"you|could you|maybe|"
    r"already|at once|today|sir|folks|anyway|of course|actually|here|i guess|i think|after all|yes or no|"
    r"please answer|"
    r"simple question|answer me|anyone|or not|denn|bloss|doch|mal))+$"
)


@cache
def cue(name: str) -> re.Pattern[str]:
    if name not in ENGLISH:
        raise InvalidInput(f"no phrases are named {name!r}: there are {', '.join(ENGLISH)}")
    return compiled(*(language.get(name, ()) for language in LANGUAGES))


def says(name: str, parts: Iterable[str]) -> bool:
    """Whether any of the parts has a phrase of that name."""
    pattern = cue(name)
    return any(pattern.search(part) for part in parts)


@lru_cache(maxsize=4096)
def trimmed(words: str) -> str:
    """A sentence without the fillers at its ends; a sentence of fillers only is left as it is."""
    rest = CLOSERS.sub("", OPENERS.sub("", words)).strip(" ,:")
    return rest or words.strip(" ,:")
