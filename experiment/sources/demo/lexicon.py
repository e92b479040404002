"""The word tables of the demo world: every Finnish form that is used is written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "fi"]
LANGUAGES: tuple[Language, ...] = ("en", "fi")


@dataclass(frozen=True)
class Word:
    """A noun or an adjective: English, then Finnish nominative, genitive, partitive."""

    en: str
    fi: str
    gen: str
    part: str


@dataclass(frozen=True)
class Town:
    """A town; ``about`` is the elative, which verbs such as "pitää" ask for."""

    en: str
    gen: str
    at: str
    from_: str
    to: str
    about: str


@dataclass(frozen=True)
class Place:
    """A place with its English preposition and its Finnish local cases."""

    en: str
    preposition: str
    fi: str
    at: str
    to: str


@dataclass(frozen=True)
class Person:
    """A first name with its Finnish forms, a trait and a pet."""

    name: str
    pronoun: str
    gen: str
    about: str
    on: str
    trait: str
    pet_look: str
    pet: str


@dataclass(frozen=True)
class Profession:
    """A profession, what is done in it, where and with what."""

    en: str
    fi: str
    gen: str
    about: str
    place: str
    does_en: str
    does_fi: str
    did_en: str
    did_fi: str
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """A transitive verb: present and past in both languages, and the Finnish object's case."""

    en: str
    en_past: str
    fi: str
    fi_past: str
    case: str


def _rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


def _words(table: str) -> dict[str, Word]:
    return {row[0]: Word(*row) for row in _rows(table)}


THINGS = _words("""
boat vene veneen venettä
net verkko verkon verkkoa
lamp lamppu lampun lamppua
bucket ämpäri ämpärin ämpäriä
oven uuni uunin uunia
bowl kulho kulhon kulhoa
tray pelti pellin peltiä
spoon lusikka lusikan lusikkaa
book kirja kirjan kirjaa
pen kynä kynän kynää
map kartta kartan karttaa
board taulu taulun taulua
bag laukku laukun laukkua
phone puhelin puhelimen puhelinta
car auto auton autoa
clock kello kellon kelloa
shovel lapio lapion lapiota
rake harava haravan haravaa
hose letku letkun letkua
hammer vasara vasaran vasaraa
anvil alasin alasimen alasinta
saw saha sahan sahaa
broom harja harjan harjaa
computer tietokone tietokoneen tietokonetta
guitar kitara kitaran kitaraa
piano piano pianon pianoa
drum rumpu rummun rumpua
violin viulu viulun viulua
paintbrush sivellin siveltimen sivellintä
chair tuoli tuolin tuolia
table pöytä pöydän pöytää
helmet kypärä kypärän kypärää
pot kattila kattilan kattilaa
knife veitsi veitsen veistä
needle neula neulan neulaa
thread lanka langan lankaa
mirror peili peilin peiliä
tractor traktori traktorin traktoria
cart kärry kärryn kärryä
shelf hylly hyllyn hyllyä
camera kamera kameran kameraa
key avain avaimen avainta
box laatikko laatikon laatikkoa
coat takki takin takkia
""")

ANIMALS = _words("""
dog koira koiran koiraa
cat kissa kissan kissaa
horse hevonen hevosen hevosta
cow lehmä lehmän lehmää
sheep lammas lampaan lammasta
hen kana kanan kanaa
rabbit kani kanin kania
parrot papukaija papukaijan papukaijaa
goat vuohi vuohen vuohta
duck ankka ankan ankkaa
""")

ADJECTIVES = _words("""
old vanha vanhan vanhaa
new uusi uuden uutta
small pieni pienen pientä
big suuri suuren suurta
beautiful kaunis kauniin kaunista
red punainen punaisen punaista
blue sininen sinisen sinistä
green vihreä vihreän vihreää
black musta mustan mustaa
white valkoinen valkoisen valkoista
yellow keltainen keltaisen keltaista
brown ruskea ruskean ruskeaa
grey harmaa harmaan harmaata
cheerful iloinen iloisen iloista
wise viisas viisaan viisasta
calm rauhallinen rauhallisen rauhallista
young nuori nuoren nuorta
good hyvä hyvän hyvää
strong vahva vahvan vahvaa
heavy raskas raskaan raskasta
light kevyt kevyen kevyttä
expensive kallis kalliin kallista
cheap halpa halvan halpaa
clean puhdas puhtaan puhdasta
kind ystävällinen ystävällisen ystävällistä
funny hauska hauskan hauskaa
""")

LOOKS: tuple[str, ...] = (
    *("old", "new", "small", "big", "beautiful", "red", "blue", "green", "black", "white"),
    *("yellow", "brown", "grey", "good", "heavy", "light", "expensive", "cheap", "clean"),
)

TOWNS: tuple[Town, ...] = tuple(
    Town(*row)
    for row in _rows("""
Helsinki Helsingin Helsingissä Helsingistä Helsinkiin Helsingistä
Oulu Oulun Oulussa Oulusta Ouluun Oulusta
Tampere Tampereen Tampereella Tampereelta Tampereelle Tampereesta
Turku Turun Turussa Turusta Turkuun Turusta
Kuopio Kuopion Kuopiossa Kuopiosta Kuopioon Kuopiosta
Lahti Lahden Lahdessa Lahdesta Lahteen Lahdesta
Vaasa Vaasan Vaasassa Vaasasta Vaasaan Vaasasta
Pori Porin Porissa Porista Poriin Porista
Joensuu Joensuun Joensuussa Joensuusta Joensuuhun Joensuusta
Rauma Rauman Raumalla Raumalta Raumalle Raumasta
Kotka Kotkan Kotkassa Kotkasta Kotkaan Kotkasta
Kemi Kemin Kemissä Kemistä Kemiin Kemistä
Rovaniemi Rovaniemen Rovaniemellä Rovaniemeltä Rovaniemelle Rovaniemestä
Kajaani Kajaanin Kajaanissa Kajaanista Kajaaniin Kajaanista
Mikkeli Mikkelin Mikkelissä Mikkelistä Mikkeliin Mikkelistä
""")
)

PLACES: dict[str, Place] = {
    row[0]: Place(*row)
    for row in _rows("""
market at tori torilla torille
shore on ranta rannalla rannalle
forest in metsä metsässä metsään
park in puisto puistossa puistoon
library at kirjasto kirjastossa kirjastoon
school at koulu koulussa kouluun
shop in kauppa kaupassa kauppaan
harbour in satama satamassa satamaan
garden in puutarha puutarhassa puutarhaan
village in kylä kylässä kylään
station at asema asemalla asemalle
field in pelto pellolla pellolle
bakery at leipomo leipomossa leipomoon
hospital at sairaala sairaalassa sairaalaan
forge in paja pajassa pajaan
cafe in kahvila kahvilassa kahvilaan
theatre at teatteri teatterissa teatteriin
restaurant at ravintola ravintolassa ravintolaan
""")
}

PEOPLE: tuple[Person, ...] = tuple(
    Person(*row)
    for row in _rows("""
Aino she Ainon Ainosta Ainolla kind small dog
Matti he Matin Matista Matilla calm old cat
Liisa she Liisan Liisasta Liisalla cheerful brown horse
Eero he Eeron Eerosta Eerolla wise white goat
Anna she Annan Annasta Annalla young black cat
Pekka he Pekan Pekasta Pekalla old big dog
Kaisa she Kaisan Kaisasta Kaisalla funny grey rabbit
Antti he Antin Antista Antilla strong black horse
Maija she Maijan Maijasta Maijalla wise white hen
Juho he Juhon Juhosta Juholla young brown dog
Helmi she Helmin Helmistä Helmillä calm green parrot
Oskari he Oskarin Oskarista Oskarilla kind white sheep
Sanna she Sannan Sannasta Sannalla strong big cow
Timo he Timon Timosta Timolla funny yellow duck
Tuula she Tuulan Tuulasta Tuulalla old beautiful cat
Ville he Villen Villestä Villellä cheerful white rabbit
Elina she Elinan Elinasta Elinalla wise blue parrot
Kalle he Kallen Kallesta Kallella calm small goat
Noora she Nooran Noorasta Nooralla young black sheep
Lauri he Laurin Laurista Laurilla kind old dog
""")
)


def _profession(line: str) -> Profession:
    names, place, does_en, does_fi, did_en, did_fi, tools = (part.strip() for part in line.split("|"))
    en, fi, gen, about = names.split()
    return Profession(en, fi, gen, about, place, does_en, does_fi, did_en, did_fi, tuple(tools.split()))


PROFESSIONS: tuple[Profession, ...] = tuple(
    _profession(line)
    for line in """
fisher kalastaja kalastajan kalastajasta | harbour | sells fish | myy kalaa | sold fish | myi kalaa | boat net lamp bucket
baker leipuri leipurin leipurista | bakery | bakes bread | leipoo leipää | baked bread | leipoi leipää | oven bowl spoon tray
teacher opettaja opettajan opettajasta | school | teaches children | opettaa lapsia | taught children | opetti lapsia | book pen map board
doctor lääkäri lääkärin lääkäristä | hospital | helps patients | auttaa potilaita | helped patients | auttoi potilaita | bag phone car clock
gardener puutarhuri puutarhurin puutarhurista | garden | grows flowers | kasvattaa kukkia | grew flowers | kasvatti kukkia | shovel rake hose bucket
smith seppä sepän sepästä | forge | makes tools | tekee työkaluja | made tools | teki työkaluja | hammer anvil saw broom
writer kirjailija kirjailijan kirjailijasta | cafe | writes stories | kirjoittaa tarinoita | wrote stories | kirjoitti tarinoita | pen book computer lamp
musician muusikko muusikon muusikosta | theatre | plays songs | soittaa lauluja | played songs | soitti lauluja | guitar piano drum violin
artist taiteilija taiteilijan taiteilijasta | shore | paints pictures | maalaa kuvia | painted pictures | maalasi kuvia | paintbrush bucket chair mirror
builder rakentaja rakentajan rakentajasta | village | builds houses | rakentaa taloja | built houses | rakensi taloja | saw hammer shovel helmet
cook kokki kokin kokista | restaurant | makes soup | keittää keittoa | made soup | keitti keittoa | pot knife spoon oven
tailor räätäli räätälin räätälistä | shop | sews clothes | ompelee vaatteita | sewed clothes | ompeli vaatteita | needle thread mirror table
farmer maanviljelijä maanviljelijän maanviljelijästä | field | grows potatoes | viljelee perunoita | grew potatoes | viljeli perunoita | tractor cart shovel bucket
librarian kirjastonhoitaja kirjastonhoitajan kirjastonhoitajasta | library | lends books | lainaa kirjoja | lent books | lainasi kirjoja | computer shelf pen chair
photographer valokuvaaja valokuvaajan valokuvaajasta | forest | takes pictures | ottaa kuvia | took pictures | otti kuvia | camera bag lamp car
shopkeeper kauppias kauppiaan kauppiaasta | market | sells apples | myy omenoita | sold apples | myi omenoita | table box key clock
""".strip().splitlines()  # noqa: E501
)

# "gen": the deed is complete, so the object is in the genitive; "part": the verb asks for the partitive.
VERBS: tuple[Verb, ...] = tuple(
    Verb(*(part.strip() for part in line.split("|")))
    for line in """
buys | bought | ostaa | osti | gen
sells | sold | myy | myi | gen
finds | found | löytää | löysi | gen
repairs | repaired | korjaa | korjasi | gen
borrows | borrowed | lainaa | lainasi | gen
brings | brought | tuo | toi | gen
forgets | forgot | unohtaa | unohti | gen
sees | saw | näkee | näki | gen
hides | hid | piilottaa | piilotti | gen
washes | washed | pesee | pesi | gen
gets | got | saa | sai | gen
takes | took | ottaa | otti | gen
carries | carried | kantaa | kantoi | part
needs | needed | tarvitsee | tarvitsi | part
uses | used | käyttää | käytti | part
looks for | looked for | etsii | etsi | part
waits for | waited for | odottaa | odotti | part
looks at | looked at | katselee | katseli | part
praises | praised | kehuu | kehui | part
shows | showed | esittelee | esitteli | part
""".strip().splitlines()
)

TIMES_NOW: tuple[tuple[str, str], ...] = (
    ("today", "tänään"),
    ("this morning", "tänä aamuna"),
    ("on Saturdays", "lauantaisin"),
    ("every summer", "joka kesä"),
    ("every winter", "joka talvi"),
)
TIMES_PAST: tuple[tuple[str, str], ...] = (
    ("Yesterday", "Eilen"),
    ("Last week", "Viime viikolla"),
    ("Last summer", "Viime kesänä"),
    ("Last winter", "Viime talvena"),
    ("On Monday", "Maanantaina"),
)
ANIMAL_DEEDS: tuple[tuple[str, str], ...] = (
    ("sleeps", "nukkuu"),
    ("runs", "juoksee"),
    ("eats", "syö"),
    ("waits", "odottaa"),
    ("plays", "leikkii"),
)


def article(phrase: str) -> str:
    """The English phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
