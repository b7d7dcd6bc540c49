"""The text sides of the published models: words to tokens, tokens to vectors, vectors to prototypes."""
