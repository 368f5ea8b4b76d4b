"""``python -m openmm_reparam.cli`` is the command ``openmm-reparam``."""

import sys

from .app import main

sys.exit(main())
