"""The report on every encoder: each parity case measured in a process of its own, kept, and told on one page."""
