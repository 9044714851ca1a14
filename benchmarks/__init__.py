"""Measurements; never tests. Figures are ratios taken in turns in one run, since machines are noisy."""
