"""From responses to verdicts: rule sets by language, lm_eval's checkers, language identification."""
