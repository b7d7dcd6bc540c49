"""Where pictures come in. `base` is the contract; each other module with a class of its own is one way to keep it."""
