"""From a PyTorch module to an ONNX model that TensorRT and ONNX Runtime take."""
