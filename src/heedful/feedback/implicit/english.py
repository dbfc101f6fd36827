"""English, in shapes. What each name means to a rule stands beside it."""

from __future__ import annotations

from collections.abc import Mapping

PHRASES: Mapping[str, tuple[str, ...]] = {
    # --- thanks
    "gratitude": (
        "thanks", "thank you", "thankful", "much obliged", "cheers", "grateful", "bless you", "kudos",
        "(?:really |much |so |greatly |truly )?appreciated?",
        "you are (?:an? |the |my |so |truly |absolute(?:ly)? |total |such an? )*(?:life ?saver|"
            "legend|star|genius|angel|best|hero|god ?send|gem|saint|wizard|treasure|helpful|kind|amazing|"
            "awesome)",
        "you rock", "saved (?:me|my (?:day|life|evening|weekend|bacon))", "i owe you(?: one)?",
    ),
    "worked": (  # it was of use
        "(?:{it}|everything|all|code|(?:your|the) (?:fix|solution|tip|trick|code|answer|suggestion|"
            "advice|explanation)) (?:has |have |is |just |really |totally |actually |finally |all |now |"
            "even |completely |perfectly |did |does |was )*(?:work(?:ed|s|ing)|help(?:ed|s|ful)|fixed|"
            "fixes|solve[ds]|resolved|did it|does it|(?:did|does|do) the (?:trick|job)|done it|make "
            "sense|makes sense|made sense|clear(?:s|ed)|clarifie[sd]|answer(?:s|ed)|mounts|runs|compiles|"
            "passes|sorted|nailed|good to go|came out)",
        "^(?:just tried it ,? ?)?(?:and )?(?:it )?(?:worked|works|runs|compiles|fixed|solved|sorted|"
            "resolved)(?: (?:it|perfectly|great|like a charm|now|fine|beautifully|first try|the first "
            "time|wonderfully|flawlessly|well))*$",
        "work(?:s|ed|ing) (?:now|perfectly|great|like a charm|beautifully|flawlessly|as expected|a "
            "treat|wonders|first try)",
        "(?:exactly|just|precisely|all) (?:what |that |the answer |the thing )?i (?:needed|wanted|"
            "was (?:looking|after|hoping)|had in mind|asked for|meant)",
        "^(?:exactly|just) (?:it|right|that)$", "what i (?:needed|was looking for)$",
        "help(?:s|ed|ful) (?:me )?(?:an? (?:lot|ton|bunch|great deal)|so much|immensely|loads|"
            "enormously|out)",
        "(?:so|very|super|really|extremely|incredibly) (?:helpful|useful|clear|easy)",
        "(?:now |finally )?i (?:now |finally )?(?:get|got|understand|see) (?:it|how|why|what)(?: now)?",
        "now i (?:see|understand|get (?:it|how|why|what))",
        "make(?:s)? (?:perfect |total |so much |a lot of |much |more )*sense(?: now)?",
        "{it} (?:is|was) (?:it|perfect|awesome|brilliant|excellent|wonderful|all i needed|clear now)$",
        "problem (?:is )?(?:solved|fixed|gone)",
        "(?:all|it is|everything is) (?:sorted|set|fixed|working|fine)(?: now)?", "found it", "good to know",
        "great to know", "that was (?:it|the (?:problem|issue|cause|culprit))", "you nailed it", "spot on",
        "^got it$",
    ),
    "delight": (
        "^(?:absolutely |just |simply |that is |it is |this is |oh )*(?:perfect|awesome|amazing|"
            "brilliant|excellent|fantastic|wonderful|lovely|superb|outstanding|beautiful|exactly|genius|"
            "love (?:it|this)|i love (?:it|this)|spot on|incredible)$",
    ),
    "warmly": (  # more than manners
        "so much", "an? (?:lot|ton|bunch|million)", "very much", "many thanks", "thank you (?:very|so)",
        "for (?:your|all|being|taking|explaining|clarifying|helping|clearing|pointing|walking|"
            r"sorting|such|spotting|the (?:help|info|tip|quick|fast|detail\w*|clear|explanation))",
        "appreciated?", "life ?saver", "really", "truly", "legend", "rock", "helpful",
    ),
    "no_thanks": (
        "in advance", "ahead of time",
        "(?:thanks|thank you|cheers)(?: ,)? (?:anyways?|for nothing|but|though|all the same)", "thanks to",
        "for nothing", "for (?:trying|wasting)", "no(?: ,)? (?:thanks|thank you)",
        "(?:thank you|thanks) (?:note|letter|card|e ?mail|message|gift|speech|page)",
        r"(?:would|will) (?:\w+ )?(?:be )?(?:appreciated?|grateful|thankful)",
        "(?:appreciate|grateful|thankful) (?:it )?if", "any help", "help (?:is|would be) appreciated",
        "to (?:say|show|express) (?:thanks|thank you|gratitude)",
        "(?:say|said|saying|says) (?:thanks?|thank you)",
        "(?:wow|gee|yeah right|great|cool|oh)(?: ,)? thanks(?: ,)? (?:very|another|now|that|one|so|"
            "he|she|they|my|the|really)",
        "thanks(?: a lot| a bunch)?(?: ,)? (?:genius|einstein|captain|sherlock)",
        "thank (?:god|goodness|him|her|them|my|the|a)",
    ),
    "bad_news": (  # no thanks are meant beside it
        "{standing}(?:broken?|wrong|useless|worse|worst|ruined|deleted|lost|crash(?:es|ed)?|fail(?:s|"
            r"ed|ing)?|\w*errors?|expired|missed|wasted?|terrible|awful|unfortunately|no luck|incorrect|"
            r"misunderst\w+|forgot)",
        "not (?:working|work|helpful|helping|help|right|correct|what|quite|really|it|enough|solve|"
            "fix|answer|the|fit|match|run)",
        "still (?:not|no|get|getting|have|the|does|can|there|see|broken|waiting|same)",
        "(?:does|did) not (?:work|help|answer|fix|solve|match|fit|exist|run|open|load)",
        r"(?:thanks|thank you|worked)(?: \w+){0,4} ,? ?(?:but|however|except|although|though) ",
    ),
    # --- correction
    "says_wrong": (  # "that is wrong", in every form
        r"(?:over|above|beyond|outside) (?:my|the|our) (?:budget|limit|\w+ limit)",
        r"(?:{it}|{answer}|you|you guys)(?: all)? (?:{is}|got(?: \w+){0,3}|have|has|had) (?:to be |"
            "like )?{very}(?:an? |the |some )?{very}{wrong}",
        "^{very}(?:wrong|incorrect|false|inaccurate|untrue|nonsense)(?: (?:again|answer|number|date|"
            "one|person|order|city|name|way|tense|year|country|version|language|file|column|unit|"
            "direction|still))*(?: ,.*)?$",
        "(?:{it}|{answer}) (?:{is} |can |could )?{very}not (?:{very}|even |at all |be |seem |look |"
            "sound )*{right}",
        "not (?:{very}|even )*(?:right|correct|true|accurate|close)(?: at all| either)?(?: ,.*)?$",
        "(?:is|are|was|were) (?:not|never) (?:at all |really |even |exactly |quite |remotely |"
            "actually )*(?:what|the (?:one|thing|question|way|file|version|format)|how|who|where|when) "
            r"(?:\w+ ){0,2}(?:i|we) ",
        r"^not (?:{very})?(?:what|the (?:one|way|thing)) (?:\w+ ){0,2}(?:i|we) ",
        "(?:there (?:is|are|was|seems to be)|you (?:have|made|did make|are making)|i (?:found|"
            "spotted|see|noticed|think there is)|that is|(?:this|it) (?:is|has|contains)) (?:an?|some|"
            r"one|two|several|another|a few|the same|still an?) (?:\w+ )?(?:mistakes?|errors?|typos?|"
            "miscalculation|mix ?up|contradiction|inaccurac(?:y|ies))(?: (?:in|with|here|there|on|,|:|"
            "again).*)?$",
        r"you (?:made|are making|make) (?:an?|the|some|that) (?:\w+ )?(?:mistake|error|typo|assumption)",
        "(?:in|to|at|on|for|with|of|using|has|have|is|was|used|picked|chose|wrote|gave me|got|took|"
            r"sent|booked|put) the (?:completely |totally )?wrong \w+",
        r"the wrong (?:\w+)$",
        "no such (?:thing|function|method|option|menu|button|setting|place|book|command|flag|"
            "parameter|page|law)",
        r"(?:that|this|it|there|which) (?:\w+ )?(?:does|did|do) not (?:even )?exist", "does not exist",
        r"not (?:a )?(?:real|valid|actual) \w+", "made (?:that|this|it) up", "^no way(?: ,.*)?$",
        "what i (?:do|did) not (?:want|ask|mean|need)", "you (?:probably|surely|must|obviously) mean",
        "you mean .* (?:surely|right|not)", "i thought (?:it|that|the|there) (?:was|is|were)",
        "^(?:incorrect|inaccurate|false)$",
        r"(?:check|look|count|read) (?:{it} |your \w+ |the \w+ |my \w+ )?(?:again|carefully|more "
            "carefully|closely)(?: ,.+)$",
        r"(?:one|two|three|\d+) (?:\w+ )?(?:too many|too few|short|missing)(?: .*)?$",
        "(?:is|are) (?:missing|left out|duplicated|cut off|misspelled|misspelt|incomplete|unrelated|"
            "irrelevant)(?: .*)?$",
        r"^missing \w+.*$", "(?:is|are) (?:spelled|spelt|pronounced|called|named|written) .+",
    ),
    "you_failed": (
        "you (?:have |had |just |still |also |even |clearly |again |completely |totally |seem to "
            "have |must have |seem to |apparently |keep |kept |are |might have |may have |probably |"
            "accidentally |conveniently )*(?:forgot|forgotten|miss(?:ed|ing)|ignor(?:ed|ing)|"
            r"overlook(?:ed|ing)|skipp(?:ed|ing)|left out|leaving out|omitt(?:ed|ing)|misread\w*|"
            r"misunderstood|misunderstand(?:ing)?|misspell\w*|misspelt|mix(?:ed|ing)? \w* ?up|confus(?:ed|"
            r"ing|e)|mistook|messed|screwed|got (?:it|that|this|the \w+) wrong|disregard(?:ed|ing)|"
            "hallucinat(?:ed|ing)|invented|contradict(?:ed|ing)?|overwrote|duplicated|miscounted|"
            "miscalculated|reversed|swapped|cut off)",
        "you (?:only|just) (?:gave|listed|wrote|included|provided|added|sent|did|answered|fixed|"
            "changed|translated|used|booked|ordered|named|covered)",
        r"you (?:did|have|had) not (?:\w+ )?(?:includ\w*|mention\w*|add\w*|follow\w*|use\w*|read\w*|"
            r"listen\w*|respect\w*|consider\w*|take\w*|account\w*|convert\w*|translat\w*|count\w*|"
            r"chang\w*|keep\w*|kept|fix\w*|appl\w*|do|done|stick|stuck|sort\w*|remov\w*|finish\w*)",
        "you (?:have |still |also )*(?:gave|given|listed|used|included|added|wrote|put|booked|"
            "changed|sent|removed|kept|called|named|picked|ordered|set|translated|quoted|assumed|counted|"
            r"deleted|replaced|scheduled|chose|converted|applied|calculated|said|got|have|made|start\w*|"
            "are using|are assuming|are talking) .*(?:instead|rather than|but (?:i|it|that|this|we|the|"
            r"there)|even though|although|when i|too many|too few|wrong|not \w+|twice|in there)",
        r"you (?:have |are )?still (?:got|have|us\w+|includ\w+|list\w*|writ\w+|giv\w+|show\w*|"
            r"recommend\w*|suggest\w*|mention\w*|there)",
        r"why (?:did|do|would|are|have|is) (?:you|there|it) (?:\w+ )?(?:chang\w+|remov\w+|add\w*|"
            r"includ\w+|suggest\w*|recommend\w*|delet\w+|us\w+|put|book\w*|ignor\w+|give|giving|write|"
            r"writing|list\w*|keep|mention\w*|still)",
    ),
    "i_said": (
        "i (?:literally |already |just |clearly |specifically |explicitly |only |distinctly |did |"
            "also |really |have )*(?:said|specified|stated|told you|tell you|wrote|asked (?:you )?(?:for|"
            "to|not|about|only|explicitly)|wanted|requested|ordered|mentioned|say)(?! (?:him|her|them|"
            "thanks|hello|goodbye))",
        "i (?:meant|mean) .* not .*", "obviously i (?:meant|mean)",
        "(?:like|as) i (?:already )?(?:said|told you|wrote|mentioned|specified)",
        "my (?:request|instructions?|requirement|budget|limit|brief|constraint|criteria) (?:was|were|"
            "said|is)",
        r"was (?:asking )?for (?!.*\?)\w+ ,? ?not",
    ),
    "should_be": (
        "(?:{it}|{answer}|there) (?:should|needs? to|has to|must|ought to|(?:was|is|were|are) "
            "(?:supposed|meant) to)(?: have| be| say| read| use| not)+ .+",
        r"^(?!that |this |it |so |which |what )[\w.]+ (?:means|stands for) .+",
        "^should (?:be|have been|say|read|not be) .+", "^must be .+",
        "(?:{it}|{answer}) (?:contradicts|violates|breaks|ignores|misses|conflicts|exceeds|goes "
            "against|is against|leaves out|skips|lacks|is missing|does not (?:include|contain|match|"
            "follow|meet|respect|mention|fit|cover|handle|use|rhyme|compile|exist|add up|apply))",
    ),
    "since_changed": (
        r"^(?:it|that|this|they|the \w+)(?: has| have)? (?:got|was|were|been) (?:moved|changed|renamed|cancelled|"
            "canceled|postponed|replaced|discontinued|abolished|sold|closed|merged) .+",
    ),
    "opening_no": (  # what follows puts the answer right
        "^(?:no|nope|nah) ,(?! (?:thanks|thank you|worries|problem|need|{it} is (?:all|it|fine|okay|"
            "everything)|i (?!said|asked|told|meant|wanted|ordered|requested)|nothing|not yet|$))",
        "^(?:no|nope) (?:it|that|this|you|i (?:said|asked|told|meant|wanted)|the|there|they|he|she|"
            "we|its|these|those|my|not|but|wrong)(?! (?:thanks|is (?:fine|okay|all)))",
        "^(?:not (?:quite|exactly|really)|not at all|quite the opposite|the opposite|on the "
            "contrary)(?: ,.*)?$",
    ),
    "actually": (
        "^(?:well ,? )?(?:actually|in fact|fyi|technically|in reality|(?:small |minor |quick "
            ")?correction|just so you know|to be precise|(?:i am )?(?:pretty|fairly|quite|almost|rather) "
            "(?:sure|certain)|i (?:believe|think)(?: that)? (?:it|that|you|the|there|this))(?: ,| :)? ",
    ),
    "own_mind": (  # the mind is changed, not the facts
        "i (?:would|want|need|prefer|changed|will|am (?:going|also|interested|looking)|have|decided|"
            "like|just|also|do|wonder|was|forgot|might|can|could|should|guess|love)",
        "let us", "let me", "make (?:it|that)", "(?:can|could|would) you", "change (?:it|that)",
        "my (?:plans|mistake|bad|fault|typo)", "never mind", "i mean(?:t)? to",
        "(?:sorry|oops|apologies)(?: ,)? (?:i|my)", "(?:what|which|how|why|when|where) ",
        "ignore (?:that|my)", "scratch that", "another (?:question|thing)", "please",
        "^(?:actually|in fact)(?: ,)? (?:add|remove|change|use|put|do|keep|forget|cancel|skip|send|"
            "call|rename|go)",
    ),
    "own_fault": (
        "my (?:mistake|bad|fault|error|typo|apologies)",
        "i (?:misspoke|mistyped|misread|was wrong|got (?:it|that) wrong|forgot to (?:say|mention|add|"
            "tell|include)|made an? (?:mistake|typo))",
        "i should have (?:said|mentioned|told|added|specified|been)",
        r"i (?:wrote|typed|sent|gave you|did|picked|chose|pasted) (?:\w+ )?(?:the )?wrong",
        "(?:what|where|how) (?:am i|did i|have i|was i) .*wrong",
        "(?:what is|something|anything|what went|what was|what could be) wrong", "spelling that wrong",
        "did it wrong", r"is (?:that|this|it|my \w+) wrong$",
    ),
    "asked_back": (
        "are you sure", "^really$", "is that (?:right|correct)", "^seriously$", "are you certain",
        "is it not", "surely", "^(?:is|was|are|should|does|did) not (?:it|that|this|there|the)",
        "^(?:should|is|was) (?:it|that|this) not", "do you not mean", "did you mean",
    ),
    "positive": (  # "that is ..." and no correction
        "(?:great|good|fine|nice|perfect|helpful|interesting|cool|amazing|exactly|okay|right|correct|"
            "true|better|fair|enough|awesome|funny|lovely|weird|strange|surprising|sad|crazy|brilliant|"
            "neat|expensive|cheap|far|close|early|late|a lot|a shame|a pity|a relief|too bad|not bad|all|"
            "it|clear|impressive|useful|possible|new to me|odd|much|many)",
    ),
    "failing": (  # not working is not the same as being wrong
        "(?:work(?:s|ing)?|load(?:s|ing)?|open(?:s|ing)?|connect(?:s|ing)?|help(?:s|ful|ing)?|"
            "start(?:s|ing)?|show(?:s|ing)?|respond(?:s|ing)?|appear(?:s|ing)?|bad|problem|issue|urgent|"
            "necessary|sure|mind|matter|know|yet|acceptable|enough|fair|funny|okay|fine|easy|need|"
            "allowed|understand|hurt|want|like|possible|available|cheap|far|good|great)",
    ),
    # --- someone else's words, or a task with such words in it
    "hearsay": (
        "(?:he|she|they|boss|teacher|doctor|friend|wife|husband|colleague|professor|manager|client|"
            "customer|reviewer|mom|dad|linter|compiler|editor|landlord|employer|partner|people|everyone|"
            r"son|daughter|neighbou?r|interviewer|it) (?:\w+ )?(?:said|says|told|tells|claims?|claimed|"
            "thinks|insists|asked|keeps (?:saying|telling)|wants|wanted|replied|wrote|complained) ",
        "^(?:(?:can|could|would|will) you |please |now |then |also |help me |i need (?:you )?to "
            ")*(?:write|draft|compose|translate|add|append|summari[sz]e|explain|paraphrase|proofread|"
            "imagine|pretend|say)(?! (?:it|this|that|one|another|an? (?:new|different|fresh)|something|"
            "again|me an? (?:different|new|another)))",
        r"how (?:do|can|should|would|could) (?:i|you|we|one) (?:\w+ )?(?:say|respond|reply|phrase|"
            "word|tell|translate|ask|write|answer|apologize|react|handle|deal|calm|become|prevent|avoid|"
            "teach|train|motivate|manage)",
        "(?:what does|meaning of|define|synonym|difference between|word for|template|essay|story|"
            "poem|dialogue|scene|character|customer says|user says|error (?:says|message)|it says|"
            "threatening|sound more)",
    ),
    # --- another try
    "redo": (
        "{redo}", r"{make} (?:(?:it|this|that|one|me|the \w+|your \w+) )*(?:all )?{again}", "^{again}$",
        "(?:another|one more|a second|one other|a different) (?:go|try|shot|stab|crack|attempt|pass|"
            "swing|whack|spin|take|round|time)",
        r"{make} (?:it|this|that|the \w+) (?:in )?(?:an? )?(?:different(?:ly)?|another)(?: way)?",
        "try (?:harder|differently)", "do over", "^roll {again}$", "can do better", "do better$",
    ),
    "another": (
        "(?:{other}|more) {one}",
        "^(?:yet )?(?:another|next|new one|different one|one more|more|next one|others?)(?: one)?$",
        "(?:something|anything|sth) (?:else|different|new|better|fresh)",
        "(?:an? |any |some |few |the )?(?:alternatives?|variations?|variants?)$", "^what else$",
        r"what (?:else|other ones?) (?:\w+ ){0,2}(?:you|is there)(?: .*)?$",
        "(?:any|some|got|have) (?:others?|more|other ones)$",
        r"(?:another|different|new|other|alternative) \w+$",
        "(?:give|show|tell|write|make|send) me (?:another|one more)(?: .*)?$", "^{make} another(?: .*)?$",
        "^not (?:that|this) one(?: .*)?$",
    ),
    "change": (  # a wish beside it makes it a new request
        "(?:but|with|without|more (?!options|ideas|versions|suggestions|time|try|go|shot|one|"
            r"alternatives|please$)\w+|less|using|use|includ\w+|mention\w*|add\w*|keep\w*|shorter|longer|"
            "simpler|funnier|instead of|this time|make (?:it|the|them)|under|at least|about|from the "
            "(?:perspective|view)|as (?:a|an|if)|for (?:kids|children|beginners|adults|men|women)|"
            r"focus\w*|based on|where|that (?:is|has|does)|which)",
    ),
    "praise": (
        "(?<!not )(?<!not that )(?<!not very )(?<!not so )(?:love|great|perfect|awesome|good one|"
            "nice|funny|haha|excellent|thanks|thank you|like it|like that|cool|brilliant|wonderful)",
    ),
    "dislike": (
        "(?:not|nah|meh|hmm|dislike|hate|boring|bland|generic|cheesy|lame|dull|flat|weak|bad|cliche|"
            r"corny|ugly|awful|terrible|weird|better|worse|too \w+|pass|know that one|heard that|not bad|"
            "unconvinced|uninspired|overused)",
    ),
    # --- giving up
    "give_up": (
        "^(?:oh |just |ok |okay |honestly |you know what ,? |actually )*(?:forget (?:it|about it|"
            r"this|that|about this|i (?:asked|said|even \w+))|scrap (?:it|that|this)|never mind)(?! "
            "(?:the|about the|how|what|my|your))(?: .*)?$",
        "(?:i (?:just )?|we |am |i am |just |^)(?:give|gave|giving|given|given) up(?! (?:smoking|"
            "drinking|sugar|meat|coffee|alcohol|on finding))(?: .*)?$",
        "^(?:i am |we are |am )(?:done|finished|out|through|leaving|outta here|out of here|off|"
            "stopping|logging off)(?: (?:here|with (?:this|you|it|that)|trying|talking .*|wasting .*|of "
            "here|it|now|,.*))*$",
        "^(?:i |we )(?:quit|surrender)(?: ,.*)?$",
        "wast(?:e|ing|ed) (?:of )?(?:my |our |enough |too much )*time",
        "(?:going|getting|got|get) (?:me |us )?(?:nowhere|anywhere)$",
        "(?:round|around) (?:and round )?in circles",
        "(?:this|it|that)(?: is)? (?:just |all |completely |totally )*(?:hopeless|pointless|a lost "
            "cause|no use|a dead end|futile|useless|a joke)",
        "no (?:point|use|sense) (?:in )?(?:continuing|going|trying|asking|talking|arguing|this|carrying)",
        "what is the (?:point|use)$",
        "(?:do not|no need to) bother(?: (?:anymore|any more|with (?:it|this|that)|answering|trying|"
            "replying))?(?: ,.*)?$",
        "(?:let us|we can|i will|am going to|i would rather|we should|can we|let|i am|am|am just) "
            "(?:just )?(?:drop|leave|stop|end|skip|forget|abandon|call off|park|shelve|dropping|leaving|"
            "stopping|ending|skipping|abandoning) (?:it|this|that|here|there|the (?:conversation|chat|"
            "whole thing)|trying)(?: .*)?$",
        "(?:clos|end|leav)(?:e|ing) (?:this|the) (?:chat|conversation|window|tab|thread)",
        "had (?:enough|it)(?: (?:of|with) (?:this|it|you))?$", "^enough(?: of this| already| is enough)?$",
        "^(?:drop|leave|skip) it(?: ,.*)?$", "not worth (?:it|my time|the (?:effort|trouble|hassle|time))",
        "i (?:will|can) not (?:keep|continue|go on) .*",
        "^(?:thanks|thank you|cheers)(?: ,)? (?:anyways?|all the same|for trying)(?: .*)?$",
        "you (?:clearly |obviously |really |just |apparently |simply |still )*(?:can not|are not "
            "able to|are unable to|will not|are not going to|are no|are not (?:any|of any|much|being)) "
            "(?:help|of (?:any )?(?:help|use)|use|be able to help|understand|get (?:it|this))",
        "this conversation is over", "^(?:why )?(?:do|did) i (?:even )?bother(?: .*)?$",
        "lost (?:my )?patience", "(?:i have|i am) (?:run|running) out of (?:patience|time)",
    ),
    "elsewhere": (  # somebody else, or another tool, is asked instead
        "{shall}(?: (?:just|better|probably|simply|rather|then|try to|try and|go|go and|have to|need "
            r"to|as well|be|now|have|maybe))* \w+.{0,60}? {alone}",
        "(?:quicker|easier|faster|simpler|better) (?:if i|to (?:just|do it|ask|call)|doing it|by hand|off)",
        "{shall}(?: (?:just|better|probably|simply|rather|then|try|go|go and|have to|ask|maybe))* "
            "(?:google|search (?:for it|online|the|it)|look (?:it |this |that |elsewhere|around|"
            "for)(?:up)?|figure (?:it|this|that|something|things) out|find (?:out|another|someone|"
            "somebody|some other|one)|sort (?:it|this|that) out|wing it|work (?:it|this) out|make do|"
            r"live with it|ask (?:my|a|an|the|some|on|in|around)|ask \w+$|consult|hire|switch to "
            "another)(?: .*)?$",
        r"(?:i will|i am going to|guess i am|i am) (?:just )?(?:try|trying|use|using|switch\w* to|"
            r"go\w* (?:to|with|back to)) (?:another|a different|some other|something else|somewhere else|"
            "someone else|elsewhere|an? other|my old)(?: .*)?$",
        "^(?:guess|looks like|seems like|suppose|i guess|i suppose)(?: that)? (?:i will|i am|i have "
            "to|we will)(?: .*)?$",
    ),
    "myself": (  # the same, less sure: it counts once something has gone wrong
        "(?:{shall}|i am|am|better|let me|ill|^going to)(?: (?:just|better|probably|simply|rather|"
            "then|try|go|maybe|gonna|going to|now))* (?:ask|asking|find|call|calling|check|checking|use|"
            r"using|open|opening|go|going|talk\w*|try|trying|do|doing|read|reading|write|writing|"
            r"contact\w*|see|visit|hire|take|taking|stick|stop|debug\w*|handle|fix|set|pay|stay|leave|"
            r"leaving|look|stopping|quit\w*) .*$",
    ),
    "resigned": (
        "^(?:okay |oh |ah |fine |alright |right |, )*(?:whatever|oh well|ah well|well|too bad|fine|"
            "well then|pity|what a (?:shame|pity)|bummer|shame|bye|bye bye|good ?bye|cya|see ya|so be it|"
            "sigh|ugh|useless|not helpful|unhelpful|lame|forget)(?: (?:then|bye|whatever|,|anyway))*$",
    ),
    "left": (
        "(?:user|customer|client|visitor|participant) (?:has )?(?:left|disconnected|closed|ended|"
            "went (?:away|offline)|is (?:gone|inactive|offline)|did not (?:reply|respond|answer)|timed "
            "out|abandoned|stopped)",
        "(?:chat|session|conversation) (?:was |has |has been |is )?(?:closed|timed out|expired|ended|"
            "abandoned)",
        "^no (?:reply|response|further (?:reply|response|messages?)|activity)(?: .*)?$",
        "(?:due to|because of) inactivity", "(?:have not|not) heard (?:back )?from you",
        "are you still there",
    ),
    "solved": (
        "found it", "found (?:the|an|my) (?:answer|solution|problem|issue|error)", "figured it out",
        "(?<!not )(?:works|working|solved|fixed|sorted)(?: (?:now|it|to work|already|itself))*$",
        "it is (?:working|there|solved)", "i see it", "got it (?:working|to work)?", "just (?:saw|noticed)",
    ),
    "tell_me": (
        "tell me", "what is (?:it|the (?:answer|solution))", "show me", "reveal", "just (?:tell|answer)",
        "you tell", "what was it",
    ),
    # --- to a person, or away for good
    "demand": (
        "(?:want|wanna|need|demand|insist|like|prefer|require|get|give|put|let|make|have|find|send|"
            "please|now|where|who|can i|could i|may i|how (?:do|can) i|is there|are there|immediately|"
            "instead|asap|then)",
        "{reach}",
    ),
    "person": ("{human}",),
    "person_only": (
        "^(?:an? |the |your |live |real |actual |human )*{human}(?: (?:now|agent|being|immediately|asap))*$",
        "^(?:speak|talk) to (?:an? )?{human}$", "^(?:human )?hand ?off$",
    ),
    "reach_person": (
        r"(?:transfer|connect|forward|redirect) (?:me|us) (?:over |through )?to \w+",
        "{reach} (?:me |us |this |it |my (?:case|ticket|call|issue|complaint) |myself )?(?:back |"
            "straight |up |directly |right |over |on |now )*(?:(?:to|with|through to|through|over to|for|"
            "on to|in|onto|on the (?:line|phone) with) )?(?:up (?:to|with) )?(?:an? |the |your |some |"
            r"any |one of your |my |another )?(?:\w+ )?{human}",
        "(?:want|need|demand|prefer|like|require|is there|are there|get|give me|send me|have)(?: to "
            "(?:have|get|see|deal with))? (?:an? |the |your |some |any |actual |one of your )*{human}(?! "
            "(?:for|of|about|to (?:write|translate|review)|name|experience))",
        r"{human} (?:\w+ ){0,4}(?:not|instead of|rather than) (?:an? |this |some |the |your |another "
            r")*(?:\w+ )?{bot}",
        r"(?:tired|sick|fed up|done|enough|stop|hate|not (?:\w+ ){0,2}?(?:talk|speak|chat|deal|write|"
            "like)) (?:of |to |with )*(?:talking |talk )*(?:to |with |talking to |dealing with |arguing "
            "with |this |an? |the |these |of |with )*{bot}",
        "escalat(?:e|ing|ed)", "(?:higher|next|second|third|2nd|3rd) (?:level|tier|up)s?",
        r"(?:someone|whoever|person|somebody|anyone|anybody|who) (?:\w+ )?(?:is )?(?:in charge|"
            "responsible|with (?:any )?authority|above you|higher up|competent|senior)",
        "who (?:is|are) your (?:superior|manager|supervisor)",
        r"(?:have|get|want|need) (?:\w+ )?(?:someone|somebody|a person|a human|your (?:manager|"
            r"supervisor|boss|team)|a manager|a supervisor|an agent|a representative)(?: \w+)? (?:call|"
            "contact|phone|ring|email|reach|get back|speak|look|help|review|take over|handle)",
        r"(?:in touch|contact) with (?:an? |the |your )?(?:\w+ )?{human}",
        "(?:talking|speaking) to an? {bot} is", "(?:someone|somebody|anyone) from",
        r"(?:are|do) (?:there|you) (?:\w+ )?(?:have )?(?:any )?(?:real )?(?:humans|people|persons) "
            "(?:working|there|at|i can)",
        r"(?:reviewed|handled|checked|looked at|seen|done) by (?:an? |the |your )?(?:\w+ )?{human}",
        "(?:on|to) the (?:line|phone)$", "call ?back from",
    ),
    "complaint": (
        "(?:fil(?:e|ing|ed)|mak(?:e|ing)|lodg(?:e|ing)|submit(?:ting)?|rais(?:e|ing)|register|"
            "put(?:ting)? in|open(?:ing)?|send(?:ing)?|writ(?:e|ing)|log|launch) (?:in )?(?:an? |my |the "
            ")?(?:formal |official |written |serious |legal |public )*(?:complaint|grievance|dispute|"
            "chargeback|lawsuit)",
        "(?:will|am going to|want to|would like to|have to|about to|intend to|where (?:can|do) i|how "
            r"(?:can|do) i|who do i) (?:\w+ )?complain(?:ing)?",
        "report(?:ing)? (?:you|this|it|them|your (?:company|business|service)) to", "legal action",
        "small claims", "to court", "in court", "su(?:e|ing) (?:you|your)",
        r"(?:from|contact\w*|call\w*|involv\w*|to|hir(?:e|ing)|with|have|get|inform\w*) (?:my|our|"
            "an?) (?:lawyer|attorney|solicitor|legal team)",
        "(?:consumer (?:protection|rights|affairs|bureau|council|agency)|better business bureau|bbb|"
            "ombudsman|trading standards|regulator|attorney general|ftc|fca|data protection authority|"
            "citizens advice)",
        "(?:disput|revers|contest)(?:e|ing) (?:the|this|that|these|those|your) (?:charges?|payments?|"
            "transaction|bill)",
        "(?:contact|contacting|call|calling|inform|informing) (?:the police|my bank|the authorities|"
            "the press)",
        "reverse the payment", "dispute (?:it|this|that) with", "leav(?:e|ing) (?:bad )?reviews",
        "charge ?back", "(?:charging|charge) (?:it|this|that|them|you) back",
        "(?:bad|negative|terrible|one star|1 star|horrible|public|nasty|scathing|awful|honest) "
            "(?:google |trustpilot |yelp |app store )?reviews?",
        r"(?:post|posting|shar(?:e|ing)|tweet(?:ing)?|expose) (?:\w+ )?(?:about )?(?:this|it|you)? "
            "?(?:all over|on (?:social media|twitter|facebook|reddit|tiktok|linkedin|x|trustpilot))",
        r"raised with (?:your )?\w+", "complaint (?:form|department|procedure|process)",
    ),
    "leaving": (
        r"(?:never|not|stop|done|last time) (?:\w+ )?(?:be )?(?:using|use|us|shop\w*|order\w*|buy\w*|"
            r"book\w*|do(?:ing)? business|fly\w*|com(?:e|ing) back|deal\w*|recommend\w*|stay\w*|renew\w*) "
            r"(?:\w+ )?(?:with |from |at |here |to )?(?:you|your|here|this (?:company|service|app|bank|"
            "airline|store|shop|product)|again)",
        "(?:tak(?:e|ing)|bring(?:ing)?) (?:my|our) (?:business|money|custom) (?:elsewhere|somewhere else|to)",
        "(?:switch(?:ing)?|mov(?:e|ing)|go(?:ing)?|chang(?:e|ing)|leav(?:e|ing)|jump(?:ing)?)(?: "
            r"(?:over|my \w+|our \w+|everything|you|all|everyone))* (?:to|for) (?:an?other |your |a |the |"
            r"some |my )?(?:different |other |\w+ )?(?:competitors?|competition|provider|company|carrier|"
            "bank|service|supplier|vendor|insurer|platform|airline|rival)",
        "your competitors?", "not (?:be )?renew(?:ing)?(?: .*)?$",
        r"(?:lost|losing|lose) (?:a|me as a|my|us as|an? \w+) (?:\w+ )?(?:customer|client|business|"
            "subscriber|custom)",
        "(?:i am|we are|will be) (?:leaving (?:you|your|for)|cancell?ing|switching to|moving to)(?: .*)?$",
        r"(?:unless|if|until) .* (?:i am |i will |we will |we are )(?:cancel\w*|leav\w*|switch\w*|"
            r"gone|out|done|mov\w*)",
        "(?:last|final) (?:chance|warning)", "canceling and", "cancelling and",
        "(?:want|demand|expect) (?:my |our )?money back",
    ),
    "cancel": (
        "(?:^|please |just |then |to |i am |we are |will |and |so |, )(?:cancel|cancell?ing|close|"
            "closing|terminate|terminating|delete|deleting|end|ending)(?: all)? (?:my|our|the|this) "
            r"(?:entire |whole |annual |monthly |\w+ )?{contract}",
        "^cancel (?:it all|everything|all of it)$",
    ),
    "no_escalation": (
        "(?:do|should) i (?:call|phone|report|ask) ", "meaning of",
        "(?:manager|boss|supervisor) (?:who|that|about|when|if)",
        "am i (?:talking|speaking|chatting)",
        "(?:safe|fit|good|bad|toxic|harmful|healthy) for (?:an? )?(?:humans?|people|person)",
        r"are you (?:an? )?(?:\w+ )?(?:human|person|bot|robot)",
        "(?:can|do|are|why do|how do|how many|could|would|will) (?:humans|people)", "per person", "in person",
        "hr about", r"(?:will|do|can|would) i (?:\w+ )?(?:keep|lose|still|have)",
        "(?:my|our|his|her|their|account|product|project|new) (?:own )?(?:manager|boss|supervisor|"
            "team|agent|advisor|department|colleagues?|employee|staff|people|support team)",
    ),
    # --- the same again
    "rephrase": (
        "let me (?:try )?(?:to )?(?:re ?phrase|rephrasing|reword|clarify|restate|put (?:it|this|"
            "that)|try (?:that|this|asking)|ask (?:it |this |that |you )?(?:another|differently|in "
            r"an?other|more)|explain|say (?:it|that)|be \w+|word|simplify|spell)",
        "(?:to|will|allow me to|i should|trying to|try to|i can|let us|tried to) (?:re ?phrase|"
            r"reword|clarify|restate|put (?:it|this|that) (?:\w+ )?(?:differently|another|simply|plainly|"
            "way|simpler)|be (?:more |very )?(?:clear|clearer|specific|precise)|word (?:it|this|that)|"
            "ask (?:it |this |that )?(?:differently|another way)|explain (?:it |this |myself |that "
            ")?(?:better|differently)|simplify)",
        "(?:re ?phras(?:ed|ing)|reword(?:ed|ing)|put differently|put another way|said differently|in "
            "other words|another way (?:of|to)|in simpler (?:terms|words)|in different words|asked "
            "differently|simply put|more (?:precisely|specifically|concretely))",
        "what i (?:am|was|really|actually|meant|mean|want|wanted|need|would like|would love|had in "
            r"mind)(?: \w+){0,3}? (?:asking|ask|trying|to know|is|was|to (?:ask|say|find|know|get)|going "
            "for|looking for|after)",
        "(?:i am|i was) (?:really |actually |trying to |just |rather |more |only |not )*(?:asking|"
            "ask)(?: about| how| if| whether| what| for| which| why| when| where)",
        "my (?:actual |real |original |main )?question (?:is|was)(?! (?:answered|about))",
        "the (?:actual |real )?(?:question|point) (?:is|was) (?:how|whether|if|what|why|which|when|where)",
        "^(?:i mean|i meant)(?: :| ,| to ask| more)? ", "^(?:by that|by this|with that) i mean",
        "(?:was|am|were|been|not) (?:not |un)?(?:very |too |being |so |that |more )?(?:un)?clear(?: "
            "enough)?$",
        r"i (?:\w+ )?(?:phrased|worded|explained|expressed|described|put|asked) (?:it|that|this|"
            r"myself|my question) (?:\w+ )?(?:badly|poorly|wrong|well|clearly|right|properly|confusingly|"
            "differently)",
        "i (?:did not|do not think i|should have|could have|may have|might have|probably|must have|"
            r"guess i) (?:\w+ )?(?:explain\w*|phrase[d]?|word(?:ed)?|ask(?:ed)?|express\w*|put|"
            "describe[d]?)(?: .*)?$",
        "you (?:may have |might have |have |seem to have |must have )?(?:misunderstood|"
            "misunderstand)(?: (?:me|my question))?",
        "bad(?:ly)? (?:phrasing|phrased|wording|worded|question)", "different wording",
        "in plain (?:english|words|terms)", "(?:talking|thinking) about (?:how|what|the|when|where)",
        "asking (?:something|about)", "^(?:meaning|as in)(?: :| ,)? ", "simpler (?:words|terms|question)",
        "to be (?:more |very |a (?:bit|little) more )?(?:exact|precise|specific|concrete|clear|clearer)",
        r"let me (?:\w+ ){1,4}(?:more |an?other |different )?(?:way|precise\w*|clear\w*|concrete\w*|exact\w*|"
            r"specific\w*|differently|simpl\w+|words|example|terms)",
        "concretely", "in concrete terms", "(?:to )?put (?:it|that|this) (?:differently|another way|simply|bluntly)",
    ),
    "unanswered": (
        r"(?:does|did|do|is|was) not (?:\w+ )?(?:answer(?:ing)?|help(?:ing|ful)?|address\w*|solve|"
            "tell me|explain|my question|what i (?:asked|meant|wanted|was|am|need))",
        r"(?:do not|did not|can not) (?:\w+ )?(?:understand|get (?:it|that|this)|see (?:how|what)|follow|"
            "picture|imagine)",
        "i (?:already |do )?(?:know|knew|am aware|understand)(?: (?:that|what|this|it|all|who|how|where|when|which|"
            "the).*)?$",
        "i (?:already |do |can |have )?(?:see|read|get) (?:that|what|the) .*",
        "^(?:i am |i was )?not (?:after|asking|looking for|talking about|interested in|wondering)",
        "(?:over my head|lost me|none the wiser|makes? no sense to me|all greek)",
        "not (?:an answer|helpful|helping|what i)",
        "still (?:not|no|do not|does not|unclear|confused|lost|stuck)",
        r"you (?:did|have|are) not (?:\w+ )?(?:answer\w*|understand\w*|get\w*|address\w*)",
        "(?:too|very|so|bit|kind of|rather) (?:vague|generic|general|technical|complicated|abstract|"
            "theoretical|unclear|confusing)",
        "(?:already|have) (?:tried|done|did|requested|checked|read)",
        "(?:textbook|dictionary) (?:definition|answer)",
        "^(?:okay |yes |yeah |sure |fine |well |right |, )*but ", "not asking",
        "i was (?:hoping|looking|after|wondering)", "(?:not|other than) (?:quite |really |exactly )?what i",
    ),
    "ask_again": (
        "^(?:again|once more|once again|one more time|repeat(?:ing)?|i repeat|asking again)(?: ,| :|$)",
        r"(?:ask|asking|asked)(?: \w+){0,3} (?:again|before|already|twice|once more)",
        r"for the (?:\w+) time", "^hello$", "(?:my question (?:is|was)|as i asked|the question (?:is|was))",
        "did not answer", "answer (?:the|my) question",
    ),
    "goes_on": (  # a new question on the old topic
        "^(?:(?:okay|so|yes|right|well) ,? ?)?(?:and|also|plus|next|what about|how about|"
            "additionally|another (?:question|thing)|one more (?:question|thing)|follow up|quick "
            "(?:question|follow)|related|what if|in addition)",
        "^(?:cool|nice|great|good|perfect|thanks|thank you|awesome|makes sense|got it|i see|"
            "understood|excellent|lovely|haha|wow|no problem|good idea)",
        "^(?:so|then)(?: ,)? (?:that means|it is|i (?:should|can|need|have|just|only)|if|you (?:mean|"
            r"are saying)|does that|the|this means|\w+ (?:is|are|does|do))",
        "same (?:for|with|question for|thing for)",
        "(?:the (?:first|second|third|last|other|former|latter) (?:one|option|step|method|part|point|"
            r"approach|two|suggestion)|step \d|option \d|(?:one|two|both|all|any|either|each|which) of "
            "(?:those|these|them|the two)|you (?:mentioned|said|suggested|listed|recommended|just|"
            "described))",
        "(?:more about|tell me more|more details?|elaborate|go deeper|an example|such as|afterwards|"
            "as well|too$|other|others|else)",
        "(?:that|this|it|those|they) differ", "(?:different|differ) (?:from|to|than)", "this one", r"\d+ more", "more$",
        r"(?:a|the) (?:second|third|next) \w+",
        "^actually ,? ?(?:can|could|i|we|let|make)", "after that", "similar",
    ),
    # --- what went before
    "closing": (  # a question of the agent's that waits for no answer
        "anything else", "help", "further", "make sense", "sound good", "does (?:that|this) (?:work|answer)",
    ),
    "offer": (  # a question of the agent's that is a proposal
        "anything else", "help you with",
        "(?:would|do) you (?:like|want)(?: me| to (?:see|hear|know|try|add)| any| more| another| help| an?)",
        "^(?:shall|should|can|may) i", "how can i", "how may i", "need (?:any )?(?:more|further|help)",
        "does (?:that|this) (?:help|work|answer|make sense)", "is there anything", "want me to", "sound good",
    ),
    "refusal": (  # the agent could not, or would not
        "(?:i|we) (?:can not|could not|am unable|are unable|am not able|do not have|am not allowed|"
            "do not know|can only|only)",
        "am sorry", "apologi[sz]e", "unfortunately", "not able to",
    ),
    "evasion": (  # the agent sent the user elsewhere
        "depends? on", "consult", "(?:please |best to )?contact", "(?:please )?check (?:that|the|your|our)",
        "see a (?:doctor|professional)", "make sure", "many (?:things|reasons|kinds|factors|ways)", "various",
        "have you tried", "please (?:try|restart|describe|provide|send|see|go|use|bear|wait|enter|fill)",
        "on our website", "in the (?:manual|documentation|settings)",
    ),
    "wanted": (  # the agent asks for something
        "please", "could you", "can you", "send me", "provide", "upload", "tell me", "confirm", "share",
        "let me know",
    ),
    "request": (  # the user asks for something
        "(?:can|could|would|will) you", "^(?:what|how|which|where|when|why|who)",
        "(?:what|how|which|where|when|why|who) (?:is|are|do|does|did|can|about|much|many|long|else|"
            "would|should|if|to|will|was|were)",
        "^(?:write|give|show|tell|make|add|remove|change|explain|find|list|send|book|create|"
            "translate|convert|fix|set|check|update|do|summari[sz]e|draft|move|put|look|help|suggest|"
            "recommend|compare|generate|calculate|use|turn|include|order|schedule|rewrite|run|open|call|"
            "remind|continue|expand|publish|skip|undo|read|quiz|plan|fill|search|play|stop|swap|rename|"
            "mark|highlight|print|increase|decrease|reduce|insert|delete|resize|align|"
            "shorten|apply|plot|describe|sort|name|pick|keep|replace|let us|let me "
            "know)",
        "(?:i|we) (?:also |just |really )?(?:need|want|would like|am looking|would love)",
        "(?:^|, )(?:(?:is|are|do|does|can|could|will|would|should|may|am) (?:i|it|that|this|there|he|she|they|we|"
            "you|the|my|your)|did (?:i|you|he|she|they|we)) ",
        "and (?:need|want) ", "^(?:just |only )?need ", "^number of", "^like (?:what|how|which|where|when)",
    ),
    "trouble": (  # something went wrong before
        r"not (?:\w+ )?(?:work\w*|help\w*|right|correct|what|there|it|that|answer\w*|recurring|fix\w*|"
            r"solve\w*)",
        "(?:does|did|is|are|was|can|has|have) not", "still", "same (?:error|thing|problem|issue)", "error",
        r"fail\w*", "nothing happens", "wrong", "useless", "already", r"too \w+", "again", "told you",
        "i said", "no it", "ridiculous", r"frustrat\w+", "which one", "i just want",
    ),
}  # fmt: skip
