"""Which texts of an image are kept, by their scores; each rule is a file."""
