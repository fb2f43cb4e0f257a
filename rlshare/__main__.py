"""``python -m rlshare``: the same as the command ``rlshare``."""

import sys

from rlshare.cli import main

if __name__ == "__main__":
    sys.exit(main())
