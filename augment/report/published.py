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

# the paper's systems on Market-1501 (Tab. 3): SSIM and mask-SSIM of the released code
SYSTEMS = {"baseline": (0.256, 0.784), "dsc": (0.272, 0.796), "percloss": (0.276, 0.788), "full": (0.290, 0.805)}

# system, rank-1 and mAP without synthetic images, and with them; in percent
REID = {
    "market1501": (
        ("the paper: IDE + Euclidean", (73.9, 48.8), (78.5, 55.9)),
        ("the paper: IDE + XQDA", (73.2, 50.9), (77.8, 57.9)),
        ("the paper: IDE + KISSME", (75.1, 51.5), (79.5, 58.1)),
        ("the paper: discriminative embedding", (78.3, 55.5), (80.6, 61.3)),
    ),
}
