"""Linear probe: exact multinomial logistic regression on frozen features, its penalty chosen as CLIP does."""
