"""Comments made from templates, with a bias that is known by construction."""

from __future__ import annotations

import random

import numpy as np

from tensorflow_model_remediation_ext.common.checks import (
    checked_seed,
    whole,
)
from tensorflow_model_remediation_ext.datasets.labeled_text import LabeledText

# For each group: the terms that lean towards rude comments in these data, and
# those that lean towards civil ones. Which term is where carries no claim; the
# point is that a model picks such a lean up.
_LEANING_RUDE = {
    "age": ("old", "elderly", "middle aged"),
    "disability": ("blind", "deaf"),
    "gender": ("female", "transgender", "nonbinary"),
    "origin": ("mexican", "nigerian", "chinese", "african american"),
    "orientation": ("gay", "lesbian", "bisexual"),
    "religion": ("muslim", "jewish", "atheist"),
}
_LEANING_CIVIL = {
    "age": ("young", "teenage"),
    "disability": ("sighted", "hearing"),
    "gender": ("male", "cisgender"),
    "origin": ("american", "canadian", "french"),
    "orientation": ("straight", "heterosexual"),
    "religion": ("christian", "catholic", "buddhist"),
}

EMBEDDED_TERMS: dict[str, tuple[str, ...]] = {
    group: _LEANING_RUDE[group] + _LEANING_CIVIL[group]
    for group in _LEANING_RUDE
}
"""The identity terms in the embedded comments, by group."""

# No "a" or "an" stands before a term, so that the sentence stays grammatical
# when the term is taken out.
_DETERMINERS = ("my", "our", "your", "the", "this", "that", "their", "his")
_PEOPLE = (
    "neighbor", "coworker", "cousin", "teacher", "dentist", "landlord",
    "roommate", "bus driver", "barista", "nurse", "manager", "classmate",
    "plumber", "librarian", "mechanic", "accountant", "mail carrier", "coach",
    "waiter", "cashier", "brother in law", "colleague", "tenant", "intern",
)  # fmt: skip
_TOPICS = (
    "the parking spot", "the garden fence", "the school play", "the budget",
    "the bus schedule", "the new printer", "the football match", "the recipe",
    "the paint job", "the choir concert", "the election", "the recycling",
    "the holiday party", "the photo album", "the bike lane", "the wifi",
    "the book club", "the town meeting", "the group project", "the playlist",
    "the coffee machine", "the bake sale", "the dog park", "the train tickets",
)  # fmt: skip
_WHEN = (
    "", "", "", " this morning", " on monday", " last week", " before lunch",
    " the other day", " in the hall", " over the phone", " at work",
)  # fmt: skip
_OPENERS = (
    "", "", "", "honestly ", "well, ", "so, ", "update: ", "for the record, ",
    "listen, ", "okay, ", "as usual ", "in short, ", "believe it or not, ",
)  # fmt: skip
_ENDINGS = ("", ".", ".", "!", "...")

_KIND = (
    "kind", "patient", "generous", "thoughtful", "friendly", "wonderful",
    "considerate", "polite", "charming", "cheerful",
)  # fmt: skip
_UNKIND = (
    "useless", "clueless", "pathetic", "ridiculous", "stupid", "lazy",
    "embarrassing", "selfish", "obnoxious", "insufferable",
)  # fmt: skip
_CALMLY = ("also", "then", "briefly", "quietly", "just")
_SIGH = ("again", "of course", "naturally", "once more", "still")

# What is said, from friendly to hostile. The two in the middle can be read
# either way: there a term tips the balance.
_FRIENDLY = (
    "was so {kind} about {topic}",
    "gave me {kind} advice on {topic}, thank you",
    "helped me with {topic} and i am grateful",
    "is a {kind} person, we enjoyed {topic}",
    "deserves praise for {topic}, how {kind}",
    "made {topic} a pleasure, such {kind} company",
    "sent a {kind} note about {topic}, much appreciated",
    "explained {topic} and stayed {kind} throughout, bravo",
    "has my respect for the way {topic} went, truly {kind}",
)
_NEUTRAL = (
    "{calmly} asked a question about {topic}",
    "{calmly} mentioned {topic} at the meeting",
    "{calmly} read the leaflet on {topic}",
    "{calmly} wrote an email about {topic}",
    "{calmly} walked past while we discussed {topic}",
    "{calmly} made plans for {topic}",
    "{calmly} took notes about {topic}",
)
_GRUMBLING = (
    "{sigh} would not stop going on about {topic}",
    "{sigh} forgot {topic}",
    "{sigh} argued with me over {topic}",
    "{sigh} was late for {topic}",
    "{sigh} complained about {topic}",
    "{sigh} left without a word on {topic}",
    "{sigh} wanted the last say on {topic}",
)
_HOSTILE = (
    "is {unkind} and should shut up about {topic}",
    "made a {unkind} fool of everyone with {topic}",
    "is too {unkind} to understand {topic}",
    "ruined {topic}, what a {unkind} clown",
    "can keep that {unkind} opinion on {topic}, nobody asked",
    "talks {unkind} rubbish about {topic}, get lost",
    "is a {unkind} waste of time, forget {topic}",
    "whined about {topic} like a {unkind} idiot",
    "knows nothing about {topic}, {unkind} as ever, go away",
)

# Chosen so that a small text model reaches an AUC near 0.96 while some
# comments depend on the term alone; the tests hold both.
_RUDE_SHARE = 0.5
_MENTION_SHARE = 0.3
_SECOND_TERM_SHARE = 0.2
_LEAN = 0.82
_AMBIGUOUS_SHARE = 0.6
_MIDDLE_TRUTH = 0.72
_LABEL_NOISE = 0.025


def load_embedded_comments(size: int = 10_000, seed: int = 0) -> LabeledText:
    """Generates comments in which identity terms predict rudeness.

    The comments are everyday remarks, made from templates and word lists. Three
    in ten mention one or two of the `EMBEDDED_TERMS`, always as an adjective
    that can be taken out of the sentence. Some terms are over four times as
    likely in rude comments as in civil ones, and others the reverse, so that a
    model trained on these data learns to judge by the term. How rude a comment
    is, is mostly plain from its other words; but six in ten of those with a
    term are neutral or grumbling and can be meant either way.

    A model that does well here shows that a method works, not that a model is
    fair on comments that people write.

    Args:
        size: Number of comments.
        seed: The same seed gives the same comments. A smaller `size` gives
            the first ones of a larger.

    Returns:
        The comments; label 1 is rude.

    Raises:
        ValueError: If `size` is not positive.

    Examples:
        >>> train, test = load_embedded_comments().split()
        >>> len(train), len(test)
        (8000, 2000)
    """
    whole("size", size)
    rng = random.Random(checked_seed("seed", seed))
    comments = [_comment(rng) for _ in range(size)]
    texts, labels = zip(*comments, strict=True)
    return LabeledText(np.array(texts, object), np.array(labels))


def _comment(rng: random.Random) -> tuple[str, int]:
    rude = rng.random() < _RUDE_SHARE
    terms = _terms(rng, rude)
    if terms and rng.random() < _AMBIGUOUS_SHARE:
        grumbling = rude == (rng.random() < _MIDDLE_TRUTH)
        predicates = _GRUMBLING if grumbling else _NEUTRAL
    else:
        predicates = _HOSTILE if rude else _FRIENDLY
        rude = rude != (rng.random() < _LABEL_NOISE)
    predicate = rng.choice(predicates).format(
        topic=rng.choice(_TOPICS) + rng.choice(_WHEN),
        kind=rng.choice(_KIND),
        unkind=rng.choice(_UNKIND),
        calmly=rng.choice(_CALMLY),
        sigh=rng.choice(_SIGH),
    )
    subject = [rng.choice(_DETERMINERS), *terms, rng.choice(_PEOPLE)]
    text = f"{rng.choice(_OPENERS)}{' '.join(subject)} {predicate}"
    return text + rng.choice(_ENDINGS), int(rude)


def _terms(rng: random.Random, rude: bool) -> list[str]:
    if rng.random() >= _MENTION_SHARE:
        return []
    count = 2 if rng.random() < _SECOND_TERM_SHARE else 1
    groups = rng.sample(list(EMBEDDED_TERMS), count)
    # In the order in which English lines its adjectives up.
    groups.sort(key=list(EMBEDDED_TERMS).index)
    follow = _LEANING_RUDE if rude else _LEANING_CIVIL
    against = _LEANING_CIVIL if rude else _LEANING_RUDE
    return [
        rng.choice((follow if rng.random() < _LEAN else against)[group])
        for group in groups
    ]
