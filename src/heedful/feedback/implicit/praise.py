"""Thanks: gratitude that confirms that the answer was of use.

"Thanks" alone is often manners. It counts where it is a reaction: it opens the message or is all of it, nothing
in it is bad news, and the agent had given something. Thanks with a new question behind it count only when they
say more than the word.
"""

from __future__ import annotations

from heedful.feedback.implicit.view import View, requests
from heedful.feedback.implicit.words import says


def thanks(view: View) -> float:
    whole = view.new.whole
    if view.agent is None or view.new.cross or says("no_thanks", [whole]) or says("bad_news", [whole]):
        return 0.0
    grateful = [at for at, part in enumerate(view.parts) if says("gratitude", [part])]
    worked = says("worked", [*view.parts, *view.clauses])
    delighted = says("delight", view.clauses)
    asking = [at for at, sentence in enumerate(view.new.sentences) if requests(sentence)]
    if view.new.glad and not view.parts:
        return 0.6  # a thumb, a heart and no word
    if not grateful:
        if asking or view.was_asked:
            return 0.0
        return 0.7 if worked else 0.55 if delighted else 0.0
    more = worked or delighted or view.new.glad or says("warmly", view.parts)
    if asking:
        return 0.65 if more and grateful[0] < asking[0] else 0.0
    if not more and (view.was_asked or "please" in whole) and len(whole.split()) > 2:
        return 0.0  # manners at the end of an answer to the agent
    if view.refused and not more:
        return 0.3
    return 0.95 if worked else 0.85 if more else 0.75
