"""Banks: a programme and the head that asks its phrases of one encoder; built, kept, and exchanged while running."""
