"""The nouns: frozen values without any input or output."""
