"""langdetect's detector with the same answers, sooner: what it does character by character is done word by word here.

In langdetect n-grams begin anew at every space, so those of a word do not depend on its neighbours, and a word that
comes again need not be taken apart again.
"""

from __future__ import annotations

import functools
import re

import numpy as np
from langdetect.detector import Detector
from langdetect.detector_factory import DetectorFactory
from langdetect.utils.ngram import NGram
from numpy.typing import NDArray

_SPACES = re.compile(" {2,}")
_LATIN = re.compile("[A-z]")  # as langdetect has it, with what stands between 'Z' and 'a'
_NOT_LATIN = re.compile("[\u0300-\U0010ffff]")


class _Normal(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = found = str(NGram.normalize(chr(code)))
        return found


_NORMAL = _Normal()


class FastFactory(DetectorFactory):  # type: ignore[misc]  # langdetect is not typed
    """Makes detectors from the profiles that another factory has loaded, all with the same seed."""

    def __init__(self, loaded: DetectorFactory, seed: int) -> None:
        super().__init__()
        self.langlist, self.word_lang_prob_map = loaded.langlist, loaded.word_lang_prob_map
        self.seed = seed
        known = self.word_lang_prob_map
        self.known_ngrams = functools.lru_cache(1 << 16)(lambda word: tuple(filter(known.__contains__, _ngrams(word))))
        self.weights = functools.lru_cache(None)(lambda ngram: np.array(known[ngram]))

    def _create_detector(self) -> FastDetector:
        return FastDetector(self)


class FastDetector(Detector):  # type: ignore[misc]
    """Detects what ``langdetect.detector.Detector`` detects with the same seed; for one text each."""

    def __init__(self, factory: FastFactory) -> None:
        super().__init__(factory)
        self.factory = factory
        self.text: str = ""

    def append(self, text: str) -> None:
        """Take the text: its first 10,000 characters without addresses, spaces single."""
        text = self.MAIL_RE.sub(" ", self.URL_RE.sub(" ", text))
        self.text += _SPACES.sub(" ", NGram.normalize_vi(text)[: self.max_text_length])

    def cleaning_text(self) -> None:
        """Drop the Latin letters of a text that is mostly in another script."""
        if len(_LATIN.findall(self.text)) * 2 < len(_NOT_LATIN.findall(self.text)):
            self.text = _LATIN.sub("", self.text)

    def _extract_ngrams(self) -> list[str]:
        *words, last = self.text.translate(_NORMAL).split(" ")
        found: list[str] = []
        for word in words:
            if word:
                found.extend(self.factory.known_ngrams(word + " "))
        found.extend(self.factory.known_ngrams(last))
        return found

    def _init_probability(self) -> NDArray[np.float64]:
        return np.array(super()._init_probability())

    def _update_lang_prob(self, prob: NDArray[np.float64], word: str, alpha: float) -> bool:
        prob *= alpha / self.BASE_FREQ + self.factory.weights(word)
        return True

    def _normalize_prob(self, prob: NDArray[np.float64]) -> float:
        # numpy adds in another order than langdetect, which rounds otherwise.
        prob /= sum(prob.tolist())
        return float(prob.max())


def _ngrams(word: str) -> tuple[str, ...]:
    """The n-grams of one to three characters in langdetect's order, without those that end within capitals."""
    found: list[str] = []
    grams, capitals = " ", False
    for character in word:
        last = grams[-1]
        grams = (grams[1:] if len(grams) >= NGram.N_GRAM else grams) + character
        capitals = character.isupper() and (capitals or last.isupper())
        if not capitals:
            found += [gram for size in range(1, len(grams) + 1) if (gram := grams[-size:]) != " "]
    return tuple(found)
