"""`blemish serve` with the client of Triton, which knows nothing of blemish."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_blemish import PROGRAM, STAIN, good_parts, printed

import blemish

triton = pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("serve")
    file = home / "leather.blemish"
    product = blemish.Product("leather")
    blemish.enroll(product, good_parts(home, 20), simulate_damage=False).save(file)
    return file


@pytest.fixture(scope="module")
def client(profile: Path) -> Iterator[triton.InferenceServerClient]:
    command = [PROGRAM, "serve", "--profile", profile, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    address = re.search(r"http://(\S+)", server.stderr.readline()).group(1)
    yield triton.InferenceServerClient(address)
    server.terminate()
    assert server.wait() == 0


def test_the_client_gets_what_score_prints(
    client: triton.InferenceServerClient, profile: Path
) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("leather")
    (version,) = client.get_model_metadata("leather")["versions"]
    photos = [STAIN, STAIN.with_name("good.png")]
    image = triton.InferInput("image", [2], "BYTES")
    image.set_data_from_numpy(np.array([p.read_bytes() for p in photos], dtype=object))
    rows = printed(*photos, "--profile", profile)
    result = client.infer("leather", [image], model_version=version)
    assert result.as_numpy("score").tolist() == [np.float32(row["score"]) for row in rows]
    assert result.as_numpy("verdict").tolist() == [row["verdict"].encode() for row in rows]
    assert result.as_numpy("peak").tolist() == [[row["peak_x"], row["peak_y"]] for row in rows]
    wanted = [triton.InferRequestedOutput(name) for name in ("map", "overlay")]
    result = client.infer("leather", [image], outputs=wanted)
    sides = (2, rows[0]["height"], rows[0]["width"])
    assert result.as_numpy("map").shape == sides
    own = blemish.Profile(profile).score(STAIN).map
    assert np.array_equal(result.as_numpy("map")[0], own)
    assert result.as_numpy("overlay")[0].startswith(b"\x89PNG")
    with pytest.raises(triton.InferenceServerException, match="there is no model nut"):
        client.infer("nut", [image])
