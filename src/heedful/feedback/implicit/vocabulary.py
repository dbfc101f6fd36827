"""Words that carry no topic, and everyday words that stand for one another."""

from __future__ import annotations

from collections.abc import Mapping

# English, German, Spanish, French and Portuguese together: nobody says which language a message is in.
_STOP_WORDS = """
a aber able about actually after again al all already als also am an and another answer any anybody
anything are as ask asked asking at au auch auf aus aux avec be because been before bei being best better
between bitte both but by c can ce ces cet cette com combien come comment como con continue could cual
cuando cuanta cuanto d da dans das dass de dein del dem den denn der des dich did die dir do doch does
doing dois donde done dos down du during e each eigentlich ein eine einem einen einer el ela ele elle em
en er es esa eso est esta estar este esto et etc ete eu even ever every explain extra faco faire fait far
fazer find first foi for from fue fur get getting gib gibt give gives go going good got ha habe haben habt
hacer had hago has hast hat have having hay he hello help her here hey hi him his how i ich if ihr ihre il
ils im in instead into is ist it its j ja je just kann keep kein keine kindly know konnen konnte l la las
le les let lets like ll lo look looking los lot m ma mach made mais make makes mal man many mas may maybe
me mean means mein meine mes meu mi mich might mine minha mir mit mochte mon more most much muito must muy
my n na nach nao nas ne need needs never next nicht no noch non nos not notre nous now nur o ob oder of
off okay on once onde one ones only or os other ou oui our out over own par para pas per perhaps pero peut
peux please plus pode por possible posso pour pourquoi puede puedes puedo puis qu qual quand quando quanto
que quel quelle quem quero question qui quien quiero quoi re really right s said same sans sao say se see
sem ser seu shall she should show si sich sie sim sin since sind so sobre some somebody someone something
son sont still story su sua such sur sure t ta take tambem tambien te tell tem tengo than thank thanks
that the their them then there these they thing things think this those through tiene to ton too tres
tried try tu uber um uma umas un una unas und under unos uns until up us use used using ve very veux via
von vor votre vous wann want wants war warum was way ways we welche welcher welches well wenn wer werden
were what when where which while who whom whose why wie will wir wird with without wo would y ya yes yet
you your yours zeig zu zum zur
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Words that name one thing in everyday questions. A paraphrase swaps within a row.
_ROWS = """
fix repair solve resolve correct troubleshoot debug
delete remove erase clear uninstall rid wipe
buy purchase order shop
begin start launch commence
stop prevent avoid halt end disable mute silence leave
fast quick speed rapid quickly faster
slow slowly sluggish lag long
cost price fee charge expensive cheap pay
big large size huge
error bug problem issue fail failure crash broken trouble
change modify edit alter switch adjust update move convert
create build generate write make produce compose draft set setup
reduce lower decrease cut less lessen shrink minimize
increase raise boost grow improve higher
choose pick select recommend suggest
trip travel journey vacation holiday visit
doctor physician medic
medicine medication drug pill
kid child children toddler baby newborn
car vehicle auto
house home apartment flat
job work employment career
money cash fund
refund reimbursement repay return
cancel terminate revoke resilier annuler kundigen
login signin log sign access account
password passcode credential passwort kennwort
email mail inbox
phone mobile cell smartphone
picture photo image
movie film
gift present
meal dish recipe dinner lunch food eat cook
substitute replace replacement alternative swap
daily day everyday
month monthly
year yearly annual annually
week weekly
differ difference compare comparison versus vs better
summary summarize summarise short shorten brief main core gist
reset recover restore
hurt pain ache sore
safe danger dangerous harmful risk allowed
arrive arrival deliver delivery ship shipment shipping
package parcel
flight plane fly airplane airline
couch sofa
cat kitty kitten
dog puppy
rest recovery break sleep
connect connection link pair
see view show display visible look watch
find locate search where
lose lost losing missing
keep retain stay hold
undo revert back rollback
require requirement need must
document paper form
deadline due date file
landlord owner
deposit bond
js javascript
py python
db database
k8s kubernetes
max maximum most
min minimum least
temperature temp hot heat
expire expiry expiration valid
bill invoice
exercise workout training train
stain spot
clean wash
learn study
old age
explain understand describe
customer client
env environment
var vars variable variables
config configuration
repo repository
app application
info information
doc docs documentation
pause freeze suspend
tap faucet
drip leak leaking dripping
contract agreement
bankrupt bankruptcy
night midnight
chart graph plot diagram
sad melancholic
quit resign resignation notice
off bad spoil spoiled rotten
cv resume
company business firm
people person user
late delay overdue
twice double two duplicate
split divide separate
combine merge join together
block ban prohibit forbid forbidden illegal
allow permit permitted allowed legal law lawful may
hear sound audio noise volume
light led lamp
dizzy spin faint lightheaded
student university college school uni pupil
discount cheaper less sale coupon voucher deal off
salary wage earn income pay
rent lease tenancy
enter entry come visit
tourist visitor
papers documents paperwork
department team desk
policy rule
back return send
arrive expect come get
park parking
turn switch enable activate
exam test
miss sick absent ill
stuck hang hangs frozen
hair haircut barber
poison poisonous toxic harmful
difficult hard tough
easy simple
happen occur
steal stolen theft
child son daughter
wife husband partner spouse
baggage luggage suitcase bag
hotel room stay
restaurant table
ticket seat
bus train coach
tea coffee
dirty mess
grow plant garden
tired exhausted fatigue sleepy
sleep asleep insomnia bed
weight fat kilo pounds heavy weigh
travel abroad foreign country
share send
column field cell
row line
folder directory
function method
empty blank
charge billed debit
close shut
near nearby closest nearest
test check verify
neighbour neighbor
"""


def _rows() -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for row, words in enumerate(_ROWS.strip().splitlines()):
        for word in words.split():
            found.setdefault(word, set()).add(row)
    return {word: frozenset(rows) for word, rows in found.items()}


SYNONYMS: Mapping[str, frozenset[int]] = _rows()
