"""Ray and Spark on this machine: the results of one process, also if a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_blemish import PROGRAM, ROOT, good_parts, same

import blemish

SCALE = ROOT / "examples/scale"
PHOTOS = 200


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("scale")
    (home / "good").mkdir()
    product = blemish.Product("plate")
    good = good_parts(home / "good", 20)
    blemish.enroll(product, good, simulate_damage=False).save(home / "plate.blemish")
    random = np.random.default_rng(2)
    (home / "photos").mkdir()
    for number in range(PHOTOS - 1):
        photo = random.integers(90, 150, (64, 64, 3), dtype=np.uint8)
        photo[20:30, 20:40] = 0 if number % 5 == 0 else photo[20:30, 20:40]
        Image.fromarray(photo).save(home / f"photos/{number:03}.png")
    (home / "photos/bad.png").write_text("no photo")
    return home


@pytest.fixture(scope="module")
def expected(home: Path) -> dict[str, dict]:
    command = [PROGRAM, "score", "photos", "--profile", "plate.blemish", "--format", "jsonl"]
    done = subprocess.run(command, check=False, cwd=home, capture_output=True, text=True)
    assert done.returncode == 1, "one photo is bad"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(row["path"]).name: row for row in rows}


def kill_a_worker(name: str, killed: list[int]) -> None:
    """Kills the first process of this name that has worked for a while."""
    while not killed:
        for folder in Path("/proc").iterdir():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                times = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, ValueError, UnicodeDecodeError):
                continue
            # More than 0.7 seconds of work: it has opened the profile and scores.
            worked = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
            if name in command and worked > 0.7:
                killed.append(int(folder.name))
                os.kill(killed[0], signal.SIGKILL)
                return
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("system", "worker"), [("ray", "ray::MapWorker"), ("spark", "pyspark.daemon")]
)
def test_a_killed_worker_loses_nothing(
    home: Path, expected: dict[str, dict], system: str, worker: str
) -> None:
    if "BLEMISH_NEEDS_SCALE" not in os.environ:
        pytest.importorskip({"ray": "ray.data", "spark": "pyspark"}[system])
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(worker, killed), daemon=True)
    killer.start()
    command = [sys.executable, SCALE / system / "score.py"]
    command += [home / "photos", home / "plate.blemish", home / f"{system}.jsonl"]
    env = {**os.environ, "RAYON_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=env, timeout=180)
    assert killed, "no worker was killed"
    rows = [json.loads(line) for line in (home / f"{system}.jsonl").read_text().splitlines()]
    found = {Path(row["path"]).name: row for row in rows}
    assert len(rows) == len(found) == PHOTOS
    assert "not an image" in found.pop("bad.png")["error"]
    assert {name: same(row) for name, row in found.items()} == {
        name: same(row) for name, row in expected.items()
    }
