"""Puts the small layers of these tests on the import path and keeps torch to one thread."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

torch.set_num_threads(1)  # on tensors this small, threads that spin for work only cost time
