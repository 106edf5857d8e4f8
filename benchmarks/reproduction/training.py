"""The paper's networks (its Tables 6 and 7), and a training that can be interrupted anywhere."""

import time

import keras
import tensorflow as tf

BATCH = 128
RATE = 0.01


def network(shape, classes):
    """The network for MNIST; for colour images that for CIFAR-10, which is wider."""
    layers = keras.layers
    narrow, wide, dense = (32, 64, 200) if shape[-1] == 1 else (64, 128, 256)
    stack = [keras.Input(shape), layers.Rescaling(1 / 255, -0.5)]
    for width in (narrow, wide):
        stack += [layers.Conv2D(width, 3, activation="relu") for _ in range(2)]
        stack.append(layers.MaxPooling2D())
    stack += [layers.Flatten(), layers.Dense(dense, activation="relu"), layers.Dropout(0.5)]
    stack += [layers.Dense(dense, activation="relu"), layers.Dense(classes, activation="softmax")]
    return keras.Sequential(stack)


def batches(images, labels, seed, epoch):
    """One epoch in random order. The images stay in memory once, as bytes.

    Args:
        images: uint8 tensor.
        labels: tensor of class ids.
        seed: with the epoch, says the order: an interrupted training goes on as it would have.
        epoch: number of the epoch, from 0.
    """
    count = len(images)
    order = tf.data.Dataset.range(count).shuffle(count, seed=1000 * seed + epoch)
    return order.batch(BATCH).map(lambda i: (tf.gather(images, i), tf.gather(labels, i)), 2)


def train(images, labels, classes, epochs, momentum, seed, file, mark=None):
    """Train a network, from where `file` has it.

    Args:
        images: uint8 array.
        labels: their class ids.
        classes: number of classes.
        epochs: how many.
        momentum: of Nesterov's kind; 0 for none.
        seed: of the first weights, of dropout, and of the order of images.
        file: a path that ends in .keras, where the model is kept after each epoch.
        mark: a function from the batches of an epoch, and its number, to marked ones. Defaults to
            `None`.

    Returns:
        The model.
    """
    keras.utils.set_random_seed(seed)
    if file.exists():
        model = keras.saving.load_model(file)
    else:
        model = network(images.shape[1:], classes)
        optimizer = keras.optimizers.SGD(RATE, momentum, nesterov=momentum > 0)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    steps = -(-len(images) // BATCH)
    images, labels = tf.constant(images), tf.constant(labels)
    for epoch in range(int(model.optimizer.iterations) // steps, epochs):
        start = time.process_time()
        data = batches(images, labels, seed, epoch)
        data = (data if mark is None else mark(data, epoch)).prefetch(4)
        _seed_dropout(model, seed, epoch)
        accuracy = model.fit(data, verbose=0, shuffle=False).history["accuracy"][0]
        part = file.with_stem(file.stem + ".part")
        model.save(part)
        part.replace(file)
        used = f"{time.process_time() - start:.0f} seconds of processor time"
        print(f"  epoch {epoch + 1}/{epochs}: training accuracy {accuracy:.4f}, {used}", flush=True)
    return model


def _seed_dropout(model, seed, epoch):
    """Keras does not save how far the random numbers of dropout are: let the epoch say it."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([seed, epoch])
