"""What a pair changes in a text, and whether its grammar looks broken."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from tensorflow_model_remediation_ext.counterfactual.swaps import english_rules

_TOKEN = re.compile(r"\w+|[^\w\s]|\s+")
_ARTICLE = re.compile(r"\b([Aa]n?) (?=\w)")
_JOINT = " | "  # Between the strings of one example.
_BROKEN = {
    "a space before a comma or a stop": re.compile(r"\w [,.;!?](?:\s|$)"),
    "an article before nothing": re.compile(
        r"(?i)\b(?:an?|the)(?:\s*$|\s*[,.;!?])"
    ),
    "a doubled word": re.compile(r"(?i)\b(the|an?|of|to|is|and|or) \1\b"),
    "a doubled space": re.compile(r"\S  \S"),
    "a comma after nothing": re.compile(r"^\s*[,;]"),
}


class Change:
    """The change of one pair.

    Args:
        originals: The strings of the text; more than one where an example has
            several, of which those that stay as they are do not count.
        counterfactuals: What they become.
        known: A pattern of the terms. Those that stood next to one another
            and are gone count one by one.

    Attributes:
        words: What words become, as "he -> she".
        marked: The original with that marked, as "[he -> she] ran".
        edited: What it becomes.
        faults: How the grammar of it looks broken.
    """

    def __init__(
        self,
        originals: Sequence[str],
        counterfactuals: Sequence[str],
        known: re.Pattern[str],
    ):
        changed = _changed(originals, counterfactuals)
        found = [_changes(a, b, known) for a, b in changed]
        self.words = [change for some, _ in found for change in some]
        self.marked = _JOINT.join(marked for _, marked in found)
        self.edited = _JOINT.join(edited for _, edited in changed)
        self.faults = _faults(changed)


def _changed(originals, counterfactuals):
    """Returns the strings of an example that differ, beside what they are."""
    if len(originals) != len(counterfactuals):
        return [(" ".join(originals), " ".join(counterfactuals))]
    both = zip(originals, counterfactuals, strict=True)
    return [(a, b) for a, b in both if a != b]


def _changes(original, edited, known):
    """Returns what words become, and the original with that marked."""
    old, new = _TOKEN.findall(original), _TOKEN.findall(edited)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    changes, marked = [], ""
    for kind, i, j, k, m in matcher.get_opcodes():
        before, after = "".join(old[i:j]), "".join(new[k:m])
        if kind == "equal":
            marked += before
            continue
        space = before[: len(before) - len(before.lstrip())]
        rest = before[len(before.rstrip()) :] if before.strip() else ""
        marked += f"{space}[{before.strip()} -> {after.strip()}]{rest}"
        old_words, new_words = before.strip().lower(), after.strip().lower()
        if old_words and not new_words:
            gone = known.findall(old_words) or [old_words]
            changes += [f"{term} -> " for term in gone]
        elif old_words or new_words:
            changes.append(f"{old_words} -> {new_words}")
    return changes, marked


def _faults(changed):
    """Returns how the grammar of edited strings looks broken."""
    faults = [
        how
        for how, pattern in _BROKEN.items()
        if any(
            len(pattern.findall(edited)) > len(pattern.findall(original))
            for original, edited in changed
        )
    ]
    if any(_disagreeing(b) > _disagreeing(a) for a, b in changed):
        faults.append('"a" where "an" is said, or the reverse')
    return faults


def _disagreeing(text):
    return sum(
        _article(text[match.end() :]) != match[1].lower()
        for match in _ARTICLE.finditer(text)
    )


def _article(following):
    for pattern, article in english_rules.ARTICLES:
        if re.match(pattern, following):
            return article
    return "a"
