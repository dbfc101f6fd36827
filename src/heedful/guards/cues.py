"""The words before a number, which say what it is when its digits alone do not.

Only the nearest cue counts: in "call me about order 5125550173" the order is nearer. Long stems are found inside
words (German writes Mobiltelefonnummer), short ones only where a word begins.
"""

from __future__ import annotations

import re
from enum import StrEnum

REACH = 40  # characters before a number


class Cue(StrEnum):
    PHONE = "phone"
    CARD = "card"
    SSN = "ssn"
    IP = "ip"
    ID = "id"
    THING = "thing"  # orders, parcels, articles: numbers of things, not of people
    VERSION = "version"


# Languages beside one another: English, German, French, Spanish, Italian, Dutch, Portuguese, Polish, Nordic, others.
_STEMS = {
    Cue.PHONE: (
        "phone|mobil|handy|whatsapp|telef|telép|téléph|cellular|celular|móvil|portable|joignable|"
        "anruf|erreich|telefoon|dzwo|puhelin|電話|携帯|电话|手机|拨打|전화|тел[.еуо]|звон|هاتف|téléfono|"
        "hotline|facetime|landline"
    ),
    Cue.CARD: "kreditkart|kartennummer|creditcard|credit card|carte bancaire|tarjeta|cartão|karty|カード|卡号|карт",
    Cue.IP: "ip-adress|ip address|adresse ip",
    Cue.SSN: "social sec|soc sec|seguro social",
    Cue.ID: (
        "burgerservice|sofinummer|steuer-?id|steueridenti|identifikationsnummer|securité sociale|"
        "sécurité sociale|codice fiscale|personnummer|aadhaar|aadhar|social insurance|henkilötunnus"
    ),
    Cue.THING: (
        "order|track|parcel|shipment|invoice|receipt|serial|ticket|reference|bestell|rechnung|sendung|"
        "kundennummer|vertrag|artikel|commande|facture|colis|pedido|factura|fattura|ordine|spedizione|factuur|"
        "zamówien|faktur|注文|订单|订單|заказ|sipariş|주문|الطلب|barcode|batch|model|vendor|part no|nota fiscal|"
        "upc|timestamp|account no|isbn|issn|imei"
    ),
    Cue.VERSION: "version|release|firmware|windows|section|chapter|chrome|safari|android|abschnitt|kapitel",
}
_WORDS = {
    Cue.PHONE: (
        "tel|cell|call|calls|ring|text|sms|fax|bel|bellen|chiama|chiamare|llama|llame|llámame|ligue|"
        "appel|appelez|ruf|rufen|mob"
    ),
    Cue.CARD: "card|cards|visa|amex|mastercard|carta|carte|karte|kort|kart|pan",
    Cue.SSN: "ssn",
    Cue.IP: "ip|ipv4|ipv6|host|client|server|peer|ping|subnet",
    Cue.ID: "bsn|idnr|nir|insee|cpf|pesel|nhs|sin|tin|cf|hetu",
    Cue.THING: "ref|ean|sku|lot|case|vin|po|zip|mac|order|gtin|#",
    Cue.VERSION: "v|ver|build|rfc|sec|table|fig|ios",
}
_CUES = re.compile(
    "|".join(f"(?P<{cue}>{_STEMS[cue]}|(?<![a-zà-ɏ])(?:{_WORDS[cue]})(?![a-zà-ɏ]))" for cue in Cue)
)


def before(small: str, at: int, *, reach: int = REACH) -> Cue | None:
    """The nearest cue in front of this place of a text in small letters."""
    found = None
    for cue in _CUES.finditer(small, max(0, at - reach), at):
        found = cue.lastgroup
    return None if found is None else Cue(found)
