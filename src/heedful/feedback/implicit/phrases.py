"""How the phrase tables are written and read.

A phrase is a pattern over levelled text (`text.py`): lower case, no accents, "isn't" as "is not", one blank
between words. It names a shape ("you" and a way to fail, "that is" and a way to be wrong) and not a sentence,
so that a short table covers what was never seen. A word in braces is a slot, defined once in SLOTS. `^` and
`$` are the ends of a sentence whose fillers ("ok so", "please") have been taken off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SLOTS: Mapping[str, str] = {
    "it": "(?:that|this|it|those|these|its|which)(?: one)?",
    "is": "(?:is|are|was|were|looks?|seems?|sounds?|must be)",
    "very": (
        "(?:(?:just|simply|plain|plainly|clearly|obviously|completely|totally|entirely|actually|still|"
        "also|really|"
        "all|very|quite|literally|factually|again|definitely|absolutely|even|partly|partially|a bit|"
        "pretty|way) )*"
    ),
    "wrong": (
        "(?:wrong|incorrect|inaccurate|false|untrue|mistaken|nonsense|bogus|rubbish|made up|outdated|out "
        "of date|"
        "obsolete|invented|hallucinated|backwards|way off|off|mixed up|swapped|reversed|(?:a mistake|an "
        "error|a lie)(?! \\w))"
    ),
    "right": "(?:right|correct|true|accurate|valid|the case|how (?:it|that|this) works)",
    "answer": (
        "(?:the|your|this|that|these|those) (?:(?:last|first|second|third|whole|new|final|first two) "
        ")?(?:answer|"
        "response|reply|result|results|output|code|function|solution|suggestion|version|translation|summary|"
        "info|information|statement|claim|numbers?|dates?|link|formula|query|math|calculations?|list|"
        "recipe|draft|"
        "explanation|advice|example|command|regex|script|figures?|totals?|sum|amount|names?|address|"
        "spelling|facts|"
        "steps|instructions|order|price|year|time|day|quote|source|citation|syntax|method|conversion|"
        "units?|booking|"
        "email|table|chart|plan|schedule|data)"
    ),
    "standing": (  # not after a word that takes it away
        "(?<!no )(?<!no more )(?<!without )(?<!any )(?<!fixed the )(?<!solved the )(?<!fixed my "
        ")(?<!fixes the )(?<!the )(?<!that )"
    ),
    "again": "(?:again|over|over again|once more|once again|one more time|a second time|anew|afresh|from scratch)",
    "redo": (
        "(?:redo|redoing|rewrite|regenerate|retry|reroll|redraft|rework|rephrase|reword|recreate|refresh|"
        "reshuffle|"
        "re ?(?:do|write|generate|try|roll|draft|run|make|create)|start over|do over|spin)"
    ),
    "make": (
        "(?:try|do|write|say|make|draft|roll|create|go|start|take|generate|run|give|have|phrase|compose|"
        "come up with|"
        "show|see|get|suggest|think of|find|propose|offer|tell|want|like|need|pick|use|hear)"
    ),
    "one": (
        "(?:ones?|versions?|options?|variants?|variations?|alternatives?|suggestions?|ideas?|attempts?|"
        "tr(?:y|ies)|takes?|"
        "go|shot|stab|crack|swing|pass|round|drafts?|answers?|responses?|reply|replies|results?|outputs?|"
        "proposals?|"
        "approach|choices?|possibilit(?:y|ies)|wording|spin)"
    ),
    "other": (
        "(?:another|other|different|new|fresh|alternative|alternate|second|further|better|additional|"
        "(?:one|some|any|a few|two|three|few|a couple|several)(?: of)? (?:more|other|different|new))"
    ),
    "human": (
        "(?:(?:real |actual |live |proper )?humans?|(?:(?:real|actual|live|living|human|proper|flesh and "
        "blood) )+(?:\\w+ )?(?:person|people|agents?|beings?|one|"
        "representative|rep|support|advisors?|operator|employees?|staff|chat|help|contact|man|woman)|"
        "person|representatives?|reps?|"
        "supervisors?|managers?|superiors?|management|operators?|customer (?:service|support|care)(?: \\w+)?|"
        "support (?:staff|agent|team|person|line|rep|representative|desk|specialist)|tech(?:nical)? support|"
        "live (?:chat|support|agent)|(?:service|sales|human|live|phone|billing|senior|support) (?:agents?|"
        "rep|representative|specialist)|"
        "agents?|advisors?|advisers?|staff|founders?|owners?|ceo|team lead(?:er)?|specialist|(?:some|"
        "any)(?:one|body)|(?:your|the|a) (?:boss|team|support|staff|"
        "colleagues?|billing department|\\w+ department|complaints department|\\w+ officer)|department|"
        "employee|people|"
        "(?:who|whoever|person|people)(?: is| are)? in charge|helpdesk|help desk|whoever(?: is)?)"
    ),
    "reach": (
        "(?:speak(?:ing)?|talk(?:ing)?|chat(?:ting)?|connect|connected|transfer|transferred|hand|handed|"
        "put|pass|passed|patch|forward|reach|"
        "escalate|escalated|direct|redirect|redirected|switch|bring|route|routed|deal|loop|call|phone|"
        "contact|get|"
        "raise|raised|refer|referred|involve)"
    ),
    "contract": (
        "(?:accounts?|subscriptions?|contract|membership|plan|service|policy|everything|tariff|services|"
        "insurance|the whole thing|business|all (?:my|our|of) \\w+)"
    ),
    "bot": "(?:bots?|chatbots?|machines?|robots?|ai|computers?|scripts?|algorithms?|assistants?)",
    "alone": (
        "(?:myself|ourselves|on my own|on our own|by hand|manually|elsewhere|somewhere else|by myself|"
        "without you|"
        "some other way|another way|the old way|the hard way)"
    ),
    "shall": (
        "(?:i|we) (?:will|would|am going to|are going to|am gonna|might as well|may as well|"
        "have to|better|would better|had better|would rather|am better off|will have to)"
    ),
}  # fmt: skip


def compiled(*tables: Iterable[str]) -> re.Pattern[str]:
    """One pattern out of all phrases, each between whole words."""
    phrases = [_bounded(_filled(phrase)) for table in tables for phrase in table]
    return re.compile("|".join(f"(?:{phrase})" for phrase in phrases))


def _filled(phrase: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: SLOTS.get(slot[1], slot[0]), phrase)


def _bounded(phrase: str) -> str:
    before = "" if phrase.startswith("^") else r"(?<!\w)"
    after = "" if phrase.endswith(("$", " ")) else r"(?!\w)"
    return f"{before}{phrase}{after}"
