"""From an ONNX model to a TensorRT engine: precision, build, store and verification."""
