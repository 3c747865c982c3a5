"""How many photos per second `blemish serve` answers, beside the rate of `blemish score` on the same photos.

    python benches/serve.py target/release/blemish nut.blemish photos/

Only Python's own library is needed. The rates are of one run on one machine: compare the ratio.
"""

from __future__ import annotations

import argparse
import http.client
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ENDS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
BOUNDARY = "photo-boundary"


def form(path: Path) -> bytes:
    """A form with one photo."""
    name = path.name.encode()
    head = b'Content-Disposition: form-data; name="photo"; filename="' + name + b'"\r\n\r\n'
    line = b"--" + BOUNDARY.encode()
    return line + b"\r\n" + head + path.read_bytes() + b"\r\n" + line + b"--\r\n"


class Server:
    """A server on a free port."""

    def __init__(self, blemish: str, profile: str, *flags: str) -> None:
        command = [blemish, "serve", "--profile", profile, "--port", "0", *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            sys.exit(line + self.process.stderr.read())
        self.port = int(found.group(1))

    def memory(self) -> int:
        """Resident memory in megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) // 1024

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait()


def ask(connection: http.client.HTTPConnection, body: bytes) -> int:
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/score", body, kind)
    response = connection.getresponse()
    response.read()
    return response.status


def load(port: int, bodies: list[bytes], clients: int, count: int) -> tuple[float, list[float]]:
    """Photos per second, and the milliseconds of each answer."""
    times, lock, left = [], threading.Lock(), iter(range(count))

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            start = time.perf_counter()
            status = ask(connection, bodies[number % len(bodies)])
            took = (time.perf_counter() - start) * 1e3
            if status != 200:
                sys.exit(f"status {status}")
            with lock:
                times.append(took)

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return count / (time.perf_counter() - start), sorted(times)


def stopped(server: Server, bodies: list[bytes]) -> tuple[int, int]:
    """Stops the server under load. Returns how many photos it took, and how many of them were not answered."""
    taken, answered, lock = [0], [0], threading.Lock()

    def client() -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            try:
                connection.connect()
            except OSError:
                return
            kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            try:
                connection.request("POST", "/score", bodies[0], kind)
                status = connection.getresponse().status
            except OSError:
                # The connection waited in the system and was never accepted.
                return
            with lock:
                taken[0] += 1
                answered[0] += status == 200

    threads = [threading.Thread(target=client) for _ in range(16)]
    [thread.start() for thread in threads]
    time.sleep(3)
    code = server.stop()
    [thread.join() for thread in threads]
    if code != 0:
        sys.exit(f"the server ended with {code}")
    return taken[0], taken[0] - answered[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blemish")
    parser.add_argument("profile")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--memory", type=int, default=0, help="requests to watch the memory over")
    asked = parser.parse_args()
    photos = sorted(p for p in asked.photos.rglob("*") if p.suffix.lower() in ENDS)
    photos = (photos * (asked.requests // len(photos) + 1))[: asked.requests]
    bodies = [form(photo) for photo in photos]
    command = [asked.blemish, "score", "--profile", asked.profile, "--format", "jsonl", "-q"]
    unique = sorted(set(photos))

    def alone(files: list[Path]) -> float:
        start = time.perf_counter()
        subprocess.run([*command, *map(str, files)], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    # The start of the program is no part of its rate.
    rate = (len(unique) - 1) / (alone(unique) - alone(unique[:1]))
    print(f"score: {rate:.1f} photos/s ({len(unique)} photos)")
    for flags in ([], ["--no-page"]):
        server = Server(asked.blemish, asked.profile, *flags)
        load(server.port, bodies, 2, 20)
        for clients in (1, 4, 16):
            served, times = load(server.port, bodies, clients, asked.requests)
            p99 = times[int(len(times) * 0.99)]
            print(
                f"serve {' '.join(flags)} {clients} clients: {served:.1f} photos/s ({served / rate:.2f}), "
                f"p50 {statistics.median(times):.0f} ms, p99 {p99:.0f} ms",
                flush=True,
            )
        server.stop()
    taken, lost = stopped(Server(asked.blemish, asked.profile), bodies)
    print(f"SIGTERM under 16 clients: {taken} taken, {lost} not answered")
    if asked.memory:
        server = Server(asked.blemish, asked.profile)
        for done in range(0, asked.memory, asked.memory // 5):
            load(server.port, bodies, 4, asked.memory // 5)
            print(f"memory after {done + asked.memory // 5} requests: {server.memory()} MB", flush=True)
        server.stop()


if __name__ == "__main__":
    main()
