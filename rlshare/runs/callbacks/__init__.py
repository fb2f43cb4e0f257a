"""SB3 callbacks of a run. Frequencies count environment steps.

Evaluations and checkpoints happen where a rollout begins: the policy has just been updated and
changes nowhere else, and no half-filled buffer needs saving.
"""
