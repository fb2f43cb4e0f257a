"""Puts the contextual bandit on the import path and keeps torch to one thread."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "policies"))

torch.set_num_threads(1)
