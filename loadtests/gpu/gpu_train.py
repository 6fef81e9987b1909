"""The default's adapter on a CUDA device: python -m gpu_train, by loadtests/gpu/run.py --train.

Goes on from the run's last checkpoint where there is one, so that a training longer than one call
takes several.
"""

import argparse
import os
import shutil
from pathlib import Path

from blockrank_server.models.training.config_file import load_train_config
from blockrank_server.models.training.run import train

ROOT = Path(__file__).parents[2]
CARRIED = ROOT / ".gpu"
RECIPE = ROOT / "models" / "training" / "default.yaml"
# Changes no result but by rounding.
ON_A_GPU = ["device=cuda", "workers=8"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    args = parser.parse_args()
    folders = [f"data.root={CARRIED / 'train'}", f"output={CARRIED / 'run'}"]
    config = load_train_config(args.recipe, [*folders, *ON_A_GPU, *args.assignments])
    is_resuming = any(config.output.glob("checkpoint-*/complete"))
    folder = train(config, is_resuming=is_resuming, cache_dir=CARRIED / "cache")
    if out := os.environ.get("OUT"):  # where a lent machine takes files from
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy(path, out)


if __name__ == "__main__":
    main()
