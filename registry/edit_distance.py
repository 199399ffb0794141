"""How far two texts are apart."""


def edit_distance(first: str, second: str) -> int:
    """The fewest insertions, deletions and replacements of one character that make one text the other (Levenshtein).

    A column of the table of distances is two numbers, a bit for each character of `first`: where it rises by one from
    the row above, and where it falls (Hyyrö, "A Bit-Vector Algorithm for Computing Levenshtein and Damerau Edit
    Distances", 2003, after Myers 1999). Texts of a thousand characters take milliseconds.
    """
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    every, last = (1 << len(first)) - 1, 1 << (len(first) - 1)
    rises, falls, distance = every, 0, len(first)
    for character in second:
        alike = places.get(character, 0)
        vertical = alike | falls
        diagonal = (((alike & rises) + rises) ^ rises) | alike
        up, down = (falls | ~(diagonal | rises)) & every, rises & diagonal
        distance += bool(up & last) - bool(down & last)
        up, down = up << 1 | 1, down << 1
        rises, falls = (down | ~(vertical | up)) & every, up & vertical & every
    return distance
