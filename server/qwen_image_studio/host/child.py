"""The beginning of a supervised process: ``python -m qwen_image_studio.host.child COMMAND ... --parent PID``.

It has the kernel end it with its supervisor before anything else, and imports the program after that: imports take
seconds, and a supervisor that was killed meanwhile would leave its children to them.
"""

import runpy
import sys

from qwen_image_studio.system.processes import die_with_parent


def main() -> None:
    """Run the command of this process's arguments."""
    die_with_parent(int(sys.argv[sys.argv.index("--parent") + 1]))
    runpy.run_module("qwen_image_studio", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
