"""How many inflected Finnish forms are told to be of their word: simplemma, which is used, and NLTK's Snowball stemmer.

python -m benchmarks.inflection
"""

from __future__ import annotations

from nltk.stem.snowball import SnowballStemmer

from experiment.scoring.inflection import Lemmas

# Common words with forms that change the stem (gradation, vowels, plurals) and forms that do not.
FORMS = """
kauppa kaupan kaupassa kauppoja; käsi käden kättä käsissä; lapsi lapsia lapsen lasta;
vesi veden vettä; talo talossa taloja taloihin; mies miehen miestä miehiä;
hyvä hyvän hyviä parempi; juosta juoksin juoksee juostiin; tehdä teen tekee tehtiin;
katu kadun kadulla katuja; ihminen ihmisen ihmisiä ihmisten; kaunis kauniin kauniita;
opettaa opetan opetti opettanut; lukea luen lukee luki luettu; kirja kirjan kirjoja kirjoissa;
puhe puheen puheita; terve terveen terveitä; silta sillan siltoja; joki joen jokia; yö yön öitä;
nähdä näen näki nähty; valo valon valossa valoja; ajatus ajatuksen ajatuksia
"""
# Words that look alike and are none of each other's forms.
OTHERS = """
talo tilo; kuusi kuu; tuuli tuli; kauppa kaupunki; matka matto; luku lukko; kansa kanssa;
sana sanoa; katu kattaa; käsi käsky
"""


def groups(text: str) -> list[tuple[str, list[str]]]:
    """(word, forms) of each entry."""
    return [(words[0], words[1:]) for words in (entry.split() for entry in text.split(";"))]


def main() -> None:
    """Print how many forms each tells to be of their word, and how many other words it takes for forms."""
    lemmas, stemmer = Lemmas("fi"), SnowballStemmer("finnish")
    for name, of in (("simplemma", lemmas.of), ("Snowball", stemmer.stem)):
        found = [of(form) == of(word) for word, forms in groups(FORMS) for form in forms]
        wrong = [of(other) == of(word) for word, others in groups(OTHERS) for other in others]
        print(f"{name:10} {sum(found)} of {len(found)} forms, {sum(wrong)} of {len(wrong)} other words taken for forms")


if __name__ == "__main__":
    main()
