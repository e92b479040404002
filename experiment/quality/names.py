"""The metrics' names and choices; importing this is quick."""

from __future__ import annotations

BLEU, CHRF, SPBLEU, COMET = "bleu", "chrf", "spbleu", "comet"
TITLES = {BLEU: "BLEU", CHRF: "chrF++", SPBLEU: "spBLEU", COMET: "COMET"}
OFFLINE = (BLEU, CHRF, SPBLEU)  # those that need no neural model

TOKENIZERS = ("flores101", "flores200")  # of spBLEU; the first is what the papers used
COMET_MODEL = "Unbabel/wmt22-comet-da"  # as in arXiv 2404.14122
