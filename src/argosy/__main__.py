"""Runs the command line: `python -m argosy`."""

import sys

from argosy.cli import main

sys.exit(main())
