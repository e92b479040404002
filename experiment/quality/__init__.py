"""How good translations are: BLEU, chrF++, spBLEU and COMET, with their signatures, intervals and paired tests."""
