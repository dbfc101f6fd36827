"""A message as the rules see it: lower case, no accents, short forms written out, cut into sentences.

People write "thats not wat i asked" and "That's not what I asked." The rules are written once, for one
spelling; everything that only spells differently is levelled here. Quoted text, code and logs are taken out
first: what is quoted is not said.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")

# What is wanted stands at the start or at the end of a long message; a pattern's work stays bounded.
LONGEST = 6_000  # characters of a message
MOST_SENTENCES = 24
MOST_WORDS = 60  # of a sentence

_FENCE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_QUOTED_LINE = re.compile(
    r"^\s*(?:>|\||\d{4}-\d\d-\d\d[ T]\d\d|\[\d|at \w+[.(]|Traceback |File \").*$", re.MULTILINE
)
_CODE = re.compile(r"`[^`\n]*`")
_URL = re.compile(r"https?://\S+|www\.\S+")
_QUOTE = re.compile(r"[\"“„«»”][^\"“”„«»\n]*\s[^\"“”„«»\n]*[\"“”«»]")
_EMOJI = {
    "glad": re.compile("[🙏👍❤😊😀😃😄😁🎉💯✅🥰😍🙌💪🤗👏✨]|(?<!\\w)[:;]-?[)D](?!\\w)|<3"),
    "cross": re.compile("[🙄😡😠😤🤬👎😒🤦😑💀🤡]|(?<!\\w):-?[(/](?!\\w)|-_-"),
}

# Short forms, with or without their apostrophe. "its", "were", "ill" and "id" are words of their own.
SPELLINGS: Mapping[str, str] = {
    short: full
    for full, shorts in {
        "do not": "don't dont",
        "does not": "doesn't doesnt",
        "did not": "didn't didnt",
        "is not": "isn't isnt ain't aint",
        "was not": "wasn't wasnt",
        "are not": "aren't arent",
        "were not": "weren't werent",
        "can not": "can't cant cannot",
        "could not": "couldn't couldnt",
        "will not": "won't wont",
        "would not": "wouldn't wouldnt",
        "should not": "shouldn't shouldnt",
        "have not": "haven't havent",
        "has not": "hasn't hasnt",
        "had not": "hadn't hadnt",
        "i am": "i'm im",
        "i have": "i've ive",
        "i will": "i'll",
        "i would": "i'd",
        "you are": "you're youre ur",
        "you have": "you've youve",
        "you will": "you'll youll",
        "we are": "we're",
        "we have": "we've weve",
        "we will": "we'll",
        "they are": "they're theyre",
        "that is": "that's thats",
        "this is": "this's",
        "it is": "it's",
        "what is": "what's whats",
        "who is": "who's whos",
        "where is": "where's wheres",
        "how is": "how's hows",
        "there is": "there's theres",
        "here is": "here's heres",
        "he is": "he's hes",
        "she is": "she's",
        "let us": "let's lets",
        "want to": "wanna",
        "going to": "gonna",
        "got to": "gotta",
        "give me": "gimme",
        "let me": "lemme",
        "do not know": "dunno idk",
        "you": "u ya",
        "are": "r",
        "please": "pls plz plse",
        "thanks": "thx thnx tx ty tysm tyvm thanx thks tks tnx thnks thankyou thanku",
        "because": "cuz coz bc",
        "never mind": "nvm nvmd nevermind nvrmind",
        "without": "w/o",
        "with": "w/",
        "people": "ppl",
        "something": "sth smth",
        "someone": "s.o.",
        "tomorrow": "tmrw tmr",
        "today": "tdy",
        "about": "abt",
        "message": "msg",
        "password": "pw pwd passwd",
        "okay": "ok okey k kk okk",
    }.items()
    for short in shorts.split()
}

# Words that the rules lean on: one swapped, missing or doubled letter is forgiven.
_KEY_WORDS = """
thanks thank wrong incorrect correct again actually another different question answer manager supervisor
human person forget please asked already mistake useless helpful complaint appreciate perfect rephrase
representative version escalate regenerate worked understand google myself
"""
KEY_WORDS = frozenset(_KEY_WORDS.split())

_DRAWN_OUT = re.compile(r"([a-z])\1{2,}")  # "sooo", "youuu"
_TOKEN = re.compile(
    r"\d+(?:[.,:/]\d+)*%?|[^\W_]+(?:['’][^\W_]+)*(?:[._][^\W_]+)*\*?|[,:;()*]|[.!?…]+|\n", re.UNICODE
)
_END = re.compile(r"[.!?…]+|\n|;")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    words: str  # levelled, parted by single blanks; commas and colons are words
    asked: bool  # it ends with a question mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One message, levelled."""

    sentences: tuple[Sentence, ...]  # without what is quoted
    whole: str  # the same in one string, sentences parted by " . "
    full: tuple[Sentence, ...]  # with what is quoted, for comparing
    attached: str  # blocks of code and logs
    glad: bool
    cross: bool

    @property
    def quoting(self) -> str:
        """Everything, what is quoted too."""
        return " ".join(sentence.words for sentence in self.full)

    @property
    def asks(self) -> bool:
        return any(sentence.asked for sentence in self.sentences)


@lru_cache(maxsize=256)
def heard(text: str) -> Said:
    """The same text is read once, however many later messages are compared with it."""
    if len(text) > LONGEST:
        text = text[: LONGEST // 2] + "\n" + text[-LONGEST // 2 :]
    bare = _URL.sub(" ", _FENCE.sub("\n", text))
    own = _QUOTE.sub(" ", _CODE.sub(" ", _QUOTED_LINE.sub("", bare)))
    sentences = _sentences(own)
    return Said(
        sentences=sentences,
        whole=" . ".join(sentence.words for sentence in sentences),
        full=_sentences(bare),
        attached="\n".join(block.strip() for block in _FENCE.findall(text)),
        glad=bool(_EMOJI["glad"].search(own)),
        cross=bool(_EMOJI["cross"].search(own)),
    )


def _sentences(text: str) -> tuple[Sentence, ...]:
    found: list[Sentence] = []
    words: list[str] = []
    for token in [*_TOKEN.findall(levelled(text)), "\n"]:
        if not _END.fullmatch(token):
            words.append(spelled(token))
        elif words:
            found.append(Sentence(words=" ".join(ends(words, MOST_WORDS)), asked="?" in token))
            words = []
    return tuple(ends(found, MOST_SENTENCES))


def ends(items: Sequence[T], most: int) -> Sequence[T]:
    """The first and the last of too many."""
    return items if len(items) <= most else [*items[: most // 2], *items[-(most // 2) :]]


def levelled(text: str) -> str:
    """Lower case, one kind of apostrophe, no accents, nothing drawn out."""
    parted = unicodedata.normalize("NFKD", text.replace("’", "'").replace("´", "'").replace("ß", "ss"))
    plain = "".join(mark for mark in parted if not unicodedata.combining(mark)).lower()
    return _DRAWN_OUT.sub(r"\1", plain)


def spelled(token: str) -> str:
    full = SPELLINGS.get(token)
    if full is not None:
        return full
    if "'" in token:
        head, _, tail = token.partition("'")
        return head if tail == "s" and len(head) > 2 else f"{head} {tail}"
    return _mended(token) if len(token) >= 5 else token


@lru_cache(maxsize=4096)
def _mended(token: str) -> str:
    if token in KEY_WORDS:
        return token
    for other in _slips(token):
        if other in KEY_WORDS:
            return other
    return token


def _slips(token: str) -> list[str]:
    """What this may have been before a finger slipped: two letters swapped, or one doubled."""
    swapped = [
        token[:i] + token[i + 1] + token[i] + token[i + 2 :]
        for i in range(len(token) - 1)
        if token[i] != token[i + 1]
    ]
    doubled = [token[:i] + token[i] + token[i:] for i in range(len(token))]
    undoubled = [token[:i] + token[i + 1 :] for i in range(len(token) - 1) if token[i] == token[i + 1]]
    return [*swapped, *doubled, *undoubled]
