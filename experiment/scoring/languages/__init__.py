"""Rules by language: one module each, named by its code (ISO 639-1) and found by that name; see ``scoring.rules``."""
