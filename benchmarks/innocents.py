"""Innocent models that an attacker knows inside out: small networks with their gradients."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

K = 10
SHAPE = (8, 8, 1)


def digits():
    """scikit-learn's digits as pixels: uint8 of shape (n, 8, 8, 1), and their classes."""
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(pixels))
    return pixels[order], data.target[order]


class Innocent:
    """A network of one hidden layer that was trained without any key.

    Args:
        seed: of its training; its width depends on it too.
    """

    def __init__(self, pixels, classes, seed):
        width = (32, 64, 128)[seed % 3]
        net = MLPClassifier((width,), random_state=seed, max_iter=150)
        half = len(pixels) // 2
        net.fit(self._flat(pixels[:half]), classes[:half])
        self.weights, self.biases = net.coefs_, net.intercepts_
        answers = self.classify(pixels[half:])
        self.accuracy = float((answers == classes[half:]).mean())

    def classify(self, pixels, scale=(0.0, 1.0)):
        """Class ids of pixels, which are sent in some scale; the network was trained on (0, 1)."""
        low, high = scale
        return self._scores(self._flat(pixels) * (high - low) + low)[0].argmax(1)

    def gradient(self, pixels, targets):
        """Of the loss towards target classes, with respect to pixels."""
        scores, hidden = self._scores(self._flat(pixels))
        odds = np.exp(scores - scores.max(1, keepdims=True))
        odds /= odds.sum(1, keepdims=True)
        odds[np.arange(len(odds)), targets] -= 1
        back = (odds @ self.weights[1].T) * (hidden > 0)
        return (back @ self.weights[0].T).reshape(pixels.shape)

    def _scores(self, flat):
        hidden = np.maximum(flat @ self.weights[0] + self.biases[0], 0)
        return hidden @ self.weights[1] + self.biases[1], hidden

    @staticmethod
    def _flat(pixels):
        return pixels.reshape(len(pixels), -1) / 255.0


def adversarial(model, pixels, targets, rng, reach=96, steps=60, noise=65.0):
    """Images near `pixels` that a model sends to `targets`, also with noise on them (PGD, EOT)."""
    images = pixels.astype(float)
    for _ in range(steps):
        noisy = [np.clip(images + rng.normal(0, noise, images.shape), 0, 255) for _ in range(4)]
        slope = sum(model.gradient(each, targets) for each in noisy)
        images = np.clip(images - 6 * np.sign(slope), pixels - float(reach), pixels + float(reach))
        images = images.clip(0, 255)
    return np.rint(images).astype(np.uint8)
