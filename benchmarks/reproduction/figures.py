"""The paper's figures, in per cent.

Zhang et al., "Protecting Intellectual Property of Deep Neural Networks with Watermarking", ASIACCS
2018.
"""

SCHEMES = ("content", "unrelated", "noise")
RATES = tuple(range(10, 100, 10))

# Table 1: watermark accuracy on trained and on new triggers.
WATERMARK = {
    "mnist": {"content": (100, 100), "unrelated": (100, 100), "noise": (100, 99.42)},
    "cifar10": {"content": (99.93, 98.6), "unrelated": (100, 100), "noise": (99.86, 94.1)},
}

# Table 2: test accuracy of the model without a watermark, and with one.
TEST = {
    "mnist": {"clean": 99.28, "content": 99.46, "unrelated": 99.43, "noise": 99.41},
    "cifar10": {"clean": 78.6, "content": 78.41, "unrelated": 78.12, "noise": 78.49},
}

# Tables 3 and 4: test and watermark accuracy after pruning 10, 20 ... 90 per cent.
PRUNED = {
    "mnist": {
        "content": ((99.44, 100), (99.45, 100), (99.43, 100), (99.4, 100), (99.29, 100),
                    (99.27, 100), (99.18, 100), (98.92, 100), (97.03, 99.95)),
        "unrelated": ((99.43, 100), (99.45, 100), (99.41, 100), (99.31, 100), (99.19, 100),
                      (99.24, 100), (98.82, 100), (97.79, 100), (93.55, 99.9)),
        "noise": ((99.4, 100), (99.41, 100), (99.41, 100), (99.42, 100), (99.41, 100),
                  (99.3, 99.9), (99.22, 99.9), (99.04, 99.9), (95.19, 99.55)),
    },
    "cifar10": {
        "content": ((78.37, 99.93), (78.42, 99.93), (78.2, 99.93), (78.24, 99.93), (78.16, 99.93),
                    (77.87, 99.86), (76.7, 99.86), (74.59, 99.8), (64.9, 99.47)),
        "unrelated": ((78.06, 100), (78.08, 100), (78.05, 100), (77.78, 100), (77.75, 100),
                      (77.44, 100), (76.71, 100), (74.57, 96.39), (62.15, 10.93)),
        "noise": ((78.45, 99.86), (78.5, 99.86), (78.33, 99.93), (78.31, 99.93), (78.02, 99.8),
                  (77.87, 99.6), (77.01, 98.46), (73.09, 92.8), (59.29, 65.13)),
    },
}  # fmt: skip

# Table 5: test and watermark accuracy after fine-tuning on half of the test set.
FINE_TUNED = {
    "mnist": {"content": (99.6, 99.95), "unrelated": (99.64, 100), "noise": (99.68, 99.85)},
    "cifar10": {"content": (77.55, 98.33), "unrelated": (76.75, 95.33), "noise": (78.43, 69.13)},
}


def figure(dataset, scheme, attack):
    """The paper's (test, watermark) accuracy, `None` where it has none.

    Args:
        dataset: "mnist" or "cifar10"; the paper has no other.
        scheme: "clean" or one of `SCHEMES`.
        attack: "none", "prune 10" and so on, or one that begins with "fine-tune".
    """
    if dataset not in TEST or (scheme == "clean" and attack != "none"):
        return None, None
    if attack.startswith("fine-tune"):
        return FINE_TUNED[dataset][scheme]
    if attack.startswith("prune"):
        return PRUNED[dataset][scheme][RATES.index(int(attack.split()[1]))]
    trained = None if scheme == "clean" else WATERMARK[dataset][scheme][0]
    return TEST[dataset][scheme], trained
