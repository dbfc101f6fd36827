"""German, Spanish, French and Portuguese, under the names that `english.py` explains."""

from __future__ import annotations

from collections.abc import Mapping

GERMAN: Mapping[str, tuple[str, ...]] = {
    "gratitude": ("danke", "dankeschon", "(?:vielen|besten|herzlichen|tausend|lieben) dank", "dankbar"),
    "worked": (
        "(?:hat|habe) (?:es )?(?:super |prima |sofort )?(?:geklappt|funktioniert|geholfen)",
        "(?:klappt|funktioniert|lauft)(?: (?:jetzt|nun|wieder|super|prima|perfekt))*$",
        "genau (?:das|was ich)", "(?:sehr|super) hilfreich", "passt perfekt", "alles klar",
    ),
    "delight": ("^(?:perfekt|wunderbar|super|toll|klasse|spitze|genial|prima)$",),
    "warmly": ("(?:vielen|herzlichen|besten|tausend) dank", "danke (?:dir|ihnen|sehr)", "sehr"),
    "no_thanks": (
        "im voraus", "vorab", r"trotzdem(?: vielen)? dank\w*", "danke trotzdem", "(?:danke|dank) fur nichts",
        "nein(?: ,)? danke", "dank aber",
    ),
    "says_wrong": (
        r"(?:das|es|die antwort|(?:deine|ihre|diese) \w+)(?: \w+)? (?:stimmt|passt|ist|sind|war)(?: "
            r"\w+){0,2} (?:nicht|falsch|verkehrt|unsinn|quatsch|kein\w*)(?: .*)?$",
        "^(?:falsch|stimmt nicht|quatsch|nicht ganz|leider falsch)(?: ,.*)?$",
        "(?:ist|war|sind) (?:doch |aber |leider |auch )*falsch", r"\w*fehler (?:drin|gemacht)",
        "da(?:s| ist) (?:ein|dir ein|dir) .*fehler", "nicht das ,? ?was ich",
        "gibt es (?:gar |uberhaupt )?nicht",
    ),
    "you_failed": (
        "(?:du hast|sie haben|hast du|haben sie) .*(?:vergessen|ubersehen|falsch|verwechselt|"
            "ignoriert|verrechnet|nicht beachtet|missverstanden|weggelassen)",
    ),
    "i_said": (
        "ich (?:habe|hatte|hab) (?:doch |aber |dir |ihnen |extra |ausdrucklich |nach |um "
            ")*.*(?:gesagt|geschrieben|bestellt|gebeten|gefragt)",
        r"ich (?:wollte|meinte|sagte)(?: \w+)* ,? ?(?:nicht|kein\w*|nur|doch)",
    ),
    "opening_no": (
        "^(?:nein|ne|nee)(?: ,|$)(?! (?:danke|schon gut))", "^(?:nein|ne) (?:das|es|ich|du|sie|die|der)",
    ),
    "actually": ("^(?:tatsachlich|eigentlich|in wirklichkeit) (?:ist|sind|war|heisst|liegt|hat)",),
    "own_mind": ("(?:kann|konnte|wurde|will|mochte|hatte)", "lieber"),
    "own_fault": ("mein fehler", "ich habe mich (?:vertippt|geirrt)"),
    "hearsay": (
        r"^(?:bitte )?(?:schreib\w*|ubersetz\w*|formulier\w*) (?:das|mir|ein\w*|den|die|eine)",
        "wie sagt man",
    ),
    "redo": (
        r"(?:noch ?mal|noch einmal|erneut|von vorn\w*)(?: (?:neu|versuchen|machen|schreiben|probieren))?$",
        r"(?:generier|schreib|mach|formulier)\w* (?:es|das|die antwort|bitte)* ?(?:neu|nochmal|anders)",
    ),
    "another": (
        r"(?:ander|weiter|neu)\w* (?:vorschlag|vorschlage|idee|ideen|version|versionen|variante|"
            r"varianten|option|optionen|antwort|namen?|titel|text|\w+)$",
        "etwas ander(?:es|s)", "was anderes", r"noch (?:ein|eine|einen|eins|einer|welche|mehr)(?: \w+)?$",
        "(?:ein|eine|einen) (?:andere|anderen|anderes|neue|neuen|neues|alternative)", r"alternativ\w+$",
        r"^(?:anders|nachste\w*)$",
    ),
    "change": (
        "(?:aber|mit|ohne|kurzer|langer|weniger|diesmal|mehr (?!vorschlage|ideen|optionen|"
            r"varianten)\w+|uber|fur (?:kinder|anfanger))",
    ),
    "dislike": (r"(?:gefallt|langweilig|nicht|besser|zu \w+)",),
    "give_up": (
        "vergiss es", "vergessen sie es", "(?:ich |wir )?geb(?:e|en)? (?:es |s )?auf",
        "(?:lass|lassen wir|lassen sie) (?:es|s|das)(?: (?:sein|gut sein|bleiben|lieber))?$",
        "^(?:ist |auch )?egal(?: ,.*)?$", "^schon gut(?: ,.*)?$",
        "(?:hat|macht) (?:doch )?keinen (?:sinn|zweck)", "zeitverschwendung", "bringt (?:doch |mir )?nichts",
        "trotzdem danke|danke trotzdem",
    ),
    "elsewhere": (
        r"(?:ich )?(?:mach|schau|such|frag|versuch|google|les|lose|ruf|schreib|klar|erledige)\w*(?: "
            r"\w+){0,4} (?:selbst|selber|allein|alleine|woanders|anders|anderswo|lieber)(?: \w+)?$",
        r"(?:dann )?(?:google|frage|rufe|suche) ich (?:\w+ ){0,4}\w+$",
    ),
    "resigned": ("^(?:schade|na toll|dann nicht|tschuss|pech|na gut|dann eben nicht)(?: .*)?$",),
    "tell_me": ("sag(?: s)? mir", "was ist die (?:antwort|losung)"),
    "reach_person": (
        r"(?:mit|an|zu) (?:ein\w+|dem|der|ihr\w+|eur\w+|jemand\w*|richtig\w+|menschlich\w+)(?: \w+)? "
            r"?(?:mitarbeiter\w*|menschen?|person|berater\w*|vorgesetzten?|chef\w*|manager\w*|"
            r"sachbearbeiter\w*|teamleiter\w*|kollegen?|kundendienst|kundenservice|support|"
            "verantwortlichen?|agenten?)",
        r"(?:jemand\w*) (?:sprechen|reden|verbinden|anderen|anderem|echten)",
        r"mensch(?:en)?(?: \w+){0,3} (?:sprechen|reden|verbinden|statt)",
        r"(?:ihr\w*|dein\w*|einen?) (?:vorgesetzten?|filialleiter|geschaftsfuhrer|abteilungsleiter|"
            r"chef|manager)(?: \w+){0,3}$",
        "^(?:mitarbeiter|mensch|echter mensch|kundenservice)$",
    ),
    "complaint": (
        "(?:ich |mich )?beschwer(?:e|en|de)(?: .*)?$", "reklamation", "anwalt", "verbraucherzentrale",
        "verbraucherschutz", "schlichtungsstelle", "rechtliche schritte",
    ),
    "leaving": (
        "(?:ich )?kundig(?:e|en)", "zur konkurrenz", "anbieter wechseln",
        "wechs(?:le|el) (?:ich )?(?:den|zu|zum|zur)", "nie wieder",
    ),
    "no_escalation": ("wie (?:kann|muss|soll) ich kundigen",),
    "rephrase": (
        "anders (?:gefragt|gesagt|formuliert|ausgedruckt)", "ich (?:meine|meinte)(?: :| ,)? ",
        "gemeint (?:ist|war)", "mit anderen worten", "genauer gesagt", "ich wollte (?:eigentlich )?wissen",
        "meine frage (?:ist|war)", "nochmal anders", "um es (?:klarer|anders)",
        "genauer", "konkret", "besser gesagt", r"(?:versuche|frage) (?:ich )?es (?:\w+ )?anders",
    ),
    "unanswered": (
        r"(?:beantwortet|hilft|verstehe)(?: \w+){0,3} nicht", "weiss ich(?: schon)?",
        "^(?:ja |okay |, )*aber ",
    ),
    "ask_again": (
        "(?:noch ?mal|nochmals|noch einmal|erneut|wie gesagt|ich wiederhole|wiederhole|zum "
            "(?:dritten|zweiten|letzten) mal)",
    ),
    "goes_on": ("^(?:und|ausserdem|danke|super|toll|alles klar|gut|dann)",),
    "closing": ("hilft", "weiterhelfen"),
    "offer": ("^kann ich", "^soll ich"),
    "refusal": (r"kann (?:ich )?(?:\w+ ){0,3}(?:nicht|keine?)", "leider"),
    "trouble": ("nicht", "schon", "immer noch"),
    "bad_news": (
        "leider", "falsch", "funktioniert nicht", "immer noch", r"(?:danke|dank)(?: \w+){0,4} ,? ?aber ",
    ),
}  # fmt: skip

SPANISH: Mapping[str, tuple[str, ...]] = {
    "gratitude": ("gracias", "(?:te|se) lo agradezco", "agradecid[oa]", "agradezco", "muy amable"),
    "worked": (
        "(?:ya |ahora )?(?:funciona|funciono|ha funcionado|me ha servido|me sirvio|me ayudo|resuelto|"
            "solucionado)",
        "justo lo que", "muy util", "^perfecto$", "eso era",
    ),
    "delight": ("^(?:genial|excelente|perfecto|estupendo|fantastico)$",),
    "warmly": (r"much[ai]s?\w* gracias", "mil gracias", "muchisimas", "de verdad"),
    "no_thanks": (
        "(?:por|de) (?:adelantado|antemano)",
        "gracias (?:por nada|de todos modos|de todas (?:formas|maneras)|igualmente)", "no(?: ,)? gracias",
        "gracias ,? ?pero",
    ),
    "says_wrong": (
        r"(?:eso|esto|(?:la|tu|su|esa) \w+|lo que dices)? ?(?:no es|no esta|no son|esta|es|son) "
            "(?:del todo |totalmente )?(?:correct[oa]|ciert[oa]|verdad|asi|mal|incorrect[oa]|"
            "equivocad[oa]|fals[oa]|errone[oa]|lo que (?:te )?(?:pedi|dije|pregunte|queria))",
        "hay un error", "^(?:incorrecto|falso|mal)(?: ,.*)?$", "no existe",
    ),
    "you_failed": (
        "(?:te|se) (?:equivocas|equivocaste|ha equivocado|has equivocado|equivoca|olvidaste|olvido|"
            "has olvidado|ha olvidado)",
        "(?:estas|esta) equivocad[oa]", "(?:has|ha) (?:olvidado|ignorado|confundido|entendido mal)",
    ),
    "i_said": (
        "(?:te|ya te|le|ya le) (?:dije|pedi|habia dicho|he dicho|pregunte|habia pedido)", "^(?:ya )?dije",
        "^(?:yo )?(?:pedi|queria) .* no ",
    ),
    "opening_no": ("^no ,? ?(?:es|son|fue|era|la|el|los|las|se|eso|esta)",),
    "actually": ("^(?:en realidad|de hecho) (?:,? ?)(?:es|son|fue|era|hay|esta)",),
    "own_mind": ("(?:puedes|podrias|quiero|prefiero|mejor)",),
    "own_fault": ("mi error", "me equivoque", "culpa mia"),
    "hearsay": (
        r"^(?:por favor )?(?:escrib\w+|traduc\w+|redact\w+) (?:esto|un|una|el|la|al)", "como se dice",
    ),
    "redo": (
        "(?:otra vez|de nuevo|una vez mas)$",
        r"(?:intenta|prueba|hazlo|escribelo|vuelve a|genera|repite|rehaz)\w*(?: \w+){0,2}? (?:otra "
            "vez|de nuevo|nuevamente|intentarlo|generarlo|hacerlo|escribirlo)",
        r"rehaz\w*", r"regenera\w*",
    ),
    "another": (
        "otr[oa]s? (?:opcion|version|idea|alternativa|propuesta|sugerencia|respuesta|titulo|"
            "nombre)(?:es|s)?$",
        "^otr[oa](?: mas)?$", r"(?:algo|alguna|alguno) (?:distint|diferente|otr|mejor)\w*",
        r"(?:dame|tienes|prueba(?: con)?|quiero|hay) (?:alguna? )?otr[oa]s?(?: \w+)?$", "alternativas?$",
        "mas (?:opciones|ideas|versiones)$",
    ),
    "change": (r"(?:pero|con (?!otr)|sin|mas (?!opciones|ideas|versiones)\w+|menos|sobre|esta vez)",),
    "dislike": ("no me (?:gusta|convence)", "aburrid[oa]", "mejor", "no"),
    "give_up": (
        "olvida(?:lo|te)", "dejalo", "dejemoslo", "olvidemoslo", "me rindo", "no (?:vale|merece) la pena",
        "no tiene (?:caso|sentido)", "perdida de tiempo", "^da igual(?: .*)?$",
        "no importa ,? ?(?:ya|lo|yo|me).*$", "gracias de (?:todos modos|todas (?:formas|maneras))",
    ),
    "elsewhere": (
        "(?:ya )?(?:lo|la) (?:hago|hare|busco|buscare|resuelvo|resolvere|arreglo|miro|mirare)(?: .*)?$",
        "(?:mejor|voy a) (?:lo|le|busco|buscar|llamo|pregunto|preguntar)(?: .*)?$", "por mi cuenta",
        "yo mism[oa]",
    ),
    "resigned": ("^(?:que pena|adios|ni modo|vaya)(?: .*)?$",),
    "tell_me": ("dime", "cual es la (?:respuesta|solucion)"),
    "reach_person": (
        r"(?:hablar|comunic\w+|contactar|pas[eoa]\w*|transfier\w+|transferir\w*|poner\w*|ponga\w*|"
            r"conect\w+|atienda|quiero|necesito|exijo)(?: \w+){0,4} (?:persona|humano|agente|"
            r"supervisor\w*|gerente|encargad[oa]|responsable|operador\w*|representante|jefe|alguien|"
            r"asesor\w*|atencion al cliente|superior)",
        "^(?:agente|humano|persona|operador|supervisor)$",
    ),
    "complaint": (
        r"(?:poner|presentar|hacer|interponer|pondre|presentare)(?: \w+){0,2} (?:reclamacion|queja|"
            "denuncia|demanda)",
        "hoja de reclamaciones", "mi abogado", "(?:oficina del|defensa del) consumidor",
        r"os voy a denunciar|voy a denunciar\w*",
    ),
    "leaving": (
        r"(?:me voy|me cambio|cambiar\w*)(?: \w+){0,3} (?:competencia|otra compania|otro proveedor|"
            "otra empresa|otro banco)",
        r"dar\w* de baja", "doy de baja", "nunca mas",
        "cancel(?:o|are|en|e|ad) (?:mi|la) (?:cuenta|suscripcion|contrato)",
        "quiero cancelar (?:mi|la) (?:cuenta|suscripcion|contrato)",
    ),
    "rephrase": (
        "me (?:refiero|referia)", "(?:quiero|queria) decir", "en otras palabras", "dicho de otr[oa]",
        r"lo que (?:quiero|queria|pregunto|necesito)(?: \w+)?", "mi pregunta es", "es decir", "^o sea",
        r"reformul\w+", "mejor dicho", "me explico", "de otr[oa] (?:manera|forma|modo)", "mas concret[oa]",
    ),
    "unanswered": (
        "no (?:responde|contesta|me ayuda|entiendo|me sirve)", "ya lo se", "^(?:si |vale |, )*pero ",
    ),
    "ask_again": ("(?:repito|otra vez|de nuevo|vuelvo a preguntar|como dije|por (?:segunda|tercera) vez)",),
    "goes_on": ("^(?:y|tambien|ademas|gracias|vale|genial|perfecto|entonces)",),
    "closing": (r"ayudar\w*",),
    "offer": (r"puedo \w+",),
    "refusal": ("no puedo", "lo siento"),
    "trouble": ("no funciona", "sigue"),
    "bad_news": ("no funciona", r"(?:gracias)(?: \w+){0,4} ,? ?pero "),
}  # fmt: skip

FRENCH: Mapping[str, tuple[str, ...]] = {
    "gratitude": ("merci", "je (?:te|vous) remercie", "c est gentil"),
    "worked": (
        "(?:ca|cela) (?:marche|fonctionne|a marche|a fonctionne|m aide|m a (?:bien |beaucoup )?aide)",
        "exactement ce que", "tres (?:utile|clair)", "c est bon", "c etait ca",
    ),
    "delight": ("^(?:parfait|genial|super|excellent|impeccable)$",),
    "warmly": ("merci (?:beaucoup|bien|infiniment|mille)", "mille merci", "vraiment"),
    "no_thanks": (
        "d avance", "par avance", "merci (?:quand meme|pour rien|tout de meme)", "non(?: ,)? merci",
        "merci ,? ?mais",
    ),
    "says_wrong": (
        "(?:c est|ce n est|c etait|est|n est) (?:pas |completement |totalement |toujours |pas du "
            r"tout )*(?:faux|fausse|incorrect\w*|correct|juste|vrai|errone\w*|exact|ce que (?:j|je|nous) "
            ".*|ca du tout|une erreur)",
        "^(?:faux|pas du tout|inexact|erreur)(?: ,.*)?$", "il y a une erreur", "n existe pas",
    ),
    "you_failed": (
        r"(?:tu t es|vous vous etes|tu te|vous vous) (?:trompe\w*)",
        "(?:tu as|vous avez|t as) (?:encore |mal )?(?:oublie|confondu|compris|ignore|saute)",
    ),
    "i_said": (
        "j (?:ai|avais) (?:bien |deja |pourtant )*(?:dit|demande|precise|ecrit)",
        "je (?:voulais|voulait) .* pas ",
    ),
    "opening_no": ("^non ,(?! merci)", "^non (?:c est|ce|il|elle|je|la|le)"),
    "actually": ("^(?:en fait|en realite) (?:,? ?)(?:c est|ce|il|elle|la|le|les)",),
    "own_mind": ("(?:peux|pourrais|pouvez|voudrais|veux|prefere)",),
    "own_fault": ("mon erreur", r"je me suis trompe\w*"),
    "hearsay": (r"^(?:ecri\w+|traduis\w*|redige\w*) (?:moi |un |une |le |la |ca |ce)", "comment dit on"),
    "redo": (
        "(?:encore une fois|a nouveau|de nouveau)",
        r"(?:reessa[iy]|recommence|refai|regenere|reecri|reformule)\w*", r"essa[iy]\w* encore",
    ),
    "another": (
        "(?:autre|nouvelle|differente) (?:version|idee|proposition|option|reponse|suggestion|chose|"
            "nom)s?(?: differente)?$",
        r"^(?:un|une) autre(?: \w+)?$", r"d autres (?:\w+)$", "autre chose", "^encore (?:un|une)$",
        "alternatives?$",
    ),
    "change": (r"(?:mais|avec|sans|plus \w+|moins|cette fois|sur (?:le|la|les))",),
    "dislike": ("(?:aime pas|pas (?:terrible|top|convaincu)|bof|mieux|non)",),
    "give_up": (
        "laisse(?:z)? tomber", "oublie(?:z)?(?: ca)?$", "tant pis(?: .*)?$", "j abandonne",
        "je laisse tomber", "j arrete", "perte de temps", "ca ne sert a rien", "peine perdue",
        "merci quand meme",
    ),
    "elsewhere": (
        r"je (?:vais|me|m en|le|la)(?: \w+){0,3}? (?:debrouill\w+|chercher\w*|faire|ferai|charge|"
            r"occupe|regarder|demander|trouver)(?: (?:moi meme|seul\w*|ailleurs|autrement))?$",
        "moi meme", "ailleurs$",
    ),
    "resigned": ("^(?:dommage|au revoir|bon)(?: .*)?$",),
    "tell_me": ("dis moi", "quelle est la (?:reponse|solution)"),
    "reach_person": (
        r"(?:parler|passe\w*|transfer\w+|joindre|contacter|contact|relation|discuter|veux|voudrais|"
            r"besoin|avoir)(?: \w+){0,4} (?:conseiller\w*|humain\w*|personne|responsable|superviseur|"
            r"manager|quelqu un|agent|superieur\w*|directeur|service client|operateur|etre humain)",
        "^(?:conseiller|humain|agent)$",
    ),
    "complaint": (
        r"(?:porter|deposer|faire|porte|depose|fais)(?: \w+){0,2} (?:plainte|reclamation)", "mise en demeure",
        "mon avocat", "mediateur", "60 millions", "ufc", "dgccrf", "au tribunal",
    ),
    "leaving": (
        r"(?:resilier?|resilie|annuler?|fermer?|cloturer?) (?:mon|mes|tout)(?: \w+)?$",
        r"(?:chez|a) (?:la|un|vos) concurren\w+", "plus jamais",
    ),
    "no_escalation": ("^comment ", "ou est ce que"),
    "rephrase": (
        "autrement dit", "je (?:veux|voulais) dire", "en d autres (?:termes|mots)",
        r"ce que je (?:veux|voulais|demande|cherche)(?: \w+)?", "ma question (?:est|etait)", "je reformule",
        "plus precisement", "c est a dire", "je m explique", "(?:d une )?autre (?:facon|maniere)",
    ),
    "unanswered": (
        r"ne repond\w* pas", "n aide pas", "ne comprends pas", "je sais", "^(?:oui |ok |, )*mais ",
    ),
    "ask_again": ("(?:je repete|encore une fois|je redemande|pour la (?:deuxieme|troisieme|derniere) fois)",),
    "goes_on": ("^(?:et|aussi|merci|super|d accord|parfait|alors)",),
    "closing": ("aider",),
    "offer": (r"puis je \w+",),
    "refusal": ("je ne peux pas", "desole", "je n ai pas"),
    "trouble": ("toujours", "ne marche pas"),
    "bad_news": ("ne .{1,20} pas", "toujours pas", r"merci(?: \w+){0,4} ,? ?mais "),
}  # fmt: skip

PORTUGUESE: Mapping[str, tuple[str, ...]] = {
    "gratitude": ("obrigad[oa]", "obrigadao", "brigad[oa]", "valeu", "agradeco", "muito grat[oa]"),
    "worked": (
        "(?:deu certo|funcionou|resolveu|ajudou|resolvido)", "era isso", "muito util",
        "exatamente (?:isso|o que)",
    ),
    "delight": ("^(?:perfeito|otimo|excelente|maravilha|show)$",),
    "warmly": ("muito obrigad[oa]", "de verdade", "muito"),
    "no_thanks": (
        "desde ja", "antecipadamente", "obrigad[oa] (?:por nada|mesmo assim)", "valeu por nada",
        "nao(?: ,)? obrigad[oa]", "obrigad[oa] ,? ?mas",
    ),
    "says_wrong": (
        r"(?:isso|esta|(?:a|sua|essa|tua) \w+)? ?(?:nao (?:e|esta)|esta|ta|e) (?:bem |tudo "
            ")?(?:errad[oa]|cert[oa]|corret[oa]|verdade|fals[oa]|incorret[oa]|isso que|o que eu (?:pedi|"
            r"disse|perguntei|queria))(?! (?:que|\?))",
        "(?:ha|tem) um erro", "^(?:errado|falso|incorreto)(?: ,.*)?$", "nao existe",
    ),
    "you_failed": (
        "(?:voce|tu|vc) (?:se )?(?:errou|esqueceu|enganou|confundiu|ignorou|esqueceste|enganaste)",
    ),
    "i_said": (
        "eu (?:ja )?(?:disse|pedi|falei|avisei)", "^(?:ja )?(?:disse|pedi|falei) (?:que|para|sem|com)",
    ),
    "opening_no": ("^nao ,? ?(?:e|foi|sao|era|o|a|os|as|esta)",),
    "actually": ("^(?:na verdade|na realidade) (?:,? ?)(?:e|foi|sao|o|a|os|as)",),
    "own_mind": ("(?:pode|poderia|quero|prefiro|melhor)",),
    "own_fault": ("meu erro", "me enganei", "erro meu"),
    "hearsay": (r"^(?:escrev\w+|traduz\w*|redij\w+) (?:um|uma|isso|o|a|me)", "como se diz"),
    "redo": (
        "(?:de novo|outra vez|novamente|mais uma vez)$",
        r"(?:tent|faz|fac|ger|escrev|refaz|refac|reescrev)\w*(?: \w+){0,2}? (?:de novo|outra vez|"
            "novamente|mais uma vez)",
        r"ref(?:az|aca)\w*", r"reescrev\w*", r"regere\w*",
    ),
    "another": (
        "(?:outr[oa]s?|nov[oa]|mais um[a]?|diferente) (?:versao|opcao|ideia|sugestao|alternativa|"
            "resposta|coisa|nome|opcoes|ideias|sugestoes)(?: diferente)?$",
        r"^(?:outr[oa]|mais um[a]?)(?: \w+)?$", "algo (?:diferente|melhor|novo)", "alternativas?$",
    ),
    "change": (r"(?:mas|com|sem|mais (?!um|opcoes|ideias|uma)\w+|menos|dessa vez|sobre)",),
    "dislike": ("(?:nao gostei|nao|melhor|chato|fraco)",),
    "give_up": (
        "deixa (?:pra la|para la|quieto|isso|assim)", "esque(?:ce|ca)(?: isso)?",
        "deixe(?: pra la| para la| estar)", "(?:eu )?desisto", "vou desistir", "perda de tempo",
        "nao adianta", "tanto faz", "obrigad[oa] mesmo assim",
    ),
    "elsewhere": (
        "(?:eu )?(?:mesmo )?(?:resolvo|faco|procuro|vejo|vou (?:resolver|fazer|procurar|ver|tentar|"
            "perguntar|pesquisar))(?: .*)?(?:sozinh[oa]|mesm[oa]|outro|noutro|google|conta propria|outro "
            "lugar)(?: .*)?$",
        "vou (?:pesquisar|procurar|perguntar)(?: .*)?$",
    ),
    "resigned": ("^(?:que pena|tchau|fazer o que|paciencia)(?: .*)?$",),
    "tell_me": ("me diz", "qual e a (?:resposta|solucao)"),
    "reach_person": (
        r"(?:falar|conversar|transfer\w+|transfira|passa\w*|passe|contato|contactar|quero|preciso|"
            r"chama\w*|exijo)(?: \w+){0,4} (?:pessoa|humano|atendente|supervisor\w*|gerente|responsavel|"
            r"alguem|superior|operador\w*|representante|chefe|ser humano)",
        "^(?:atendente|humano|pessoa)$",
    ),
    "complaint": (
        r"(?:fazer|abrir|registrar|apresentar|vou)(?: \w+){0,2} (?:reclamacao|queixa|denuncia|processar)",
        "reclame aqui", "procon", "livro de reclamacoes", "meu advogado", "minha advogada",
    ),
    "leaving": (
        r"(?:cancel\w+|encerr\w+|rescind\w+) (?:a |o |meu |minha )+(?:conta|assinatura|contrato|plano)",
        "(?:para|pra) (?:a |uma )?(?:concorrencia|concorrente|outra operadora|outra empresa)", "nunca mais",
    ),
    "no_escalation": ("^como ",),
    "rephrase": (
        "em outras palavras", "(?:quero|queria) dizer", "^ou seja", r"reformul\w+",
        r"o que (?:eu )?(?:quero|queria|preciso|estou)(?: \w+)?", "minha pergunta (?:e|era)",
        "dizendo de outr[oa]", "de outr[oa] (?:jeito|forma|maneira|modo)", "melhor dizendo", "me explicar melhor",
    ),
    "unanswered": ("nao (?:responde|ajuda|entendi|respondeu)", "ja sei", "^(?:sim |ok |, )*mas "),
    "ask_again": (
        "(?:repito|de novo|mais uma vez|outra vez|pela (?:segunda|terceira) vez|pergunto novamente)",
    ),
    "goes_on": ("^(?:e|tambem|obrigad[oa]|valeu|otimo|entao|alem)",),
    "closing": ("ajudar",),
    "offer": (r"posso \w+",),
    "refusal": ("nao (?:posso|consigo)", r"desculp\w+"),
    "trouble": ("nao funciona",),
    "bad_news": ("nao funciona", "errado", r"obrigad[oa](?: \w+){0,4} ,? ?mas "),
}  # fmt: skip
