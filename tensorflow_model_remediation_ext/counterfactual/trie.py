"""Terms as a graph of states that reads UTF-8 byte by byte."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

# A state may end a term that matches as a whole word, or anywhere.
WHOLE, ANYWHERE = 1, 2


class Trie:
    """States that read terms in all their cases; state 0 is the start.

    Args:
        terms: The terms.
        variants: A dict from each of their characters to all that match it.
        anywhere: Whether each term matches inside words.

    Attributes:
        edges: `256 * state + byte` of each transition, int64, ascending.
        targets: The state that each leads to, int64.
        kind: 0, `WHOLE` or `ANYWHERE` for each state, int32.
        begins: Likewise for each byte that a term may begin with,
            int32 `[256]`.
    """

    def __init__(
        self,
        terms: Sequence[str],
        variants: Mapping[str, str],
        anywhere: Sequence[bool],
    ):
        edges: dict[int, int] = {}
        ends: dict[int, int] = {}
        self.begins = np.zeros(256, np.int32)
        new = itertools.count(1)
        encoded = {
            char: [c.encode() for c in chars]
            for char, chars in variants.items()
        }
        for term, inside in zip(terms, anywhere, strict=True):
            kind = ANYWHERE if inside else WHOLE
            for first in encoded[term[0]]:
                self.begins[first[0]] = max(self.begins[first[0]], kind)
            state = 0
            for char in term:
                state = _after(state, encoded[char], edges, new)
            ends[state] = max(kind, ends.get(state, 0))
        order = sorted(edges)
        self.edges = np.asarray(order, np.int64)
        self.targets = np.asarray([edges[key] for key in order], np.int64)
        self.kind = np.zeros(next(new), np.int32)
        for state, kind in ends.items():
            self.kind[state] = kind
        self.depth = max(
            sum(max(map(len, encoded[char])) for char in term) for term in terms
        )


def _after(
    state: int, cases: list[bytes], edges: dict[int, int], new: Iterator[int]
) -> int:
    """Returns the state after a character, to which all its cases lead.

    Args:
        state: The state before it.
        cases: The bytes of each case.
        edges: The transitions, to which those that are missing are added.
        new: Numbers of states to add.
    """
    target = 0  # None yet, as none leads back to the start.
    for case in cases:
        here = state
        for byte in case[:-1]:
            key = 256 * here + byte
            if key not in edges:
                edges[key] = next(new)
            here = edges[key]
        key = 256 * here + case[-1]
        target = target or edges.get(key) or next(new)
        edges[key] = target
    return target
