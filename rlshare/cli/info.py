"""``rlshare info``: versions and what this machine offers."""

import os


def info() -> None:
    """Print versions, instruction sets and threads, for bug reports."""
    import torch

    from rlshare.runs.versions import versions
    from rlshare.trees import supported_isas

    rows = {
        **versions(),
        "instruction sets": ", ".join(supported_isas()),
        "cpu cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "cuda": torch.version.cuda if torch.cuda.is_available() else "not available",
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
