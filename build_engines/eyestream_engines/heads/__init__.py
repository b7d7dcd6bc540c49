"""Published models' ways of scoring as ScoreHeads: zero-shot texts, prototypes, probes, adapters, classifiers."""
