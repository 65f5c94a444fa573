"""How good the detections are: average precision by the definition of COCO."""
