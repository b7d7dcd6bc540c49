"""Networks that no library keeps, under the names their published weights have. Nothing here reads a file."""
