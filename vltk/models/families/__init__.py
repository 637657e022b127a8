"""Model families; each answers the verbs of objectives and evaluators."""
