"""The road: one short function per stop, in the order in which feedback travels.

A person says something about an agent's answer (`hear`), and some stops later the fleet runs other weights
(`release`, `decide`). Each function reads from the parts, calls the pure thinking of its room, and writes
once. What has a `once` may be repeated after a crash: the second time it finds what the first time left.

| stop | file | what happens there |
|---|---|---|
| 0 | `answering` | an agent asks, a policy answers, the turn is kept |
| 1 | `hearing` | somebody says something about it |
|   | `waiting`, `letters`, `taking` | what comes before its turn, what cannot be taken, what happened elsewhere |
| 2 | `judging` | people are asked, and their answers are added up |
| 3 | `datasets` | verdicts become a dataset |
| 4 | `fitting` | the dataset becomes a judge |
| 5 | `improving` | the judge changes the policy |
| 6 | `registering` | weights get a name, and are looked at before anybody meets them |
| 7 | `releasing` | the fleet gets it bit by bit |
| 8 | `watching` | is it still good? |
|   | `purging` | nothing is kept for longer than its tenant wants |

`parts` is what the road is built of, `records` what every stop does with records, `steps` how those that learn
run, each once.
"""

from heedful.road.answering import captured, end_episode, keep, keeps_bytes, on_duty
from heedful.road.datasets import freeze_judged, freeze_shown
from heedful.road.fitting import fit, why_refused
from heedful.road.hearing import Heard, Hearing, asked_for, begin_to_hear, hear, heard
from heedful.road.improving import imitate, improve
from heedful.road.judging import agree, ask, candidates, lease, set_gold
from heedful.road.letters import bury, purge, replay, replay_turns
from heedful.road.parts import Parts
from heedful.road.purging import purge_old
from heedful.road.records import act
from heedful.road.registering import adopt, register, validate
from heedful.road.releasing import decide, release, roll_back
from heedful.road.taking import Taken, take_in
from heedful.road.waiting import join
from heedful.road.watching import watch

__all__ = [
    "Heard",
    "Hearing",
    "Parts",
    "Taken",
    "act",
    "adopt",
    "agree",
    "ask",
    "asked_for",
    "begin_to_hear",
    "bury",
    "candidates",
    "captured",
    "decide",
    "end_episode",
    "fit",
    "freeze_judged",
    "freeze_shown",
    "hear",
    "heard",
    "imitate",
    "improve",
    "join",
    "keep",
    "keeps_bytes",
    "lease",
    "on_duty",
    "purge",
    "purge_old",
    "register",
    "release",
    "replay",
    "replay_turns",
    "roll_back",
    "set_gold",
    "take_in",
    "validate",
    "watch",
    "why_refused",
]
