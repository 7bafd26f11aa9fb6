"""Networks of other people's checkpoints, written as ONNX graphs. Needs the package `onnx`."""
