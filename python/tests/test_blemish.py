"""The wheel against the program: the same numbers, and the same words of errors."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import blemish

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "examples/pictures"
STAIN = PICTURES / "leather/stain.png"
PROGRAM = os.environ.get("BLEMISH", ROOT / "target/release/blemish")


def printed(*arguments: object) -> list[dict]:
    command = [PROGRAM, "score", *map(str, arguments), "--format", "jsonl", "-q"]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def same(row: dict) -> dict:
    left_out = {"path", "milliseconds", "profile"}
    return {field: value for field, value in row.items() if field not in left_out}


@pytest.fixture(scope="module")
def leather() -> blemish.Product:
    return blemish.Product("leather")


def good_parts(folder: Path, count: int) -> list[str]:
    from PIL import Image

    random, files = np.random.default_rng(1), []
    for number in range(count):
        photo = random.integers(90, 150, (64, 64, 3), dtype=np.uint8)
        files.append(str(folder / f"{number}.png"))
        Image.fromarray(photo).save(files[-1])
    return files


def test_files_bytes_and_arrays_get_what_score_prints(leather: blemish.Product) -> None:
    from PIL import Image

    row = printed(STAIN, "--product", "leather", "--method", "april-gan")[0]
    result = leather.score(str(STAIN))
    assert same(result.to_dict()) == same(row)
    assert result.score == pytest.approx(row["score"], abs=1e-7)
    assert result.peak == (row["peak_x"], row["peak_y"])
    assert result.map.shape == (row["height"], row["width"]) and result.map.dtype == np.float32
    assert result.map[result.peak[1], result.peak[0]] == result.map.max()
    pixels = np.asarray(Image.open(STAIN).convert("RGB"))
    others = leather.score([STAIN, STAIN.read_bytes(), pixels, pixels[:, ::-1][:, ::-1]])
    assert [other.score for other in others] == [result.score] * 4
    assert result.overlay is None
    assert leather.score(STAIN, overlay=True).overlay.startswith(b"\x89PNG")
    assert repr(result).startswith("Scored(path=") and "score=" in repr(result)


def test_good_parts_become_a_profile(leather: blemish.Product, tmp_path: Path) -> None:
    good = good_parts(tmp_path, 21)
    profile = blemish.enroll(leather, good, false_alarm=0.1, simulate_damage=False)
    assert profile.product == "leather" and profile.false_alarm == 0.1 and profile.line is not None
    file = tmp_path / "leather.blemish"
    profile.save(file)
    opened = blemish.Profile(file)
    assert opened.sha256 == profile.sha256
    results = opened.score([good[0], STAIN])
    rows = printed(good[0], STAIN, "--profile", file)
    assert [same(result.to_dict()) for result in results] == [same(row) for row in rows]
    assert results[1].verdict == "ng" and results[1].p_value < 0.1
    assert blemish.Profile(file, false_alarm=0.3).line < opened.line


def test_photos_of_a_folder_are_compared(leather: blemish.Product, tmp_path: Path) -> None:
    files = good_parts(tmp_path, 9)
    results = blemish.Mutual(leather).score(files)
    rows = printed(*files, "--product", "leather")
    assert [same(result.to_dict()) for result in results] == [same(row) for row in rows]
    alone = blemish.Mutual(leather, with_prompts=False).score(files)
    assert [result.to_dict()["method"] for result in alone] == ["mutual"] * 9
    with pytest.raises(ValueError, match="too few"):
        blemish.Mutual(leather).score(files[:3])


def test_errors_have_the_words_of_the_program(leather: blemish.Product, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none.png: cannot read"):
        leather.score(tmp_path / "none.png")
    with pytest.raises(blemish.BlemishError, match="photo: not an image"):
        leather.score(b"no photo")
    with pytest.raises(ValueError, match="method"):
        blemish.Product("nut", method="magic")
    with pytest.raises(ValueError, match="pixels are too few"):
        leather.score(np.zeros((3, 3, 3), np.uint8))
    for wrong in (3, np.zeros((30, 30), np.uint8), np.zeros((30, 30, 3))):
        with pytest.raises(TypeError, match="a photo is a path"):
            leather.score(wrong)
    with pytest.raises(TypeError, match="float64 of shape"):
        leather.score(np.zeros((30, 30, 3)))
    with pytest.raises(blemish.BlemishError):
        blemish.Profile(STAIN)
    with pytest.raises(ValueError, match="false_alarm"):
        blemish.Profile(STAIN, false_alarm=2)
    files = [*good_parts(tmp_path, 8), str(tmp_path / "none.png")]
    with pytest.raises(blemish.BlemishError, match="none.png: cannot read"):
        blemish.Mutual(leather).score(files)
    # In their places.
    result, error = leather.score([STAIN, b"no photo"], errors="return")
    assert result.score == leather.score(STAIN).score
    assert isinstance(error, blemish.BlemishError) and "not an image" in str(error)
    assert isinstance(leather.score(tmp_path / "none.png", errors="return"), OSError)
    mutual = blemish.Mutual(leather).score(files, errors="return")
    assert [isinstance(one, Exception) for one in mutual] == [False] * 8 + [True]
    with pytest.raises(ValueError, match="errors ignore: give raise or return"):
        leather.score(STAIN, errors="ignore")


def test_a_fork_is_refused(leather: blemish.Product) -> None:
    leather.score(STAIN)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            leather.score(STAIN)
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"start it by spawn" in os.read(reader, 1000)


def test_other_threads_run_meanwhile(leather: blemish.Product) -> None:
    ticks, done = [], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    leather.score([STAIN] * 10)
    done.set()
    thread.join()
    assert len(ticks) > 20, "the GIL was held"
