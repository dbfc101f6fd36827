"""One message of the user's with everything that a rule may look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from heedful.feedback.implicit.phrases import compiled
from heedful.feedback.implicit.similarity import likeness, substance
from heedful.feedback.implicit.text import Said, Sentence
from heedful.feedback.implicit.words import says, trimmed

_CLOSING = compiled(
    ("anything else", "help", "further", "make sense", "sound good", "does (?:that|this) (?:work|answer)", "hilft", "ayudar\\w*", "aider", "ajudar")
)
_OFFER = compiled(
    (
        "anything else", "help you with", "(?:would|do) you (?:like|want)(?: me| to (?:see|hear|know|try|add)| any| more| another| help| an?)", "(?:shall|should|can|may) i", "how can i", "how may i",
        "need (?:any )?(?:more|further|help)", "does (?:that|this) (?:help|work|answer|make sense)", "is there anything", "want me to", "sound good",
        "kann ich", "(?:puedo|puis je|posso) \\w+",
    )
)  # fmt: skip
_REFUSAL = compiled(
    (
        "(?:i|we) (?:can not|could not|am unable|are unable|am not able|do not have|am not allowed|do not know|can only|only)", "am sorry", "apologi[sz]e", "unfortunately", "not able to",
        "kann (?:ich )?(?:\\w+ ){0,3}(?:nicht|keine?)", "leider", "no puedo", "lo siento", "je ne peux pas", "desole", "nao (?:posso|consigo)", "desculp\\w+",
    )
)  # fmt: skip
_EVASION = compiled(
    (
        "depends? on", "consult", "(?:please |best to )?contact", "(?:please )?check (?:that|the|your|our)", "see a (?:doctor|professional)", "make sure", "many (?:things|reasons|kinds|factors|ways)", "various", "have you tried",
        "please (?:try|restart|describe|provide|send|see|go|use|bear|wait|enter|fill)", "on our website", "in the (?:manual|documentation|settings)",
    )
)  # fmt: skip
_REQUEST = compiled(
    (
        "(?:can|could|would|will) you", "^(?:what|how|which|where|when|why|who)", "(?:what|how|which|where|when|why|who) (?:is|are|do|does|did|can|about|much|many|long|else|would|should|if|to|will|was|were)",
        "^(?:write|give|show|tell|make|add|remove|change|explain|find|list|send|book|create|translate|convert|fix|set|check|update|do|summari[sz]e|draft|move|put|look|help|"
        "suggest|recommend|compare|generate|calculate|use|turn|include|order|schedule|rewrite|run|open|call|remind|continue|expand|publish|skip|undo|read|quiz|plan|fill|search|play|stop|swap|rename|mark|highlight|print|shorten|apply|plot|describe|sort|name|pick|keep|replace|let us|let me know)",
        "(?:i|we) (?:also |just |really )?(?:need|want|would like|am looking|would love)",
    )
)  # fmt: skip
WANTED = re.compile(
    r"\b(?:please|could you|can you|send me|provide|upload|tell me|confirm|share|let me know)\b"
)
COMPLAINT = compiled(
    (
        "not (?:\\w+ )?(?:work\\w*|help\\w*|right|correct|what|there|it|that|answer\\w*|recurring|fix\\w*|solve\\w*)", "(?:does|did|is|are|was|can|has|have) not", "still", "same (?:error|thing|problem|issue)", "error", "fail\\w*", "nothing happens", "wrong", "useless", "already", "too \\w+", "again",
        "told you", "i said", "no it", "ridiculous", "frustrat\\w+", "\\.\\.\\.", "which one", "i just want", "nicht", "schon", "no funciona", "toujours",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Something the user said before, and the answer it got."""

    said: Said
    about: int  # index of the agent's message in reply
    at: datetime | None


@dataclass(frozen=True, kw_only=True)
class View:
    """A user's message with what it follows."""

    new: Said
    agent: Said | None  # the last answer before it
    agent_before: Said | None  # the answer before that
    earlier: Sequence[Earlier]  # oldest first
    waited: timedelta | None = None  # from the answer to this message
    at: datetime | None = None

    @cached_property
    def parts(self) -> list[str]:
        """The sentences as they are."""
        return [sentence.words for sentence in self.new.sentences]

    @cached_property
    def cores(self) -> list[str]:
        """The sentences without fillers, and what stands between their commas."""
        return [trimmed(part) for part in self.parts]

    @cached_property
    def pieces(self) -> list[str]:
        """What stands between stops and commas, without fillers."""
        found = [trimmed(piece) for part in self.parts for piece in part.split(" , ")]
        return [piece for piece in found if piece]

    @cached_property
    def clauses(self) -> list[str]:
        return list(dict.fromkeys([*self.cores, *self.pieces]))

    @cached_property
    def own(self) -> list[str]:
        """What users say in their own name."""
        return [part for part in self.clauses if not says("hearsay", [part])]

    @cached_property
    def was_asked(self) -> bool:
        """The agent ended with a question of its own, not with an offer of more help."""
        if self.agent is None:
            return False
        return any(not _OFFER.search(sentence.words) for sentence in self._questions)

    @cached_property
    def was_offered(self) -> bool:
        """The agent ended with a question that waits for an answer: its own, or a proposal."""
        return any(not _CLOSING.search(sentence.words) for sentence in self._questions)

    @cached_property
    def _questions(self) -> list[Sentence]:
        """What the agent asked at its end; a request may follow it."""
        if self.agent is None or not self.agent.sentences:
            return []
        *before, last = self.agent.sentences
        tail = [before[-1], last] if before and WANTED.search(last.words) else [last]
        return [sentence for sentence in tail if sentence.asked]

    @cached_property
    def refused(self) -> bool:
        return self.agent is not None and bool(_REFUSAL.search(self.agent.whole))

    @cached_property
    def stuck(self) -> bool:
        """Something has gone wrong before this message: a refusal, a complaint, the same answer twice."""
        if self.agent is None:
            return False
        return (
            self.refused
            or bool(self.earlier and len(self.earlier) > 1 and COMPLAINT.search(self.earlier[-1].said.whole))
            or (self.agent_before is not None and likeness(self.agent_before.whole, self.agent.whole).overlap >= 0.5)
            or bool(_EVASION.search(self.agent.whole))
        )

    @cached_property
    def answer_words(self) -> list[str]:
        return [] if self.agent is None else substance(" ".join(s.words for s in self.agent.full))

    @cached_property
    def asked_words(self) -> list[str]:
        """What the user has spoken of so far."""
        return [word for one in self.earlier for word in substance(" ".join(s.words for s in one.said.full))]


def requests(sentence: Sentence) -> bool:
    if sentence.asked or _REQUEST.search(trimmed(sentence.words)):
        return True
    return bool(re.match(r"(?:okay |great |good |, )*now (?!i|it|that|this|works?|everything|all|my)\w+ (?!is|are)", sentence.words))


def evasive(answer: Said) -> bool:
    """It sends the user elsewhere, or explains the words of the question instead of answering it."""
    first = answer.sentences[0].words if answer.sentences else ""
    defines = re.match(r"(?:an? |the )?(?:[\w.#+]+ ){1,5}?(?:is|are|was|were|stands for|refers? to|means|costs?|can be|may be|has|have|comes?)(?: |$)", first)
    return bool(defines) or bool(_EVASION.search(answer.whole))
