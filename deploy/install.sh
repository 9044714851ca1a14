#!/bin/sh
# Puts the server where it runs. The Dockerfile's RUN lines call this script and nothing else, and
# tests/services/test_install.py runs its last two steps in an empty folder, so that what cannot be tried without
# Docker is little:
#
#   install.sh system            as root on Debian or Ubuntu: packages, the user, the folders of the volumes
#   install.sh packages PREFIX   a virtual environment at PREFIX with the pinned packages, torch first
#   install.sh server PREFIX     the server itself, into that environment
#
# PyPI's torch for Linux on x86_64 is the build for CUDA 13.0, with CUDA's libraries as packages beside it. pip takes the
# build without CUDA (some 3 GB less) where PIP_EXTRA_INDEX_URL names an index of CPU builds. PYTHON: which Python.
set -eu

step=${1:?"usage: install.sh system | packages PREFIX | server PREFIX"}
server=$(cd "$(dirname "$0")/.." && pwd)/server

case $step in
system)
    # g++ and Python's headers: torch compiles transformers where they are loaded (STUDIO_COMPILE), for cards, too.
    # tini: process 1 that hands signals on, so that a stop does not wait for its time limit.
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates g++ libc6-dev python3 python3-dev python3-venv tini
    rm -rf /var/lib/apt/lists/*
    groupadd --gid 10001 studio
    useradd --uid 10001 --gid 10001 --create-home --no-log-init --shell /usr/sbin/nologin studio
    # A new volume takes its owner from the folder that it is mounted on.
    install --directory --owner studio --group studio /data /weights /compiled
    ;;
packages)
    prefix=${2:?"usage: install.sh packages PREFIX"}
    "${PYTHON:-python3}" -m venv "$prefix"
    pip() { "$prefix/bin/python" -m pip "$@"; }
    torch=$(grep '^torch==' "$server/requirements.txt")
    # Wheels alone: no compiler is needed, and what has none for this machine is told at once.
    pip install --only-binary :all: --constraint "$server/constraints.txt" "$torch"
    pip install --only-binary :all: --requirement "$server/requirements.txt"
    pip check
    ;;
server)
    prefix=${2:?"usage: install.sh server PREFIX"}
    # What builds the package is pinned, too, and does not stay.
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    "$prefix/bin/python" -m pip install --only-binary :all: --constraint "$server/constraints.txt" \
        --target "$tools" hatchling
    PYTHONPATH=$tools "$prefix/bin/python" -m pip install --no-deps --no-build-isolation "$server"
    "$prefix/bin/qwen-image-studio" --version
    ;;
*)
    echo "install.sh: there is no step '$step'; the steps are system, packages and server" >&2
    exit 2
    ;;
esac
