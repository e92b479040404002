"""What a plan costs before it is launched: time, billed GPU-hours and memory, from formulas and from the store."""
