"""Keeps torch to one thread: on tensors this small, threads that spin for work only cost time."""

import torch

torch.set_num_threads(1)
