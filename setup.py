"""Package metadata: the one place for version, dependencies and extras."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent

# Such as "https://github.com/OWNER/NAME": badges and links come from here, and
# there are none while it is empty. `python tools/repository.py` writes them.
REPOSITORY = ""

EXTRAS = {
    "evaluation": [
        "fairlearn",
        "matplotlib",
        "pandas",
        "scikit-learn>=1.4",
        "scipy",
    ],
    "scikit-learn": ["scikit-learn>=1.4"],
    "datasets": ["tensorflow-datasets"],
    "tfma": ["tensorflow-model-analysis"],
    "fairness-indicators": ["fairness-indicators", "dill"],
    "beam": ["apache-beam"],
    # A tagger. Its models are not on PyPI: `python -m spacy download` them.
    "language": ["spacy"],
    "hub": ["keras-hub"],
    "docs": ["mkdocs<2", "mkdocs-material", "mkdocstrings[python]"],
    "types": ["mypy==2.4.1"],
    # To run the notebooks outside of Colab, which has the widgets that progress
    # bars of KerasHub's downloads ask for.
    "notebooks": ["ipykernel", "ipywidgets", "nbclient", "nbformat"],
    # Keras backends other than TensorFlow, for the tests that train on them.
    "backends": ["jax", "torch"],
    "test": [
        "hypothesis",
        "matplotlib",
        "pandas",
        "polars",
        "pyarrow",
        "pytest",
        "pytest-xdist",
        "ruff==0.17.6",
        "scikit-learn>=1.4",
        "scipy",
    ],
}

setup(
    name="tensorflow-model-remediation-ext",
    version="0.2.0",
    description=(
        "Counterfactual pairing, MinDiff and concept erasure (LEACE) for "
        "Keras 3 models on TensorFlow."
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    url=REPOSITORY,
    license="Apache-2.0",
    packages=find_packages(include=["tensorflow_model_remediation_ext*"]),
    package_data={
        "tensorflow_model_remediation_ext": ["py.typed"],
        "tensorflow_model_remediation_ext.evaluation.report": [
            "*.css",
            "*.js",
        ],
        "tensorflow_model_remediation_ext.counterfactual.swaps.data": [
            "*.json"
        ],
    },
    python_requires=">=3.10",
    install_requires=["tensorflow>=2.16", "keras>=3.10", "numpy>=1.26"],
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords="fairness keras tensorflow counterfactual leace remediation",
)
