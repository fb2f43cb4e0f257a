"""``rlshare enjoy``: watch a trained agent, on a display or as a video."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlshare.cli.options import Algo, Device, Env, EnvKwargs, LoadBest, LogFolder, RunDir, Verbose
from rlshare.runs.errors import UserError, user_errors
from rlshare.runs.trained import find_run, load_agent

if TYPE_CHECKING:
    from rlshare.runs.trained import TrainedAgent

_DEFAULT_FPS = 30


def enjoy(
    run_dir: RunDir = None,
    algo: Algo = "ppo",
    env: Env = None,
    log_folder: LogFolder = Path("logs"),
    load_best: LoadBest = False,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4", help="Write a video instead of showing it.")
    ] = None,
    n_episodes: Annotated[
        int, typer.Option("-n", "--n-episodes", min=1, help="Episodes to play.")
    ] = 1,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="Sample actions instead of taking the likeliest.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the episodes.")] = 0,
    env_kwargs: EnvKwargs = None,
    device: Device = "cpu",
    verbose: Verbose = 0,
) -> None:
    """Watch a trained agent play; without a display, record it with --video."""
    if video is None and not _has_display():
        raise UserError("no display found: write a video with --video FILE.mp4")
    if video is not None and video.suffix != ".mp4":
        raise UserError(f"--video must name an .mp4 file, got {video}")
    if not _has_display():
        # Before mujoco is imported: without a display only EGL can render.
        os.environ.setdefault("MUJOCO_GL", "egl")
    from stable_baselines3.common.utils import set_random_seed

    from rlshare.agents import parse_pairs

    with user_errors():
        kwargs = parse_pairs(env_kwargs or (), "--env-kwargs")
    path = find_run(run_dir, algo, env, log_folder)
    mode = "human" if video is None else "rgb_array"
    agent = load_agent(path, load_best, device, kwargs, render_mode=mode)
    set_random_seed(seed)
    agent.env.seed(seed)
    if video is None:
        _play(agent, agent.env.reset(), n_episodes, not stochastic, lambda: None)
    else:
        _record(agent, n_episodes, not stochastic, video)
        print(f"wrote {video}")
    agent.env.close()


def _play(
    agent: "TrainedAgent",
    observation: Any,
    n_episodes: int,
    deterministic: bool,
    on_frame: Callable[[], None],
) -> None:
    on_frame()
    played = 0
    while played < n_episodes:
        action = agent.act(observation, deterministic)
        observation, _, done, infos = agent.env.step(action)
        if done[0] and "episode" in infos[0]:  # without it, the loss of one of a game's lives
            played += 1
            task = f" of {infos[0]['task']}" if "task" in infos[0] else ""
            print(
                f"episode {played}{task}: return {infos[0]['episode']['r']:.2f}, "
                f"{infos[0]['episode']['l']} steps"
            )
        if played < n_episodes:  # the first frame of an episode nobody asked for
            on_frame()


def _record(agent: "TrainedAgent", n_episodes: int, deterministic: bool, video: Path) -> None:
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    observation = agent.env.reset()
    with _off_screen_rendering():
        first = _frame(agent)
    metadata = agent.env.get_attr("metadata")[0] or {}  # that of a normaliser says nothing
    fps = metadata.get("render_fps", _DEFAULT_FPS)
    video.parent.mkdir(parents=True, exist_ok=True)
    size = (first.shape[1], first.shape[0])
    # Frame by frame to the encoder: an episode of frames need not fit into memory.
    with FFMPEG_VideoWriter(str(video), size, fps) as writer:
        _play(
            agent,
            observation,
            n_episodes,
            deterministic,
            lambda: writer.write_frame(_frame(agent)),
        )


@contextmanager
def _off_screen_rendering() -> Iterator[None]:
    """Say what is missing when MuJoCo cannot open EGL, which fails at its first frame."""
    try:
        yield
    except (ImportError, AttributeError, RuntimeError) as error:
        if "mujoco" not in sys.modules:
            raise
        raise UserError(
            f"MuJoCo cannot render with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: {error}; "
            "install EGL (Debian, Ubuntu: apt install libegl1) or set MUJOCO_GL=osmesa "
            "(apt install libosmesa6)"
        ) from error


def _frame(agent: "TrainedAgent") -> Any:
    frame = agent.env.render()
    if frame is None:
        raise UserError(f"{agent.config.env} cannot render to a video: it has no rgb_array mode")
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]  # H.264 wants even sizes


def _has_display() -> bool:
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
