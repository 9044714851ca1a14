"""Clients that each submit a job, wait for it and fetch its picture, again and again, until standard input ends.

``python -m benchmarks.load_clients URL CLIENTS``; prints how often each status was answered, a line each.
"""

import sys
import threading
import time
from collections import Counter

import requests

BODY = {"operation": "generate", "prompt": "a cup", "steps": 2, "width": 128, "height": 128}
LONGEST_PAUSE_S = 2.0


def main(url: str, clients: int) -> None:
    """Run the clients."""
    over, seen = threading.Event(), Counter[int]()
    threads = [threading.Thread(target=client, args=(url, over, seen), daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    for status, count in seen.items():
        print(status, count)


def client(url: str, over: threading.Event, seen: Counter[int]) -> None:
    """Be one client."""
    with requests.Session() as session:
        while not over.is_set():
            try:
                _once(session, url, over, seen)
            except requests.RequestException:
                seen[0] += 1


def _once(session: requests.Session, url: str, over: threading.Event, seen: Counter[int]) -> None:
    answer = session.post(f"{url}/v1/jobs", json=BODY, timeout=60)
    seen[answer.status_code] += 1
    if answer.status_code != 202:
        time.sleep(min(LONGEST_PAUSE_S, float(answer.headers.get("Retry-After", 1))))
        return
    job = answer.json()
    while job["state"] in {"queued", "running"} and not over.is_set():
        answer = session.get(f"{url}/v1/jobs/{job['id']}", params={"wait": 20}, timeout=60)
        seen[answer.status_code] += 1
        if answer.status_code != 200:
            return
        job = answer.json()
    for image in job["images"]:
        seen[session.get(image["url"], timeout=60).status_code] += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
