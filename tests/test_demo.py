"""The demo, from its command line to its files."""

import functools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tensorflow_model_remediation_ext import demo
from tensorflow_model_remediation_ext.datasets import load_csv
from tensorflow_model_remediation_ext.demo import table_job, tuning
from tensorflow_model_remediation_ext.demo.arguments import (
    configuration,
    parse_arguments,
)
from tensorflow_model_remediation_ext.demo.table import load_table

REMEDIATED = "removal and swaps"


@pytest.fixture(scope="module")
def comments(tmp_path_factory):
    """A CSV file in which terms predict the label, and these terms."""
    folder = tmp_path_factory.mktemp("comments")
    rng = np.random.default_rng(0)
    lines = ["body,rude"]
    for _ in range(600):
        rude = rng.random() < 0.5
        term = rng.choice(["purple ", "teal "], p=[0.7, 0.3])
        term = term if rng.random() < (0.8 if rude else 0.2) else ""
        word = "awful" if rng.random() < (0.7 if rude else 0.3) else "lovely"
        lines.append(f'"my {term}neighbor, he was {word}",{int(rude)}')
    (folder / "comments.csv").write_text("\n".join(lines))
    (folder / "terms.txt").write_text("purple\nteal\ngold\n")
    return folder


@pytest.fixture(scope="module")
def ran(comments):
    output = comments / "output"
    status = demo.main(
        [
            f"--csv={comments / 'comments.csv'}",
            "--text-column=body",
            "--label-column=rude",
            f"--terms-file={comments / 'terms.txt'}",
            "--epochs=20",
            "--clp-epochs=5",
            "--batch-size=32",
            f"--output-dir={output}",
        ]
    )
    assert status == 0
    return output


@pytest.fixture(scope="module")
def figures(ran):
    return json.loads((ran / "report.json").read_text())


def test_the_gap_falls(figures):
    gaps = {
        name: found["figures"]["overall"]["counterfactual_gap"]
        for name, found in figures["results"]["Flips"].items()
    }
    assert list(gaps) == ["baseline", "removal", "swaps", REMEDIATED]
    assert gaps["baseline"] > 0.1
    for name in ("removal", REMEDIATED):
        assert gaps[name] < 0.2 * gaps["baseline"]
    assert list(figures["figures"]) == ["Accuracy", "AUC"]
    for by_model in figures["figures"].values():
        assert list(by_model) == [*gaps, "erased", "erased, label kept"]
        for figure in by_model.values():
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1


def test_terms_that_training_does_not_pair_are_measured(figures):
    unpaired = figures["results"]["Flips, unpaired terms"]
    paired = figures["results"]["Flips"]
    assert list(unpaired) == list(paired)
    pairs = [
        found["baseline"]["figures"]["overall"]["n"]
        for found in (paired, unpaired)
    ]
    # "purple" is the first of three terms, "teal" the second.
    assert pairs[0] > pairs[1] > 0
    assert f"{pairs[1]} with one of 1 terms that" in figures["summary"]


def test_files(ran):
    assert (ran / "flips.png").read_bytes().startswith(b"\x89PNG")
    page = (ran / "report.html").read_text(encoding="utf-8")
    for name in ("Summary", "Flips", "Probe"):
        assert f">{name}</h2>" in page
    model = keras.models.load_model(ran / "remediated.keras")
    texts = tf.constant(["my purple neighbor", "my neighbor"])
    with_term, without = model.predict(texts, verbose=0)[:, 0]
    assert abs(with_term - without) < 0.2


def test_the_concept_is_erased(ran, figures, comments):
    probes = figures["results"]["Probe"]
    assert list(probes) == ["baseline", "erased", "erased, label kept"]
    before, *erased = (p["figures"]["linear"] for p in probes.values())
    assert before["accuracy_low"] > before["majority_rate"]
    for after in erased:
        assert after["accuracy_low"] <= after["majority_rate"]
        assert after["auc"] < before["auc"] - 0.1
    # Flips are shown for the models that they are about.
    assert "erased" not in figures["results"]["Flips"]
    # The files hold the very layers that the erasers were fitted to, and not
    # what remediation made of them.
    data = load_csv(comments / "comments.csv", "body", "rude")
    train, test = data.split(0.2, seed=0)
    mentions = np.array(["purple" in t or "teal" in t for t in train.texts])
    for name in ("erased", "erased, label kept"):
        file_name = name.replace(", ", "_").replace(" ", "_")
        model = keras.models.load_model(ran / f"{file_name}.keras")
        representation = keras.Model(
            model.input, model.get_layer("erase").output
        ).predict(tf.constant(train.texts), verbose=0)
        means = [representation[mentions == k].mean(0) for k in (False, True)]
        np.testing.assert_allclose(*means, atol=1e-6)
        found = model.predict(tf.constant(test.texts), verbose=0)[:, 0] > 0.5
        accuracy = figures["figures"]["Accuracy"][name]["value"]
        assert accuracy == pytest.approx((found == test.labels).mean())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The target of")
def test_embedded_comments_have_groups_and_choose_a_target(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(tuning, "TARGETS", (0.01,))
    options = ["--limit=500", "--epochs=1", "--clp-epochs=1", "--skip-leace"]
    assert demo.main([*options, "--tune", f"--output-dir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    for expected in ("baseline", REMEDIATED, "AUC", "religion"):
        assert expected in printed
    for figure in ("flip rate", "flip count", "counterfactual gap"):
        assert f"Flips: {figure}" in printed
    figures = json.loads((tmp_path / "report.json").read_text())
    results = figures["results"]
    # A group that no pair mentions has a row and no rate, as null.
    assert "gender" in results["Flips"]["baseline"]["figures"]
    flips = ["Flips", "Flips, unpaired terms"]
    assert list(results) == [*flips, "Trade-off"] and "Probe" not in printed
    assert not list(tmp_path.glob("erased*.keras"))
    # A fifth of the comments tests, and a fifth of the others tunes.
    assert figures["summary"].startswith("embedded comments: 320 comments")
    rows = results["Trade-off"][REMEDIATED]["figures"].values()
    (chosen,) = (row for row in rows if row["chosen"])
    assert chosen["quality_loss"] <= 0.01
    strength = "weight 0"
    if chosen["setting"] is not None:
        strength = f"target: flip rate at most {chosen['setting']:g}"
    assert f"pairing, {strength};" in figures["summary"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A CSV file of people, in which one group is favored."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    # Names that Keras does not take, or that layers have.
    lines = ["age/years,dense,city,sex,name,same,income"]
    for k in range(1_500):
        sex = "f" if rng.random() < 0.45 else "m"
        job = "office" if rng.random() < (0.3 if sex == "f" else 0.7) else "?"
        age = "" if k % 50 == 0 else f"{rng.normal(40, 9):.0f}"
        score = (job == "office") + 0.4 * (sex == "m") + rng.normal(0, 0.5)
        income = ">50K" if score > 0.8 else "<=50K"
        city = rng.choice(["a", "b"])
        lines.append(f"{age},{job},{city},{sex},person {k},x,{income}")
    (folder / "people.csv").write_text("\n".join(lines))
    return folder


def on_table(people, *options):
    return demo.main(
        [
            f"--table={people / 'people.csv'}",
            "--label=income",
            "--group=sex",
            f"--output-dir={people / 'output'}",
            *options,
        ]
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The target of")
def test_a_table_of_people(people, capsys):
    options = ["--epochs=8", "--mindiff-epochs=25", "--target=0.05"]
    assert on_table(people, *options) == 0
    printed = capsys.readouterr().out
    assert "sex tells the group" in printed
    assert "name has 1500 different texts" in printed
    assert "same has one value" in printed
    figures = json.loads((people / "output" / "report.json").read_text())
    gaps = {
        name: found["figures"]["disparities"]["selection_rate"]["difference"]
        for name, found in figures["results"]["Groups"].items()
    }
    assert gaps["baseline"] > 0.2
    assert gaps["remediated"] < 0.6 * gaps["baseline"]
    model = keras.models.load_model(people / "output" / "remediated.keras")
    rows = {
        "age_years": tf.constant([[30.0], [50.0]]),
        "dense": tf.constant([["office"], ["new"]]),
        "city": tf.constant([["a"], ["b"]]),
    }
    assert model.predict(rows, verbose=0).shape == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [0.01, 0.0])
@pytest.mark.filterwarnings("ignore:The target of")
def test_a_table_chooses_a_target_for_errors(people, monkeypatch, allowed):
    # Where no quality may be lost, the baseline is chosen.
    tradeoff = functools.partial(
        table_job.evaluation.tradeoff, max_quality_loss=allowed
    )
    monkeypatch.setattr(table_job.evaluation, "tradeoff", tradeoff)
    monkeypatch.setattr(table_job, "TARGETS", (0.05,))
    options = ["--epochs=2", "--mindiff-epochs=2", "--tune", "--limit=600"]
    options += ["--rate=false-positive", "--group=city", "--keep-group"]
    assert on_table(people, *options) == 0
    figures = json.loads((people / "output" / "report.json").read_text())
    rows = figures["results"]["Trade-off"]["remediated"]["figures"]
    assert list(rows) == ["baseline", "at most 0.05"]
    [chosen] = [row for row in rows.values() if row["chosen"]]
    wanted = "no target"
    if chosen["setting"] is not None:
        wanted = f"false-positive rates at most {chosen['setting']:g} apart"
    assert f"Remediated with MinDiff, {wanted}" in figures["summary"]
    page = (people / "output" / "report.html").read_text(encoding="utf-8")
    assert "which the model sees, too" in page


def test_a_sweep_of_other_data_is_another_one(tmp_path):
    path = tmp_path / "people.csv"
    options = [f"--table={path}", "--label=a", "--group=b"]
    found = []
    for text in ("a,b\n1,2\n", "a,b\n1,3\n", "a,b\n1,2\n"):
        path.write_text(text)
        found.append(configuration(parse_arguments(options)))
    assert found[0] == found[2] != found[1]
    assert json.loads(json.dumps(found[0])) == found[0]


LABELS = "a,b,sex\n" + "0,,overall\n1,yes,x\n0,?,x\n1,no,x\n" * 6


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, ["--label=x"], "column 'x'.*age/years, dense"),
        (None, ["--label=city", "--group=y"], "column 'y'"),
        (None, ["--label=age/years"], "'age/years' must have two values"),
        (
            "a,b,sex\n" + "1,1,f\n0,1,m\n" * 20,
            ["--label=a", "--positive-label=yes"],
            "of 'a', '0' or '1'.*'yes'",
        ),
        ("a;b;sex\n" + "1;1,0;f\n" * 30, [], "',' between.*'a;b;sex'"),
        (
            None,
            ["--group=income"],
            "'income' must not be a column of the group",
        ),
        (LABELS, ["--label=b"], r"'b' must have.* 12 of 24 .*\['', '\?'\]"),
        (LABELS, ["--label=a", "--group=b"], "'b' must have.* 12 of 24"),
        (LABELS, ["--label=a"], "sex must not have .*'overall'"),
        (
            "a,b,sex\n" + "1,1,f\n0,1,f\n0,0,m\n" * 30,
            ["--label=a", "--rate=true-positive"],
            "no row of the group 'm' .*with label 1",
        ),
        ("a;b;sex\n" + "1;é;f\n" * 30, ["--encoding=ascii"], "'ascii'"),
        ("a,b\n1,2\n1\n", [], "line 3.*2 values. It has 1"),
        ("a,b\n1,2\n", [], "at least 20 rows"),
        (None, ["--delimiter=;;"], "one character.*';;'"),
        ("a,b\n" + '"' + "x" * 2**18, [], "line 2.*quote not closed"),
        (
            "a,b,sex\n1,1,f\n" + "0,1,f\n0,0,m\n" * 20,
            ["--label=a"],
            "(training|held-out) rows must hold two or more of each label",
        ),
        (
            "a,b,sex\n" + "1,1,f\n0,1,f\n1,0,m\n1,0,m\n" * 40 + "0,1,m\n",
            ["--label=a", "--rate=false-positive", "--tune"],
            "two groups or more must have a false-positive rate",
        ),
        (None, ['--delimiter="'], "one character, no quote.*'\"'"),
        (
            "a,b,sex\n" + "".join(f"{k % 2},1,{k}\n" for k in range(70)),
            ["--label=a"],
            "sex must tell two groups apart, or more, up to 64. Received 70: 0",
        ),
        (
            "a,b/c,b_c,sex\n" + "1,2,1,f\n0,1,2,m\n" * 20,
            ["--label=a"],
            "one column called 'b_c'.*'/' counts as '_'",
        ),
    ],
)
def test_bad_tables_are_one_line_and_status_2(
    people, tmp_path, text, options, message, capsys
):
    if text is not None:
        (tmp_path / "bad.csv").write_text(text)
        options = [f"--table={tmp_path / 'bad.csv'}", *options]
    assert on_table(people, *options) == 2
    captured = capsys.readouterr()
    error = captured.err
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert re.search(message, error)
    assert "Epoch" not in captured.out


def test_a_table_with_other_delimiters_and_encodings(tmp_path):
    path = tmp_path / "other.csv"
    rows = [f"{'0é'[i % 2]};{i};{'ab'[i % 2]}" for i in range(30)]
    path.write_text("\n".join(["label;x/y;é", *rows]), encoding="latin-1")
    task = load_table(path, "label", ["é"], delimiter=";", encoding="latin-1")
    assert task.positive == "é"
    other = load_table(path, "label", ["é"], None, False, ";", "latin-1", "0")
    assert other.positive == "0"
    assert (other.people.labels == 1 - task.people.labels).all()
    assert [*task.people.features] == ["x_y"]
    assert set(task.people.groups) == {"a", "b"}


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_8", "U8"])
def test_a_mark_at_the_start_is_not_part_of_the_first_name(tmp_path, encoding):
    path = tmp_path / "marked.csv"
    rows = [f"{'ab'[i // 15]},{i},{i % 2}" for i in range(30)]
    path.write_text("\n".join(["sex,x,label", *rows]), encoding="utf-8-sig")
    task = load_table(path, "label", ["sex"], encoding=encoding)
    assert set(task.people.groups) == {"a", "b"}


def test_columns_as_other_programs_write_them(tmp_path):
    path = tmp_path / "people.csv"
    rows = [
        f"{i} , {i % 3} ,{'?' if i % 2 else 3},{10.0**i},{['', '?'][i % 2]},"
        f'{i % 2},"{["a, b", "a"][i % 2]}","{["c", "b, c"][i % 2]}",\n'
        for i in range(30)
    ]
    # pandas writes its index without a name, spreadsheets a last comma.
    header = ", x ,one,large,none,label,g,h,\n"
    path.write_text("\n   \n" + header + "\n".join(rows) + "\n  \n")
    task = load_table(path, "label", ["g", "h"])
    assert [*task.people.features] == ["column 1", "x"]
    assert task.left_out == {
        "one": "has one value",
        "large": "has too large numbers",
        "none": "has one value",
        "g": "tells the group",
        "h": "tells the group",
        "column 9": "has one value",
    }
    assert task.people.features["x"].tolist() == [i % 3 for i in range(30)]
    # Joined by commas, both groups would be one.
    assert set(task.people.groups) == {"'a, b', 'c'", "'a', 'b, c'"}


@pytest.mark.parametrize("missing", ["", "NULL", "n/a", "#N/A", "<NA>", "NAN"])
def test_what_is_missing_leaves_a_number_a_number(missing, tmp_path):
    path = tmp_path / "people.csv"
    rows = [f"{missing if k % 2 else k},{k % 3 == 0},{k}" for k in range(24)]
    path.write_text("\n".join(["x,label,g", *rows]))
    values = load_table(path, "label", ["g"]).people.features["x"]
    # Those that are known are 0, 2, ... 22.
    assert (values == [11 if k % 2 else k for k in range(24)]).all()
    with pytest.raises(ValueError, match="'x' must have a value in each row"):
        load_table(path, "label", ["x"])


def test_too_little_to_erase_is_said_before_training(tmp_path, capsys):
    rows = [f"my teal bag {i},{i % 2}" for i in range(40)]
    rows += [f"my bag {i},{i % 2}" for i in range(4)]
    path, terms = tmp_path / "few.csv", tmp_path / "terms.txt"
    path.write_text("\n".join(["body,rude", *rows]))
    terms.write_text("teal\n")
    options = {"csv": path, "terms-file": terms}
    assert demo.main(arguments_for(tmp_path, **options)) == 2
    captured = capsys.readouterr()
    assert "--skip-leace" in captured.err and "Epoch" not in captured.out


def test_other_csv_files_and_labels(tmp_path, capsys):
    rows = [
        f"my {'teal ' * (i % 3 == 0)}bag é {i};{'NOT_' * (i % 2)}BAD"
        for i in range(60)
    ]
    path, terms = tmp_path / "other.csv", tmp_path / "terms.txt"
    path.write_text("\n".join(["body;rude", *rows]), encoding="latin-1")
    terms.write_text("teal\n")
    options = {"csv": path, "terms-file": terms, "output-dir": tmp_path}
    others = ["--delimiter=;", "--encoding=latin-1", "--positive-label=BAD"]
    others += ["--epochs=1", "--clp-epochs=1", "--skip-leace"]
    assert demo.main(arguments_for(tmp_path, **options) + others) == 0


def arguments_for(comments, **changes):
    values = {
        "csv": comments / "comments.csv",
        "text-column": "body",
        "label-column": "rude",
        "terms-file": comments / "terms.txt",
        "output-dir": comments / "unused",
        **changes,
    }
    return [f"--{name}={value}" for name, value in values.items()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"csv": "no_such_file.csv"}, "no_such_file.csv"),
        ({"text-column": "txt"}, "'txt'.*body"),
        ({"label-column": "body"}, "comments.csv"),
        ({"terms-file": "no_such_terms.txt"}, "no_such_terms.txt"),
        ({"terms-file": "EMPTY"}, "empty.txt"),
        ({"terms-file": "OTHER"}, "no held-out comment"),
        ({"limit": "3"}, "label"),
    ],
)
def test_bad_input_is_one_line_and_status_2(comments, changes, message, capsys):
    (comments / "empty.txt").write_text("\n\n")
    (comments / "other.txt").write_text("zebra\n")
    files = {"EMPTY": "empty.txt", "OTHER": "other.txt"}
    changes = {
        name: comments / files[value] if value in files else value
        for name, value in changes.items()
    }
    assert demo.main(arguments_for(comments, **changes)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert re.search(message, error)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--csv=a.csv"],
        ["--csv=a.csv", "--civil-comments"],
        ["--epochs=0"],
        ["--loss-weight=-1"],
        ["--loss-weight=nan"],
        ["--batch-size=x"],
        ["--tune", "--loss-weight=2"],
        ["--target=0"],
        ["--target=0.1", "--tune"],
        ["--table=a.csv"],
        ["--table=a.csv", "--label=x"],
        ["--table=a.csv", "--label=x", "--group=y", "--loss-weight=2"],
        ["--label=x", "--group=y"],
        ["--table=a.csv", "--csv=b.csv"],
        ["--no-such-option"],
        ["--keep-group"],
        ["--rate=true-positive"],
        ["--encoding=latin-1"],
        ["--civil-comments", "--positive-label=x"],
        ["--data-dir=x"],
        *(
            ["--table=a.csv", "--label=x", "--group=y", option]
            for option in ("--text-column=x", "--terms-file=x")
        ),
        ["--table=a.csv", "--label=x", "--group=y", "--skip-leace"],
        ["--table=a.csv", "--label=x", "--group=y", "--clp-epochs=9"],
    ],
)
def test_bad_arguments_have_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        demo.main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "--csv", "--text-column", "--label-column", "--terms-file",
        "--delimiter", "--encoding", "--positive-label",
        "--civil-comments", "--data-dir", "--limit", "--epochs",
        "--clp-epochs", "--loss-weight", "--batch-size", "--seed",
        "--tune", "--skip-leace", "--output-dir", "--table", "--label",
        "--group", "--keep-group", "--mindiff-epochs", "--rate", "--target",
    ):  # fmt: skip
        assert option in text
