"""``import rlshare`` never makes another package's import fail, from any thread."""

from pathlib import Path

import pytest
from command import BELOW_SB3, Program

pytest.importorskip("sb3_contrib")


def run(program: str, folder: Path) -> tuple[str, str]:
    with Program("-c", program, cwd=folder, imported=BELOW_SB3) as found:
        assert found.wait() == 0, found.stderr
    return found.stdout.strip(), found.stderr


@pytest.mark.parametrize("missing", ["rlshare.policies.rows", "rlshare.trees.torch.tape"])
def test_where_the_policies_cannot_be_imported_one_warning_says_why(
    missing: str, tmp_path: Path
) -> None:
    program = (
        "import sys, warnings; warnings.simplefilter('always', RuntimeWarning)\n"
        f"sys.modules[{missing!r}] = None; import rlshare\n"
        "import stable_baselines3, sb3_contrib\n"
        "print('GBTPolicy' in stable_baselines3.PPO.policy_aliases)"
    )
    out, err = run(program, tmp_path)
    assert out == "False"
    assert err.count("the policies of rlshare are not known to Stable-Baselines3") == 1
    assert missing in err


def test_policies_need_no_numba_until_they_train(tmp_path: Path) -> None:
    program = (
        "import sys, warnings; warnings.simplefilter('error', RuntimeWarning)\n"
        "sys.modules['numba'] = None; import rlshare, stable_baselines3\n"
        "print(stable_baselines3.PPO.policy_aliases['GBTPolicy'].__name__)"
    )
    assert run(program, tmp_path)[0] == "GBTPolicy"


@pytest.mark.parametrize(
    "names",
    [
        ("sb3_contrib", "stable_baselines3"),
        ("stable_baselines3", "sb3_contrib", "rlshare.policies"),
    ],
)
def test_threads_that_import_both_packages_find_the_aliases(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    program = f"""
import importlib, threading
import rlshare
threads = [threading.Thread(target=importlib.import_module, args=(name,)) for name in {names!r}]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import sb3_contrib, stable_baselines3
print(stable_baselines3.PPO.policy_aliases["GBTPolicy"].__module__)
print(sb3_contrib.MaskablePPO.policy_aliases["GBTPolicy"].__module__)
"""
    out, err = run(program, tmp_path)
    assert out.split() == ["rlshare.policies", "rlshare.policies.maskable"], err
    assert "Traceback" not in err
