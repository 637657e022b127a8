"""What a scene is made of: the named values of each property, their words, and the pairs kept out of training."""

from __future__ import annotations

COLORS: dict[str, tuple[int, int, int]] = {  # RGB at full brightness
    "red": (222, 28, 36),
    "orange": (255, 138, 0),
    "yellow": (252, 226, 28),
    "green": (24, 150, 52),
    "cyan": (28, 208, 218),
    "blue": (32, 62, 222),
    "purple": (128, 36, 172),
    "pink": (255, 112, 188),
    "brown": (122, 68, 26),
    "black": (22, 22, 26),
}

SHAPES: dict[str, float] = {  # the most a shape is turned, degrees either way
    "circle": 0.0,
    "square": 8.0,
    "triangle": 8.0,
    "star": 8.0,
    "cross": 8.0,
    "ring": 0.0,
}

SIZES: dict[str, tuple[float, float]] = {  # diameter in pixels of a 96-pixel image; the gaps make "largest" clear
    "small": (14.0, 16.0),
    "medium": (27.0, 31.0),
    "large": (47.0, 53.0),
}

TEXTURES = ("plain", "striped", "dotted", "checked")

BACKGROUNDS = ("plain", "gradient", "noisy", "grid", "striped", "split")

TINTS: dict[str, tuple[int, int, int]] = {  # pale, so that every object stands out
    "grey": (188, 188, 188),
    "cream": (240, 222, 172),
    "mint": (178, 232, 196),
    "lilac": (214, 190, 240),
    "sky": (176, 212, 248),
}

HELD_OUT: tuple[tuple[str, str], ...] = (  # each shape once: it is known and so is the colour, their meeting is new
    ("red", "triangle"),
    ("orange", "ring"),
    ("yellow", "star"),
    ("green", "circle"),
    ("cyan", "cross"),
    ("blue", "square"),
)

SYNONYMS: dict[str, tuple[str, ...]] = {
    "purple": ("violet",),
    "cyan": ("turquoise",),
    "circle": ("disc",),
    "square": ("box",),
    "cross": ("plus sign",),
    "ring": ("hoop",),
    "small": ("little", "tiny"),
    "large": ("big", "huge"),
    "striped": ("stripy",),
    "dotted": ("spotted",),
    "checked": ("checkered",),
}

PLURALS = {"box": "boxes", "cross": "crosses"}  # the others take an s

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def plural(noun: str) -> str:
    """`star` -> `stars`, `box` -> `boxes`."""
    return PLURALS.get(noun, noun + "s")


def article(phrase: str) -> str:
    """The phrase with its indefinite article: `an orange ring`."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def listing(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
