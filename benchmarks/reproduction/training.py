"""The paper's networks (its Tables 6 and 7), and a training that can be interrupted anywhere."""

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
    gather = order.batch(BATCH).map(lambda i: (tf.gather(images, i), tf.gather(labels, i)), 2)
    return gather.prefetch(4)


def train(shape, classes, epoch_of, epochs, momentum, seed, file):
    """Train a network, from where `file` has it.

    Args:
        shape: of one image.
        classes: number of classes.
        epoch_of: a function from the number of an epoch to its batches.
        epochs: how many.
        momentum: of Nesterov's kind; 0 for none.
        seed: of the first weights and of dropout.
        file: a path that ends in .keras, where the model is kept after each epoch.

    Returns:
        The model.
    """
    if file.exists():
        model = keras.saving.load_model(file)
    else:
        keras.utils.set_random_seed(seed)
        model = network(shape, classes)
        optimizer = keras.optimizers.SGD(RATE, momentum, nesterov=momentum > 0)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    steps = int(epoch_of(0).cardinality())
    for epoch in range(int(model.optimizer.iterations) // steps, epochs):
        logs = model.fit(epoch_of(epoch), verbose=0, shuffle=False).history
        part = file.with_stem(file.stem + ".part")
        model.save(part)
        part.replace(file)
        print(f"  epoch {epoch + 1}/{epochs}: training accuracy {logs['accuracy'][0]:.4f}",
              flush=True)  # fmt: skip
    return model
