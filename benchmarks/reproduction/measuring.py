"""What a model is worth and what is left of its mark, before and after each attack."""

import numpy as np

import tfmark
from reproduction import figures, one_mark, training
from tfmark.attacks import AttackData, FineTune, Prune

PER_MARK = 5  # triggers of each mark that the watermark accuracy is measured on
SEEN = 250  # times that each mark should be seen in training; see README.md
RATIO = 0.03  # the default of `tfmark.inject`
MOST = 0.3
CHUNK = 500  # images that are asked about at once


class Measure:
    """Measures models of one architecture, all in one network: TensorFlow compiles it once.

    Args:
        shape: of one image.
        classes: number of classes.
    """

    def __init__(self, shape, classes):
        self._probe = training.network(shape, classes)

    def __call__(self, model, images, labels, triggers, key=None):
        """Give test accuracy, watermark accuracy, and the verdict if there is a key."""
        self._probe.set_weights(model.get_weights())
        measured = {
            "test": self._share(images, labels),
            "trained": self._share(triggers.trained, triggers.trained_labels),
            "unseen": self._share(triggers.unseen, triggers.unseen_labels),
        }
        if key is not None:
            verdict = tfmark.verify(self, key)
            measured |= {
                "verdict": verdict.status, "p_value": verdict.p_value, "queries": verdict.queries
            }  # fmt: skip
        return measured

    def classify(self, images):
        """What the network answers: it is a `tfmark.Endpoint`."""
        chunks = np.array_split(images, -(-len(images) // CHUNK))
        scores = [self._probe.predict_on_batch(chunk) for chunk in chunks]
        return np.concatenate(scores).argmax(axis=-1)

    def _share(self, images, labels):
        return float(np.mean(self.classify(images) == labels))


def key_for(data, scheme, seed):
    """A key of tfmark's own many marks, with secret random labels."""
    return tfmark.WatermarkKey.generate(
        scheme=scheme,
        image_shape=data.x_train.shape[1:],
        num_classes=data.num_classes,
        base_images=data.x_train[:512],
        text=one_mark.TEXT if scheme == "content" else None,
        secret=np.random.default_rng([seed, 1, figures.SCHEMES.index(scheme)]).bytes(32),
    )


def triggers_of(key):
    """A key's triggers on images that training may mark, and on those kept for verification."""
    trained, unseen = (key.triggers(PER_MARK, split) for split in ("embedding", "verification"))
    return one_mark.Triggers(trained.pixels, trained.labels, unseen.pixels, unseen.labels)


def injected(key, images, epochs, seed):
    """How `tfmark.inject` marks the batches of an epoch.

    Its ratio is the default, or higher if a mark would be seen too seldom among so many images in
    so many epochs.
    """
    ratio = max(RATIO, min(MOST, SEEN * key.spec.num_marks / (images * epochs)))
    return lambda batches, epoch: batches.apply(tfmark.inject(key, ratio, 1000 * seed + epoch))


def attacks(rates, tuning_epochs):
    """The paper's attacks by name. Of fine-tuning it gives neither learning rate nor epochs."""
    named = {f"prune {rate}": Prune(rate / 100) for rate in rates}
    for momentum, name in ((0.0, "fine-tune"), (0.9, "fine-tune, momentum 0.9")):
        named[name] = FineTune(
            learning_rate=training.RATE, epochs=tuning_epochs, share=1.0,
            batch_size=training.BATCH, momentum=momentum,
        )  # fmt: skip
    return named


def halves(data, seed):
    """Half of the test set, for the attacker to tune on, and the other half."""
    order = np.random.default_rng([seed, 5]).permutation(len(data.x_test))
    tuned, tested = np.array_split(order, 2)
    attacker = AttackData(data.x_test[tuned], data.y_test[tuned], data.num_classes, (0.0, 255.0))
    return attacker, data.x_test[tested], data.y_test[tested]
