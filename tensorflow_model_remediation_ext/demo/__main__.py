"""Runs the demo."""

import sys

from tensorflow_model_remediation_ext.demo import main

sys.exit(main())
