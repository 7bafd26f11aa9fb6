"""Turns other people's files into voices and models of timbral. Needs the package `onnx`."""
