import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorflow_model_remediation_ext.datasets import load_csv

HEADER = b"text,rude\n"


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "comments.csv"
        path.write_bytes(content)
        return path

    return write


def load(path, **options):
    data = load_csv(path, "text", "rude", **options)
    return list(data.texts), list(data.labels)


def message(path, text_column="text", label_column="rude", **options):
    with pytest.raises(ValueError) as error:
        load_csv(path, text_column, label_column, **options)
    text = str(error.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    texts=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        ),
        min_size=2,
        max_size=8,
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_reads_what_the_csv_module_writes(tmp_path_factory, texts, encoding):
    path = tmp_path_factory.mktemp("csv") / "comments.csv"
    labels = [i % 2 for i in range(len(texts))]
    with open(path, "w", encoding=encoding, newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["rude", "id", "text"])
        writer.writerows(
            (label, i, text)
            for i, (label, text) in enumerate(zip(labels, texts, strict=True))
        )
    assert load(path, encoding=encoding) == (texts, labels)


def test_quotes_newlines_and_empty_lines(file):
    rows = '"a\nb, ""c""",1\r\n\r\nd "e",0\n\n'
    assert load(file(HEADER + rows.encode())) == (
        ['a\nb, "c"', 'd "e"'],
        [1, 0],
    )


def test_byte_order_mark_is_no_part_of_the_header(file):
    assert load(file(b"\xef\xbb\xbf" + HEADER + b"a,1\nb,0\n"))[1] == [1, 0]


def test_labels(file):
    rows = b"a, TRUE\nb,false\nc,0.5\nd,0.49\ne,1e0\n"
    assert load(file(HEADER + rows))[1] == [1, 0, 1, 0, 1]
    assert load(file(HEADER + rows), label_threshold=0.4)[1] == [1, 0, 1, 1, 1]


def test_labels_that_are_two_words(file):
    path = file(HEADER + b"a,NOT_BAD\nb, BAD\nc,BAD\n")
    assert load(path, positive_label="BAD")[1] == [0, 1, 1]
    assert "`positive_label`" in message(path)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (b"a,BAD\nb,OK\nc,\n", "line 4: label '' is a third one, after 'BAD'"),
        (b"a,OK\nb,OK\n", "every label in 'rude' is 0 where 'BAD' counts as 1"),
    ],
)
def test_labels_that_are_not_two_words(file, rows, expected):
    text = message(file(HEADER + rows), positive_label="BAD")
    assert text.startswith(expected)


def test_an_empty_label_is_no_second_word(file):
    path = file(HEADER + b"a,BAD\nb,\nc, \n")
    text = message(path, positive_label="BAD")
    assert "line 3: label is empty" in text
    assert "line 4: label is empty" in text


def test_fields_may_be_of_any_size(file):
    limit = csv.field_size_limit()
    texts, _ = load(file(HEADER + b"a" * 200_000 + b",1\nb,0\n"))
    assert [len(text) for text in texts] == [200_000, 1]
    # It is the setting of the whole process.
    assert csv.field_size_limit() == limit


def test_delimiter_must_be_one_character(file):
    path = file(HEADER + b"a,1\nb,0\n")
    for wrong in (";;", "", '"', "\n", "\r", None, 1):
        found = message(path, delimiter=wrong)
        assert f"delimiter={wrong!r}" in found


def test_other_delimiters_and_encodings(file):
    path = file("text\trude\né, è\t1\nb\t0\n".encode("latin-1"))
    expected = (["é, è", "b"], [1, 0])
    assert load(path, delimiter="\t", encoding="latin-1") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (HEADER, "no rows below the header"),
        (HEADER + b"a,1\nb,true\n", "every label in 'rude' is 1"),
        (b"text,label\na,1\n", "no column 'rude'; the columns are 'text', 'la"),
        (b"rude,text,rude\n1,a,1\n", "2 times a column 'rude'"),
        (HEADER + b"a,1\nb\nc,0\n", "line 3: 2 fields expected, 1 found"),
        (HEADER + b"a,b,1\n", "line 2: 2 fields expected, 3 found"),
        (HEADER + b"a,nan\n", "line 2: label 'nan' is not a number"),
        (HEADER + b"a,inf\n", "line 2: label 'inf' is not a number"),
        (HEADER + b"a,yes\n", "line 2: label 'yes' is not a number"),
        (HEADER + b"a,\n", "line 2: label '' is not a number"),
        (HEADER + b"a,1\nb\0,0\n", "line 3: holds a NUL byte"),
        (HEADER + b"a,1\nb\xff,0\n", "line 3: holds bytes that are not utf-8"),
        (b"text,r\xfcde\n", "line 1: holds bytes that are not utf-8"),
        (HEADER + b'a,1\n"b,0\nc,1\n', "line 3: not valid CSV"),
        (HEADER + b'"a"b,1\n', "line 2: not valid CSV"),
    ],
)
def test_errors_name_the_line(file, content, expected):
    assert message(file(content)).startswith(expected)


def test_lines_count_those_within_quotes(file):
    rows = b'"a\nb\xff\nc",1\nd,x\n'
    assert message(file(HEADER + rows)) == (
        "line 3: holds bytes that are not utf-8; "
        "line 5: label 'x' is not a number, true or false (words need "
        "`positive_label`)"
    )


def test_many_errors_are_counted(file):
    rows = b"".join(b"a\xff,%d\n" % (i % 2) for i in range(500))
    text = message(file(HEADER + rows))
    assert "line 4" in text and "line 5" not in text
    assert text.endswith("; 500 problems in all")


def test_wrong_encoding_is_said(file):
    path = file(HEADER + b"a,1\nb,0\n")
    assert "cannot be decoded as utf-16" in message(path, encoding="utf-16")
    for encoding in ("utf-9", "base64", None):
        assert "`encoding`" in message(path, encoding=encoding)


def test_threshold_must_be_a_number(file):
    path = file(HEADER + b"a,1\nb,0\n")
    for wrong in (float("nan"), "0.5", None):
        assert "`label_threshold`" in message(path, label_threshold=wrong)
    with pytest.raises(TypeError, match=r"`positive_label` must be a word.*=1"):
        load(path, positive_label=1)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv: no such file"):
        load(tmp_path / "nothing.csv")
    assert message(tmp_path) == "is a directory, not a file"
