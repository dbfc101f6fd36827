"""Whether an answer gives what its question asked for.

Nobody asks again what was answered. An agent that has not understood speaks *about* the question instead: "Ants are
social insects" after "How do I get rid of ants?". That is seen without understanding either: a question wants an
amount, a time, a reason, a way to do something, and an answer that gives it has a number, a "because", an
instruction in it; one that does not tends to begin with the question's own topic and say what that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from heedful.feedback.implicit.similarity import akin, substance
from heedful.feedback.implicit.text import Said
from heedful.feedback.implicit.vocabulary import STOP_WORDS
from heedful.feedback.implicit.words import says, trimmed

_SOME_VERB = (
    "is|are|was|were|am|do|does|did|can|could|will|would|should|may|must|has|have|ist|sind|kann|darf|muss|soll|"
    "gibt es|habt ihr|hat|puedo|puede|hay|tiene|est ce|puis je|peut on|posso|pode|tem"
)

# What a question wants, in the order in which it is looked for. What it wants last is a way or a choice.
WANTED: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        "task": r"^(?:(?:can|could|would|will) you )?(?:please )?(?:write|translate|summari[sz]e|draft|compose|"
        r"proofread|rewrite|list|name|classify|review|convert|book|set|order|generate|create|plan|traduis|schreib)\b",
        "polar": rf"^(?:{_SOME_VERB})\b(?! you (?:\w+ ){{0,2}}(?:tell|show|explain|give|help|find|make|"
        r"check|fix|know|recommend|suggest|think))",
        "amount": r"\b(?:how (?:many|much|long|often|far|old|big|tall|fast|soon|large|cold|hot|high|heavy|"
        r"expensive)|cost|price|number of|wie ?(?:viele?|lange|oft|teuer)|cuant[oa]s?|combien|quant[oa]s?)\b",
        "time": r"\b(?:when|(?:what|which|best) (?:time|date|day|month|year|season)|(?:on|by|until) (?:what|which|"
        r"when)|deadline|wann|cuando|quand|quando)\b(?! i | you | we | it )",
        "place": r"\b(?:where|which (?:file|place|page|menu|letter|button)|wo|wohin|donde|ou est|onde)\b",
        "person": r"(?:^|\. )(?:\w+ ){0,2}(?:who(?! (?:is|was) \w+(?: \w+)?$)|whom|whose|"
        r"which (?:department|team|person)|wer|quien|qui)\b",
        "name": r"^what is the (?:capital|name|title|word|chemical|author|colou?r|currency|language|"
        r"plural|brand|model)\b",
        "reason": r"\b(?:why|how come|causes?|reasons?|what (?:makes|made|is wrong|went wrong|is causing)|"
        r"warum|wieso|por que|pourquoi)\b",
        "meaning": r"^what (?:is|are) (?:an? |the )?[\w.#+]+(?: [\w.#+]+)?$|^(?:can you |could you |please )*(?:"
        r"explain|describe|define|tell me about)\b|^who (?:is|was)\b|\b(?:mean|means|meaning|stands? for|"
        r"difference|differ|do you think|opinion|how (?:do|does|is|are) .* (?:work|works|made|formed)$|"
        r"was ist|que es|qu est ce)\b",
        "way": r"\b(?:how|wie|como|comment|what (?:can|should|do|must|could) i|get rid|stop|fix|steps?)\b",
    }.items()
}
_STEP = (
    "use|go|click|open|run|add|press|tap|set|select|choose|put|take|make|try|turn|check|remove|delete|install|"
    "restart|enter|type|write|call|ask|send|create|change|move|copy|paste|cut|mix|wash|wait|let|keep|start|stop|"
    "push|pull|hold|save|download|upload|log|sign|visit|contact|follow|divide|multiply|heat|cook|bake|boil|place|"
    "apply|seal|soak|rinse|clean|chill|freeze|avoid|buy|get|give|read|look|find|enable|disable|switch|drag|drop|"
    "declare|define|return|import|pass|wrap|replace|update|reset|connect|plug|unplug|swap|cache|compress|"
    "convert|split|sort|filter|merge|commit|stash|chmod|sudo|git|npm|pip|docker|drink|eat|sleep|walk|plan|pay|"
    "bring|tell|talk|book|cancel|apologi[sz]e|explain|mention|quote|list|compare|measure|count|salz|klicke|gehe?|"
    "offne|nimm|nutze?|wahle|ve|pulsa|abre|usa|haz|pon|allez|cliquez|ouvrez|mettez|utilisez|clique|abra|use|va"
)
GIVEN: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        "amount": r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|half|hundred|"
        r"once|twice|an? (?:day|week|month|year|hour|minute|few|couple|quarter)|zero|none|free|daily|weekly|eine?)\b",
        "time": r"\d|\b(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|today|tomorrow|tonight|yesterday|january|february|"
        r"march|april|june|july|august|september|october|november|december|spring|summer|autumn|winter|midnight|"
        r"noon|week|days?|hours?|as soon|after|before|until|once)\b",
        "place": r"\b(?:in|on|at|under|near|behind|next to|below|above|top|bottom|left|right|from|"
        r"page|menu|street)\b(?! \d)",
        "person": r"\b(?:is|was|are) (?!an?\b|the\b|any\b|one\b|often\b|when\b)\w+ \w+(?:$| \. )|"
        r"\b(?:by|team|department|manager|desk|office|ask|contact|hr|mr|mrs|dr)\b",
        "reason": r"\b(?:because|since|due to|so that|caused?|causes|reason|leads?|makes?|means|result|therefore|"
        r"unless|too|without|weil|denn|porque|parce|car)\b",
        "polar": r"(?:^|\. )(?:yes|no|nope|yeah|yep|not|ja|nein|si|oui|non|sim|nao|of course|absolutely|usually|"
        r"generally|only|never|always|probably|correct|sure|certainly|definitely|both|neither|either|partly)\b|"
        r"\b(?:not|never|only|still)\b|\byou (?:can|may|must|should|will)\b",
        "way": rf"(?:^|\. |, |: |then |you can )(?:first ,? )?(?:{_STEP})\b|\bby \w+ing\b|\byou (?:need|"
        r"should|have|must)\b|[()=]",
    }.items()
}
_STEPPED = re.compile(rf"(?:first ,? )?(?:{_STEP})\b(?! (?:is|are|was|were|has|have)\b)")
_HOUSE = re.compile(
    r"^(?:we|our|each|every|many|most|all|some|there (?:is|are)|people|it is important|always)\b"
)
_ACTED = re.compile(
    r"^(?:(?:okay|sure|of course) ,? ?)?(?:i (?:have|moved|added|booked|set|put|sent)|done|here (?:is|are|you)|"
    r"it is now|(?:booked|added|moved|changed|fixed|updated|sent|removed|scheduled|created|alarm|reminder)\b)"
)
_TAKES_UP = re.compile(r"(?:it|they|he|she|that|this) ")
_DEFINES = re.compile(
    r"(?:an? |the |your |our )?(?:[\w.#+]+ ){1,5}?"
    r"(?:is|are|was|were|stands for|refers? to|means|costs?|can be|may be|has|have|comes?|contains?|includes?|takes?|"
    r"offers?|ist|sind|enthalt|hat|es|son|est|sont|e|sao)(?: |$)"
)

BARE = 4  # words of an answer that is nothing but the answer
OPENING = 4  # words of an answer, in which its subject stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was seen of an answer beside its question; each is 0 or 1, and more than one may hold."""

    given: bool  # what was wanted is there
    lacking: bool  # it could have been seen, and was not
    about: bool  # it begins with the question's topic
    defines: bool  # it says what something is
    general: bool  # it speaks of everybody, or of the house
    evades: bool  # it sends the user elsewhere

    @property
    def missed(self) -> bool:
        """More speaks against the answer than for it."""
        return not self.given and (self.lacking + self.about + self.defines + self.general + self.evades) >= 2


def wanted(question: Said) -> str:
    """The kind of thing that a question asks for, by its last sentence that shows one."""
    cores = [trimmed(sentence.words) for sentence in question.sentences]
    for core in reversed(cores):
        for name, pattern in WANTED.items():
            if pattern.search(core):
                return name
    return "else"


def instructs(answer: Said) -> bool:
    """It begins with something to do."""
    return bool(answer.sentences) and bool(_STEPPED.match(answer.sentences[0].words))


@lru_cache(maxsize=256)
def fit(question: Said, answer: Said) -> Fit:
    want = wanted(question)
    first = answer.sentences[0].words if answer.sentences else ""
    given = _given(want, first, answer)
    stepped = instructs(answer)
    # Of what was to be explained or written, an answer speaks in any case.
    silent = given or stepped or want in ("meaning", "task")
    opening = [word for word in first.split()[:OPENING] if word not in STOP_WORDS]
    topic = substance(question.quoting)
    return Fit(
        given=given,
        lacking=want in GIVEN and not given,
        about=not silent and any(akin(word, other) for word in opening for other in topic),
        defines=not silent and bool(_DEFINES.match(first)) and not _TAKES_UP.match(first),
        general=not (given or stepped) and bool(_HOUSE.match(first)),
        evades=says("evasion", [answer.whole]),
    )


def _given(want: str, first: str, answer: Said) -> bool:
    if answer.attached or len(answer.whole.split()) <= BARE or _ACTED.match(first):
        return True
    if want == "polar" and _TAKES_UP.match(first):
        return True
    return want in GIVEN and bool(GIVEN[want].search(answer.whole))
