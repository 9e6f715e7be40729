import pytest

from tensorflow_model_remediation_ext.datasets import load_terms


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "terms.txt"
        path.write_bytes(content)
        return path

    return write


def test_terms_in_order_without_the_rest(file):
    content = (
        "\ufeff# age\r\nold\r\n\r\n  middle aged \n#\ngay\nOld\nGAY\nstraße"
        "\nSTRASSE\n男"
    )
    path = file(content.encode())
    # Another spelling is another term, as it is to `TermEditor`.
    expected = "old", "middle aged", "gay", "straße", "STRASSE", "男"
    assert load_terms(path) == expected


def test_other_encodings(file):
    path = file("âgé\n".encode("latin-1"))
    assert load_terms(path, encoding="latin-1") == ("âgé",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no terms in the file"),
        (b"# none\n \n", "no terms in the file"),
        (b"old\n\xe2g\xe9\n", "line 2: holds bytes that are not utf-8"),
        (b"old\ng\0ay\n", "line 2: holds a NUL byte"),
    ],
)
def test_errors_name_the_file(file, content, expected):
    path = file(content)
    with pytest.raises(ValueError) as error:
        load_terms(path)
    assert str(error.value) == f"{path}: {expected}"


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"terms\.txt: no such file"):
        load_terms(tmp_path / "terms.txt")
