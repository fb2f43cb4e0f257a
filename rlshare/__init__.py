"""rlshare: actor-critic agents that share, with boosted trees as policies.

``import rlshare`` is light (neither torch nor Stable-Baselines3 is imported) and makes the alias
``"GBTPolicy"`` known to Stable-Baselines3, whichever of the two is imported first.
"""

from importlib.metadata import version

from rlshare import sb3_hook

__all__ = ["__version__"]
__version__ = version("rlshare")

sb3_hook.install()
