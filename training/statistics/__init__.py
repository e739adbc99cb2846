"""How much of a result is left after luck, search, dependence and small samples: every figure names its paper."""
