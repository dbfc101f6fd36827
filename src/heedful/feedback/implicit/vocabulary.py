"""Words that carry no topic, and everyday words that stand for one another."""

from __future__ import annotations

from collections.abc import Mapping

STOP_WORDS = frozenset(
    """a an the this that these those it its i you he she we they me him her us them my your his our their mine yours is are was were be been
    being am do does did doing done have has had having will would can could should shall may might must of in on at to for from with without by about into
    as and or but if so than then too very just also only even still already yet not no yes okay please there here what which who whom whose when where why how
    all any some each every both more most other another such own same again once now ever never up down out off over under get got getting give gives make makes made let lets want
    wants need needs like know tell say said see think mean means go going come take use using used try tried thing things something anything someone way ways one ones much many lot
    really actually right well good best better sure maybe perhaps possible able help show me find look hi hello hey thanks thank kindly question answer ask asked asking explain
    instead because since while during between after before through until per via s t d ll re ve m o y etc continue next story keep
    denn doch mal ja eigentlich hast habt gib zeig mach sie was ob der die das den dem des ein eine einen einem einer und oder aber ist sind war ich du er sie es wir ihr mir mich dir dich sich mein meine dein ihre zu zum zur im in am an auf aus bei mit von vor nach fur uber
    wie was wer wo wann warum welche welcher welches kann konnen konnte mochte bitte nicht kein keine auch noch nur so dass wenn man hat habe haben wird werden gibt um als
    el la los las un una unos unas y o pero es son fue ser estar esta este esto eso esa mi tu su nos me te se lo le les de del al a en con por para sin sobre que como cual cuando donde quien cuanto cuanta
    puedo puede puedes quiero hay tengo tiene mas muy ya no si tambien hacer hago
    le les des du au aux et ou mais est sont ete je tu il elle nous vous ils mon ma mes ton ta votre notre ce cet cette ces dans sur pour par avec sans que qui quoi quel quelle comment quand combien pourquoi
    peux peut puis veux faire fait dois plus tres ne pas oui non y en l d j c qu n
    os um uma uns umas e ou mas sao foi eu ele ela meu minha seu sua do da dos das no na nos nas em com por para sem que qual quando onde quem quanto como posso pode quero ha tem mais muito nao sim tambem fazer faco""".split()
)  # fmt: skip

# Words that name one thing in everyday questions. A paraphrase swaps within a row.
SYNONYMS: Mapping[str, int] = {
    word: row
    for row, words in enumerate(
        (
            "fix repair solve resolve correct troubleshoot debug", "delete remove erase clear uninstall rid wipe", "buy purchase order shop", "begin start launch commence",
            "stop prevent avoid halt quit end disable off mute silence leave", "fast quick speed rapid quickly faster", "slow sluggish lag long", "cost price fee charge expensive cheap pay", "big large size huge",
            "error bug problem issue fail failure crash broken trouble", "change modify edit alter switch adjust update move convert", "create build generate write make produce compose draft set setup", "reduce lower decrease cut less lessen shrink minimize",
            "increase raise boost grow improve higher", "choose pick select recommend suggest", "trip travel journey vacation holiday visit", "doctor physician medic", "medicine medication drug pill", "kid child children toddler baby newborn", "car vehicle auto",
            "house home apartment flat", "job work employment career", "money cash fund", "refund reimbursement repay return", "cancel terminate revoke resilier annuler kundigen", "login signin log sign access account", "password passcode credential passwort kennwort", "email mail inbox",
            "phone mobile cell smartphone", "picture photo image", "movie film", "gift present", "meal dish recipe dinner lunch food eat cook", "substitute replace replacement alternative swap", "daily day everyday", "month monthly", "year yearly annual annually", "week weekly",
            "differ difference compare comparison versus vs better", "summary summarize summarise short shorten brief main core gist", "reset recover restore", "hurt pain ache sore", "safe danger dangerous harmful bad risk allowed", "arrive arrival deliver delivery ship shipment shipping", "package parcel", "flight plane fly airplane airline", "couch sofa",
            "cat kitty kitten", "dog puppy", "rest recovery break sleep", "night nighttime", "connect connection link pair", "see view show display visible look watch", "find locate search where", "lose lost losing missing", "keep retain stay hold", "undo revert back rollback", "require requirement need must", "document paper form", "deadline due date file", "landlord owner", "deposit bond",
            "js javascript", "py python", "db database", "k8s kubernetes", "max maximum most", "min minimum least", "temperature temp hot heat", "expire expiry expiration valid", "bill invoice", "exercise workout training train", "stain spot", "clean wash", "learn study", "teach explain", "old age", "explain understand describe", "customer client", "env environment", "var vars variable variables", "config configuration", "repo repository", "app application", "info information", "doc docs documentation", "pause freeze suspend", "tap faucet", "drip leak leaking dripping", "contract agreement", "bankrupt bankruptcy", "midnight late night", "chart graph plot diagram", "sad melancholic", "resign resignation notice quit", "spoil spoiled off bad rotten", "cv resume", "company business firm", "people person user", "late delay overdue", "twice double two duplicate",
        )
    )
    for word in words.split()
}  # fmt: skip
