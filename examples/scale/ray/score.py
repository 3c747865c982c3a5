"""Scores a folder of photos with Ray Data: python score.py PHOTOS PROFILE OUT [WORKERS]"""

import json
import sys

import blemish
import ray


class Scorer:
    """A worker. It opens the profile once."""

    def __init__(self, file: str) -> None:
        self.profile = blemish.Profile(file)

    def __call__(self, batch: dict) -> dict:
        return {
            "row": [self.score(*photo) for photo in zip(batch["path"], batch["bytes"])]
        }

    def score(self, path: str, content: bytes) -> str:
        try:
            row = self.profile.score(content).to_dict()
        except blemish.BlemishError as error:
            # A bad photo must not stop the others.
            row = {"error": str(error)}
        return json.dumps({**row, "path": path})


def main() -> None:
    photos, profile, out, workers = (*sys.argv[1:], "2")[:4]
    # Reading takes no core from the workers: on a small machine they would wait for each other.
    light = {"num_cpus": 0}
    found = ray.data.read_binary_files(
        photos, include_paths=True, ray_remote_args=light
    )
    scored = found.map_batches(
        Scorer,
        fn_constructor_args=[profile],
        batch_size=16,
        concurrency=int(workers),
        num_cpus=1,
        # A worker that dies is started again, and its photos are scored again.
        max_restarts=-1,
        max_task_retries=-1,
    )
    with open(out, "w") as file:
        file.writelines(row["row"] + "\n" for row in scored.iter_rows())


if __name__ == "__main__":
    main()
