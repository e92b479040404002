"""Translation line by line: texts to lines and back, prompts with examples, and the rows that carry both languages."""
