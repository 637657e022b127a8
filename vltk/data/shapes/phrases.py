"""Every phrase of the grammar, as data: `{slots}` are filled by `language.py`, `questions.py` and `stories.py`.

The vocabulary is read from here and from the lexicon, so a word that stands in neither is never written.
"""

from __future__ import annotations

GROUNDS: dict[str, tuple[str, ...]] = {  # the first phrase is the plainest
    "plain": ("on a plain {tint} background", "on plain {tint}", "against a flat {tint} background"),
    "gradient": (
        "on a {tint} gradient",
        "on a fading {tint} background",
        "against {tint} that grows darker to one side",
    ),
    "noisy": ("on a noisy {tint} background", "on {tint} noise", "against a grainy {tint} background"),
    "grid": ("on a {tint} grid", "on a {tint} background with grid lines", "against a {tint} grid"),
    "striped": ("on a striped {tint} background", "on {tint} stripes", "against a {tint} background with stripes"),
    "split": ("on a split {tint} background", "on a half dark {tint} background", "against {tint} split in two"),
}

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "higher than"),
    "below": ("below", "under"),
}
OPPOSITES = {"left": "right", "right": "left", "above": "below", "below": "above"}

PLACES: dict[tuple[int, int], tuple[str, ...]] = {  # (row, column) of a 3 x 3 division
    (0, 0): ("in the top left", "near the top left corner"),
    (0, 1): ("at the top", "near the top edge"),
    (0, 2): ("in the top right", "near the top right corner"),
    (1, 0): ("at the left", "near the left edge"),
    (1, 1): ("in the middle", "in the centre"),
    (1, 2): ("at the right", "near the right edge"),
    (2, 0): ("in the bottom left", "near the bottom left corner"),
    (2, 1): ("at the bottom", "near the bottom edge"),
    (2, 2): ("in the bottom right", "near the bottom right corner"),
}

THINGS = (("object", "objects"), ("shape", "shapes"), ("figure", "figures"))

# Captions.
FULL_ONE = ("{a} {place} {ground}", "{ground}, {a} {place}", "one object: {a} {place} {ground}")
FULL_TWO = ("{a} {relation} {b} {ground}", "{ground}, {a} {relation} {b}", "two objects: {a} {relation} {b} {ground}")
FULL_MANY = (
    "{order}: {things} {ground}",
    "{ground}, {order}: {things}",
    "{things}, {order}, {ground}",
    "{number} objects {order}: {things} {ground}",
)
ORDERS = {"x": ("from left to right", "left to right"), "y": ("from top to bottom", "top to bottom")}
GROUPED = (
    "{number}: {groups} {ground}",
    "{groups} {ground}",
    "a picture of {groups}",
    "the picture shows {groups}",
    "an image with {groups} {ground}",
    "{number} in all, {groups}, {ground}",
)
RELATED = (
    "{a} is {relation} {b}",
    "{a} is {relation} {b} {ground}",
    "{ground} {a} lies {relation} {b}",
    "{a} sits {relation} {b}, {number} in all",
    "there is {a} {relation} {b}",
)
BETWEEN = (
    "{a} is between {b} and {c} {ground}",
    "between {b} and {c} lies {a}",
    "{a} between {b} and {c}, {number} in all",
)
LARGEST = (
    "the largest of {number} {ground} is {a}",
    "{number} {ground}, the largest is {a}",
    "{a} is the biggest of {number}",
    "{number}, and the biggest one is {a} {place}",
)
SINGLE = ("a single {name} {ground}", "just one object, {a}, {ground}", "only {a} {place}", "there is only {a} here")
EXTREMES = (
    "{left} on the far left and {right} on the far right {ground}",
    "{left} is farthest left, {right} is farthest right",
    "{top} at the very top and {bottom} at the very bottom",
)
PLACED = ("{a} {place} and {others} {ground}", "{a} is {place}, with {others}", "{place} there is {a}")
OTHERS = ("{number} other object", "{number} other objects")
COLORS_ONLY = ("{colors} objects {ground}", "{number} {ground} in {colors}", "the colours are {colors}, {number}")
ONE_COLOR = ("all {number} are {colors}", "{number} {ground}, all {colors}")

# Questions.
COUNT_QUESTIONS = ("how many objects are there?", "how many shapes do you see?", "what is the number of objects?")
COLOR_COUNT_QUESTIONS = ("how many {color} objects are there?", "how many objects are {color}?")
LARGEST_QUESTIONS: dict[str, tuple[str, ...]] = {
    "color": ("what colour is the largest object?", "which colour has the biggest shape?"),
    "shape": ("what shape is the largest object?", "which shape is the biggest?"),
    "texture": (
        "what texture does the largest object have?",
        "is the largest object plain, striped, dotted or checked?",
    ),
}
BACKGROUND_QUESTIONS = ("what colour is the background?", "what is the colour behind the objects?")
EXISTS_QUESTIONS = ("is there {a}?", "does the picture show {a}?", "can you see {a}?")
RELATION_QUESTIONS = ("is {a} {relation} {b}?",)
ANSWERS = ("yes", "no")

# Longer texts.
OPENINGS = (
    "The picture shows {number} {ground}.",
    "There are {number} in this scene.",
    "Here we see {number} {ground}.",
    "You see {number} {ground}.",
    "This is a drawing of {groups} {ground}.",
    "Someone drew {groups}.",
)
THING_SENTENCES = (
    "{a} is {place}.",
    "{place} there is {a}.",
    "You can find {a} {place}.",
    "{a} lies {place}.",
    "One of the objects is {a}.",
)
PAIR_SENTENCES = (
    "{a} is {relation} {the_b}.",
    "{a} can be seen {relation} {the_b}.",
    "{relation} {the_b} there is {a}.",
    "If you look {relation} {the_b}, you see {a}.",
)
CLOSINGS = (
    "The largest object is {the_largest}.",
    "{the_largest} is bigger than all the others.",
    "Together they are {number}.",
    "The colours are {colors}.",
    "Nothing else is in the picture.",
)
CLOSINGS_ONE = ("It is the only object.", "Nothing else is in the picture.", "No other shape can be seen.")
STORY_STARTS = (
    "First {a} was drawn {place} {ground}.",
    "At the start there was only {a} {place}.",
    "A child put {a} {place} {ground}.",
    "The painter began with {a} {ground}.",
)
STORY_STEPS = (
    "Then {b} was put {relation} {the_a}.",
    "After that {b} came, {relation} {the_a}.",
    "Next, {b} was added {relation} {the_a}.",
    "Later someone placed {b} {relation} {the_a}.",
    "Now there was also {b} {place}.",
)
STORY_ENDS = (
    "In the end there were {number}.",
    "So the picture was done, with {number} {ground}.",
    "At last {the_a} was taken away, and {fewer} stayed.",
    "The largest of them was {the_largest}.",
)
STORY_ENDS_ONE = ("So the picture was done.", "Nothing else was added.", "It has been alone there ever since.")
FACTS: dict[str, tuple[str, ...]] = {
    "circle": ("A circle is round and has no corners.", "Every point of a circle is equally far from its centre."),
    "square": ("A square has four equal sides and four corners.", "A square is as high as it is wide."),
    "triangle": (
        "A triangle has three sides and three corners.",
        "No shape with straight sides has fewer corners than a triangle.",
    ),
    "star": ("A star has five points.", "Between two points of a star the edge turns inwards."),
    "cross": ("A cross has four equal arms.", "A cross is made of two bars that meet in the middle."),
    "ring": ("A ring is a circle with a hole in the middle.", "You can see the background through a ring."),
}
TEXTURE_FACTS: dict[str, tuple[str, ...]] = {
    "plain": ("A plain object has the same colour all over.",),
    "striped": ("A striped object has light and dark lines side by side.",),
    "dotted": ("A dotted object is covered with small spots.",),
    "checked": ("A checked object is covered with light and dark fields, like a board for games.",),
}
RULES: dict[int, tuple[str, ...]] = {  # by the number of different objects a rule speaks of
    1: (
        "{a} stays {a}, however {size} it is drawn.",
        "If you have {number} and take one away, you keep {fewer}.",
        "{number} and one more make {more}.",
    ),
    2: ("If {a} is {relation} {b}, then {the_b} is {opposite} {the_a}.", "{a} does not become {b} when it is turned."),
    3: (
        "When {a} is {relation} {b} and {the_b} is {relation} {c}, then {the_a} is {relation} {the_c}.",
        "{a} and {b} are {two}, and with {c} they are {three}.",
    ),
}
