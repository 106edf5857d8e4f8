"""Public docstrings: they are there, name what is there, and their examples run.

An example is a block ```python: statements, or a session with `>>>` whose output is compared. It
finds numpy as np, keras, tf, tfmark, digits of 8x8 pixels in `x_train`, `y_train`, `x_test` and
`y_test`, a `key`, a `model` that carries its watermark, also at http://localhost:8501, and an
`innocent` one. All of it is its own: it may train the model, and write into the current folder.
"""

import builtins
import copy
import inspect
import re
from functools import cached_property

import griffe
import keras
import numpy as np
import pytest
import tensorflow as tf
from sybil import Document
from sybil.parsers.markdown import PythonCodeBlockParser

import tfmark
import tfmark.attacks
from tests.http_server import http_server, watermarked
from tests.small_models import small_digits, small_key, small_network
from tfmark import errors

ADDRESS = "http://localhost:8501"


def public():
    """All that has to have a docstring, by its full name."""
    raised = [name for name, item in vars(errors).items() if inspect.isclass(item)]
    listed = {tfmark: tfmark.__all__, tfmark.attacks: tfmark.attacks.__all__, errors: raised}
    for module, names in listed.items():
        for name in names:
            found = getattr(module, name)
            if callable(found):
                yield f"{module.__name__}.{name}", found
            if inspect.isclass(found):
                yield from members(f"{module.__name__}.{name}", found)


def members(name, owner):
    """The methods and properties that a class defines, and how it is called."""
    hooks = vars(keras.callbacks.Callback)  # Keras documents them
    for part, member in vars(owner).items():
        item = getattr(member, "__func__", member)  # of a class method
        is_member = inspect.isfunction(item) or isinstance(item, property | cached_property)
        if is_member and (part == "__call__" or part[0] != "_") and part not in hooks:
            yield f"{name}.{part}", item


PUBLIC = dict(public())


def sections(text):
    """The sections that the documentation will show, by kind."""
    parsed = griffe.Docstring(text, lineno=1).parse("google", warnings=False)
    return {section.kind.value: section.value for section in parsed}


def parameters(item):
    is_property = isinstance(item, property | cached_property)
    if is_property or getattr(item, "_is_protocol", False):
        return {}
    if inspect.isclass(item) and issubclass(item, Exception) and "__init__" not in vars(item):
        return {}  # a message
    found = inspect.signature(item).parameters
    return {name: found[name] for name in found if name not in ("self", "cls")}


def returns_something(item):
    is_function = inspect.isfunction(item)
    return is_function and inspect.signature(item).return_annotation not in ("None", None)


def docstring(item):
    """Its own, not an inherited one."""
    return inspect.cleandoc(item.__doc__ or "")


def complaints(item, known=()):
    """What is wrong with a docstring, and what to write."""
    text = docstring(item)
    if not text:
        return ["write a docstring: one line that ends with a full stop"]
    found = []
    summary = text.splitlines()[0]
    if not summary.endswith((".", "?")):
        found.append(f"let the first line be a sentence that ends with a full stop: {summary!r}")
    if reference := re.search(r"[Ss]ee `([\w.]+)`\.$", text):
        if not any(other.endswith("." + reference[1]) for other in known):
            found.append(f"refer to something public instead of {reference[1]!r}")
        return found
    has = sections(text)
    return found + wrong_arguments(item, has) + wrong_results(item, has) + wrong_errors(has)


def wrong_arguments(item, has):
    said = {entry.name.lstrip("*"): entry for entry in has.get("parameters", [])}
    attributes = {entry.name for entry in has.get("attributes", [])}
    real = parameters(item)
    found = [
        f"add `{name}: ...` to Args" for name in real if name not in said and name not in attributes
    ]
    found += [f"remove `{name}` from Args: it is no argument" for name in said if name not in real]
    for name, entry in said.items():
        given = real[name].default if name in real else inspect.Parameter.empty
        if given is not inspect.Parameter.empty and "efaults to" not in " ".join(
            entry.description.split()
        ):
            found.append(f"end `{name}` in Args with `Defaults to ...`, which is {given!r}")
    return found


def wrong_results(item, has):
    if returns_something(item) and not {"returns", "yields"} & has.keys():
        return ["add `Returns:` with what comes back, its shape and dtype"]
    return []


def wrong_errors(has):
    known = vars(errors) | vars(builtins)
    return [
        f"name in Raises an error of tfmark.errors or of Python instead of {name!r}"
        for entry in has.get("raises", [])
        for name in str(entry.annotation).split(", ")
        if not (isinstance(known.get(name), type) and issubclass(known[name], Exception))
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_docstrings_that_are_complete(name):
    wrong = complaints(PUBLIC[name], PUBLIC)
    assert not wrong, f"\n\nIn the docstring of {name}:\n  - " + "\n  - ".join(wrong)


def documented(takes: int, gives: int = 1) -> int:
    """Does something.

    Args:
        takes: a number.
        gives: another one. Defaults to 1.

    Returns:
        A number.

    Raises:
        ValueError: if it is none.
    """


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("Does something.", "Does something", "full stop"),
        ("        takes: a number.\n", "", "add `takes: ...`"),
        ("takes: a", "token: a", "remove `token`"),
        (" Defaults to 1.", "", "end `gives` in Args with `Defaults to ...`, which is 1"),
        ("    Returns:\n        A number.\n", "", "add `Returns:`"),
        ("ValueError:", "NumberError:", "instead of 'NumberError'"),
        (documented.__doc__, "", "write a docstring"),
        (documented.__doc__, "See `Nothing.at_all`.", "instead of 'Nothing.at_all'"),
    ],
)
def test_what_a_docstring_lacks_is_said(monkeypatch, before, after, problem):
    assert not complaints(documented)
    monkeypatch.setattr(documented, "__doc__", documented.__doc__.replace(before, after))
    assert any(problem in said for said in complaints(documented))


def owner_of(name):
    """The name that a member is documented with."""
    return re.match(r"tfmark(\.attacks|\.errors)?\.\w+", name)[0]


DOCUMENTED = PUBLIC | {"tfmark.attacks": tfmark.attacks}
EXAMPLES = {name: docstring(item) for name, item in DOCUMENTED.items() if "```" in docstring(item)}


@pytest.mark.parametrize("name", sorted({owner_of(n) for n in PUBLIC if "errors." not in n}))
def test_all_that_is_public_has_an_example(name):
    assert name in map(owner_of, EXAMPLES), (
        f"\n\nAdd to the docstring of {name}:\n\nExample:\n```python\n>>> ...\n```"
    )


@pytest.fixture(scope="module")
def world(small_marked):
    """What examples find."""
    key = small_key()
    x_train, y_train, x_test, y_test = small_digits()
    with http_server(watermarked(key)) as server:
        yield server.url, {
            "np": np, "keras": keras, "tf": tf, "tfmark": tfmark, "key": key,
            "x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test,
            "model": small_marked, "innocent": small_network(),
        }  # fmt: skip


def own(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile("adam", "sparse_categorical_crossentropy")
    return copy


# Keras 3.15 warns of each data set in `fit`, unless it is told `shuffle=False`.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address, names = world
    text = EXAMPLES[name].replace(ADDRESS, address)
    page = Document(text, name)
    page.namespace.update(names, key=copy.deepcopy(names["key"]))  # it records opened marks
    if ".fit(" in text:
        page.namespace["model"] = own(names["model"])
    for region in PythonCodeBlockParser()(page):
        page.add(region)
    examples = list(page.examples())
    assert len(examples) >= text.count("```python") > 0
    for example in examples:
        example.evaluate()
