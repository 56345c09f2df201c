"""Published figures that our metrics may stand beside: same variant, same data (Tab. 1 and 4 of the paper, PATN's own).

Inception and Detection Scores are left out: ours come from other networks under other names.
"""

# layout -> metric -> (system, value)
QUALITY = {
    "market1501": {
        "ssim_released": (("Ma et al.", 0.253), ("the paper's Full", 0.290), ("PATN", 0.311)),
        "mask_ssim_released": (("Ma et al.", 0.792), ("the paper's Full", 0.805), ("PATN", 0.811)),
    },
    "deepfashion": {"ssim_released": (("the paper's Full", 0.756),)},
}

# system, rank-1 and mAP without synthetic images, and with them; in percent
REID = {
    "market1501": (
        ("the paper: IDE + Euclidean", (73.9, 48.8), (78.5, 55.9)),
        ("the paper: IDE + XQDA", (73.2, 50.9), (77.8, 57.9)),
        ("the paper: IDE + KISSME", (75.1, 51.5), (79.5, 58.1)),
        ("the paper: discriminative embedding", (78.3, 55.5), (80.6, 61.3)),
    ),
}
