"""Swaps read like English, undo themselves, and know their files."""

import json
import sys

import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext.counterfactual import swaps
from tensorflow_model_remediation_ext.counterfactual.keras import (
    build_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.terms import TermEditor


def edited(editor, texts):
    return [text.decode() for text in editor(tf.constant(texts)).numpy()]


@pytest.fixture(scope="module")
def gender():
    return TermEditor(terms_to_replace=swaps.load("gender_en"))


GENDER = {
    "Her brother saw her.": "His sister saw him.",
    "her own family was there": "his own family was there",
    "I told her that it is his.": "I told him that it is hers.",
    "Let her go home": "Let him go home",
    "We watched her walking to the door": "We watched him walking to the door",
    "her walking stick": "his walking stick",
    "He's late; she'd call HER now": "She's late; he'd call HIM now",
    "A FATHER SPOKE TO HIS SON": "A MOTHER SPOKE TO HER DAUGHTER",
    "his or her name": "her or his name",
    "he/she took his/her bag": "she/he took her/his bag",
    "An actor met a waiter": "An actress met a waitress",
    "They hugged her tightly.": "They hugged him tightly.",
    "the brother-in-law himself": "the sister-in-law herself",
    "xx \x03 he saw \x05 her": "xx \x03 she saw \x05 him",
    "señora é hé \u200dhe": "señora é hé \u200dhe",
    "here, the theme": "here, the theme",
}


def test_gender_by_context(gender):
    assert edited(gender, list(GENDER)) == list(GENDER.values())


def test_twice_is_the_original(gender):
    texts = list(GENDER)
    assert edited(gender, edited(gender, texts)) == texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He met an African American judge", "He met a judge"),
        ("an old gay man", "a man"),
        ("a gay, old man", "a man"),
        ("a tall, gay man", "a tall man"),
        ("tall, gay, happy", "tall, happy"),
        ("Gay men are here. Old people", "Men are here. People"),
        ('"Gay men" said', '"Men" said'),
        ("AN OLD MAN", "A MAN"),
        ("a gay heir, a gay European", "an heir, a European"),
        ("a gay FBI agent, a gay UN agent", "an FBI agent, a UN agent"),
        ("a gay 80-year rule", "an 80-year rule"),
        ("banana gay apple", "banana apple"),
        ("he is gay.", "he is."),
        ("I am a gay man", "I am a man"),
        ("Gay, old, and proud", "And proud"),
        ("gay, old, and proud", "and proud"),
        ("Hello. Gay, and proud.", "Hello. And proud."),
        ('Hi!" Gay, old, and proud.', 'Hi!" And proud.'),
        ('Hi. "Gay, and proud"', 'Hi. "And proud"'),
        ("Hello.\nGay, and\n\nOld men", "Hello.\nAnd\n\nMen"),
        ('the "big" gay, and tall', 'the "big", and tall'),
        ("tall, gay, old, happy", "tall, happy"),
        ("tall, gay, old.", "tall."),
        ("tall , gay , happy", "tall , happy"),
        ("(tall, gay)", "(tall)"),
        ("a gay, old, tall man", "a tall man"),
        ("Gay émigrés. OLD жук, Gay ñandú", "Émigrés. Жук, ñandú"),
        ("GAY men came", "Men came"),
        ("the Gay Old men", "the men"),
        ("see Gay men. A Gay actor", "see men. An actor"),
        ("line\nGay men", "line\nmen"),
        ("Gay's men", "'s men"),
    ],
)
def test_removal_mends_what_is_left(text, expected):
    terms = ["gay", "african american", "old"]
    remove = TermEditor(swaps.Swaps(dict.fromkeys(terms, "x")))
    assert edited(remove, [text]) == [expected]


@pytest.mark.parametrize("name", swaps.names())
def test_each_list_swaps_its_terms(name):
    loaded = swaps.load(name)
    assert loaded.source and loaded.license and loaded.note
    assert name in repr(loaded)
    kept = [term for term in loaded if loaded[term] != term]
    ones = edited(TermEditor(terms_to_replace=loaded), kept)
    assert [a for a, b in zip(kept, ones, strict=True) if a == b] == []


def test_articles_follow_sound():
    origin = TermEditor(terms_to_replace=swaps.load("origin_en"))
    texts = ["An African American judge", "AN AFRICAN MAN", "an indian"]
    expected = ["A European American judge", "A EUROPEAN MAN", "a german"]
    assert edited(origin, texts) == expected
    assert edited(origin, expected) == texts


def test_other_languages_change_terms_only():
    chinese = TermEditor(terms_to_replace=swaps.load("gender_zh"))
    assert edited(chinese, ["她是女性工程师", "其他人和他"]) == [
        "他是男性工程师",
        "其他人和她",
    ]
    plain = swaps.Swaps({"casa": "hora"}, language="pt")
    assert edited(TermEditor(terms_to_replace=plain), ["a casa"]) == ["a hora"]


def test_files_round_trip(tmp_path, gender):
    path = tmp_path / "mine.json"
    swaps.load("gender_en").extend({"ox": "cow"}).to_json(path)
    mine = swaps.from_json(path)
    assert mine["ox"] == "cow"
    editor = TermEditor(terms_to_replace=mine)
    assert edited(editor, list(GENDER)) == list(GENDER.values())
    (tmp_path / "own.csv").write_text("term,replacement\nactor,plumber\n")
    own = swaps.from_csv(tmp_path / "own.csv")
    assert dict(own) == {"actor": "plumber"}
    both = swaps.from_csv(tmp_path / "own.csv", two_way=True)
    assert dict(both) == {"actor": "plumber", "plumber": "actor"}
    assert "actor" not in both.without(["actor"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "object"),
        ('{"swap": []}', "keys"),
        ('{"swaps": [["a"]]}', "pairs"),
        ('{"swaps": [["a", "b"], ["a", "c"]]}', "one replacement"),
        ('{"swaps": [["a", 3]]}', "pairs of texts"),
        ('{"before_noun": {"her": "ab"}}', "`before_noun`.*pairs of texts"),
        ('{"before_noun": ["her"]}', "`before_noun`.*pairs of texts"),
        ("{", "not JSON"),
        ("{}", "at least one"),
    ],
)
def test_files_that_are_not_swaps(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        swaps.from_json(path)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="gender_en"):
        swaps.load("nothing")
    with pytest.raises(TypeError, match="terms=3"):
        swaps.Swaps(3)
    with pytest.raises(ValueError, match="English"):
        swaps.Swaps({"a": "b"}, language="de", before_noun={"a": ("b", "c")})
    with pytest.raises(ValueError, match="some of these"):
        swaps.load("age_en").without(["nobody"])
    for terms in (None, "young", 3):
        with pytest.raises(TypeError, match="`terms` must be a list of terms"):
            swaps.load("age_en").without(terms)
    (tmp_path / "bad.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="term,replacement"):
        swaps.from_csv(tmp_path / "bad.csv")


@pytest.mark.parametrize(
    "line", [b'a,"b\nc,d\n', "père,mère\n".encode("latin-1")]
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, line):
    # A quote that is never closed would make the rest of it a replacement.
    path = tmp_path / "bad.csv"
    path.write_bytes(b"term,replacement\n" + line)
    with pytest.raises(ValueError, match=r"bad\.csv is not CSV in UTF-8: "):
        swaps.from_csv(path)


@pytest.mark.parametrize("code", ["en", "EN", "en-US", "en_GB"])
def test_english_goes_by_several_codes(code):
    mine = swaps.Swaps(
        {"man": "aunt"}, language=code, before_noun={"her": ("his", "him")}
    )
    editor = TermEditor(terms_to_replace=mine)
    texts = ["a man met her", "her car"]
    assert edited(editor, texts) == ["an aunt met him", "his car"]
    other = TermEditor(terms_to_replace=swaps.Swaps(dict(mine), language="enm"))
    assert edited(other, texts) == ["a aunt met his", "his car"]
    with pytest.raises(TypeError, match=r"`language` must be a code.*None"):
        swaps.Swaps({"a": "b"}, language=None)


def test_forms_are_of_their_terms_alone():
    # The stop of "mr." is no pattern, nor is the parenthesis of "her(s)".
    mine = swaps.Swaps(
        {"mrs": "mister"},
        before_noun={"mr.": ("ms.", "madam"), "her(s)": ("his", "him")},
    )
    editor = TermEditor(terms_to_replace=mine)
    texts = [
        "I saw mrs yesterday",
        "I saw mr. yesterday",
        "mr. X",
        "saw HER(S)",
    ]
    expected = ["I saw mister yesterday", "I saw madam yesterday", "ms. X"]
    assert edited(editor, texts) == [*expected, "saw HIM"]


def test_forms_of_another_case():
    mine = swaps.Swaps(
        {"her": "his", "Her": "His"}, before_noun={"her": ("his", "him")}
    )
    texts = ["I saw Her.", "I saw her.", "Her cat", "HER."]
    exact = TermEditor(terms_to_replace=mine, case_sensitive=True)
    assert edited(exact, texts) == [
        "I saw His.",
        "I saw him.",
        "His cat",
        "HER.",
    ]
    anyhow = TermEditor(terms_to_replace=mine)
    assert edited(anyhow, texts) == [
        "I saw Him.",
        "I saw him.",
        "His cat",
        "HIM.",
    ]


@pytest.mark.parametrize(
    "forms",
    ["his", "ab", ("his",), ("a", "b", "c"), ("his", 3), ("his", ""), None],
)
def test_forms_are_two_texts(forms):
    with pytest.raises(TypeError, match=r"`before_noun` must.*Received.*her"):
        swaps.Swaps({"x": "y"}, before_noun={"her": forms})


def test_bad_forms():
    with pytest.raises(TypeError, match="`before_noun` must be a dict"):
        swaps.Swaps({"x": "y"}, before_noun=[("her", ("his", "him"))])
    with pytest.raises(ValueError, match="'her' to 'his' and to 'their'"):
        swaps.Swaps({"her": "their"}, before_noun={"her": ("his", "him")})


def test_a_tagger_decides_instead_of_rules():
    class Token:
        def __init__(self, idx, tag_):
            self.idx, self.tag_ = idx, tag_

    tagged = swaps.load("gender_en").with_tagger(
        lambda text: [
            Token(text.index("her"), "PRP" if "é" in text else "PRP$")
        ]
    )
    texts = ["he", "saw her", "é gave her flowers", "he"]
    data = tf.data.Dataset.from_tensor_slices(texts)
    pairs = build_counterfactual_data(data, terms_to_replace=tagged)
    found = [b.decode() for _, b, _ in pairs.as_numpy_iterator()]
    assert found == ["she", "saw his", "é gave him flowers", "she"]


def test_a_missing_tagger_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match=r"pip install .*\[language\]"):
        swaps.load("gender_en").with_tagger()


def test_spacy_with_its_own_model():
    spacy = pytest.importorskip("spacy")
    gender = swaps.load("gender_en")
    if not spacy.util.is_package("en_core_web_sm"):
        with pytest.raises(ImportError, match="spacy download en_core_web_sm"):
            gender.with_tagger()
        return
    swap = TermEditor(terms_to_replace=gender.with_tagger())
    texts = ["I gave her flowers away.", "She lost her keys, ask her."]
    expected = ["I gave his flowers away.", "He lost his keys, ask him."]
    assert edited(swap, texts) == expected


def test_data_are_plain_files():
    assert json.loads(json.dumps(dict(swaps.load("age_en"))))


def test_forms_that_differ_in_case_are_refused_as_they_were_given():
    given = swaps.Swaps(
        {"her": "his", "Her": "His"},
        before_noun={"her": ("his", "him"), "Her": ("His", "Hers")},
    )
    data = tf.data.Dataset.from_tensor_slices((["her"], [0])).batch(1)
    with pytest.raises(ValueError, match="'Her' to 'Hers' and to 'him'"):
        build_counterfactual_data(data, terms_to_replace=given)
