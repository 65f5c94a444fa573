"""How good the detections are: average precision by the definition of COCO.

`evaluation.evaluate` walks a data set through the pipeline's own stages; `live.LiveAccuracy` judges what was
published while the cameras are rendered scenes.
"""
