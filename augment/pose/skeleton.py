"""The 18 joints of OpenPose's COCO model, in its order, and which of them belong together."""

JOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

INDEX = {name: index for index, name in enumerate(JOINTS)}

TORSO = tuple(INDEX[name] for name in ("right_shoulder", "left_shoulder", "right_hip", "left_hip"))
