"""The bare pipeline in a process of its own: paints for each seed on a line of its input, and prints the seconds."""

import sys
import time

from benchmarks.naive import painted


def main() -> None:
    """Paint a first picture, say so with a line, and paint on until the input ends."""
    prompt = sys.argv[1]
    painted(prompt, 0)
    print("ready", flush=True)
    for seed in sys.stdin:
        started = time.perf_counter()
        painted(prompt, int(seed))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
