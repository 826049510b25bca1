"""Rules that make a larger, or a faulty, request of a request. They know the form of JSON and little of its meaning."""

from __future__ import annotations

import copy
import gzip
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

from app.wire.codec import JSON, MSGPACK
from tests.promises.steps.seeds import Candidate, as_json

Tree = Any
Place = tuple[Any, Any]
"""A container, and a key or an index in it."""

FACTORS = (2, 3, 5, 10, 30, 100, 300, 1000, 3000, 10_000)


def places(tree: Tree) -> Iterator[Place]:
    """Yield all places of a tree."""
    stack = [tree]
    while stack:
        holder = stack.pop()
        keys: Any = holder.keys() if type(holder) is dict else range(len(holder)) if type(holder) is list else ()
        for key in keys:
            yield holder, key
            if type(holder[key]) in {dict, list}:
                stack.append(holder[key])


def _chosen(tree: Tree, draw: random.Random, kinds: set[type]) -> Place | None:
    found = [(holder, key) for holder, key in places(tree) if type(holder[key]) in kinds]
    return draw.choice(found) if found else None


def _renamed(value: Tree, number: int) -> Tree:
    """Return a copy of an item, with another name for its results."""
    made = copy.deepcopy(value)
    if type(made) is dict and "output" in made:
        output = made["output"]
        made["output"] = f"{output}_{number}" if type(output) is str else [f"{name}_{number}" for name in output]
    return made


def repeat(tree: Tree, draw: random.Random) -> str | None:
    """Repeat a part of a list."""
    place = _chosen(tree, draw, {list})
    if place is None:
        return None
    holder, key = place
    items = holder[key]
    times = draw.choice(FACTORS)
    if not items or len(items) * times > 60_000:
        return None
    holder[key] = items + [_renamed(item, number) for number in range(times) for item in items[: draw.randint(1, 4)]]
    return f"list {key!r} x{times}"


def chain(tree: Tree, draw: random.Random) -> str | None:
    """Repeat an op on its own result."""
    ops = tree.get("graph", {}).get("ops") if type(tree) is dict and type(tree.get("graph")) is dict else None
    if type(ops) is not list or not ops:
        return None
    at = draw.randrange(len(ops))
    op = ops[at]
    if type(op) is not dict or type(op.get("inputs")) is not list or type(op.get("output")) is not str:
        return None
    if not op["inputs"] or type(op["inputs"][0]) is not str:
        return None
    times = draw.choice(FACTORS[:8])
    last, links = op["output"], []
    for number in range(times):
        links.append({**op, "inputs": [last, *op["inputs"][1:]], "output": f"{op['output']}_{number}c"})
        last = links[-1]["output"]
    for later in ops[at + 1 :]:
        if type(later.get("inputs")) is list:
            later["inputs"] = [last if given == op["output"] else given for given in later["inputs"]]
    ops[at + 1 : at + 1] = links
    return f"chain {op.get('op')!r} x{times}"


def widen(tree: Tree, draw: random.Random) -> str | None:
    """Repeat a member of an object under new names."""
    place = _chosen(tree, draw, {dict})
    if place is None:
        return None
    holder, key = place
    members = holder[key]
    times = draw.choice(FACTORS)
    if not members or times > 20_000:
        return None
    name = draw.choice(list(members))
    length = draw.choice((1, 1, 1, 100))
    members.update({f"{'n' * length}{name}{number}": copy.deepcopy(members[name]) for number in range(times)})
    return f"object {key!r} x{times}"


def enlarge(tree: Tree, draw: random.Random) -> str | None:
    """Multiply a number."""
    place = _chosen(tree, draw, {int, float})
    if place is None:
        return None
    holder, key = place
    factor = draw.choice(FACTORS)
    holder[key] = holder[key] * factor
    return f"number {key!r} x{factor}"


def lengthen(tree: Tree, draw: random.Random) -> str | None:
    """Make a string longer, everywhere that it stands."""
    place = _chosen(tree, draw, {str})
    if place is None:
        return None
    old = place[0][place[1]]
    if not old:
        return None
    new = (old * draw.choice(FACTORS))[: draw.choice((128, 128, 128, 90_000))]
    everywhere = draw.random() < 0.7
    for holder, key in list(places(tree)) if everywhere else [place]:
        if holder[key] == old and type(holder[key]) is str:
            holder[key] = new
        if type(holder) is dict and key == old and everywhere and new not in holder:
            holder[new] = holder.pop(old)
    return f"string {old[:10]!r} to {len(new)}"


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e300,
    2**63,
    -(2**63),
    "",
    "NaN",
    "x",
    "\x00",
    "é",
    "a:b",
    [],
    {},
    [[]],
    {"number": "NaN"},
    {"number": 1},
    [None],
    ["x"],
    [1, [2]],
    "\U0001f600",
)


def spoil(tree: Tree, draw: random.Random) -> str | None:
    """Put a value of another kind in a place."""
    found = list(places(tree))
    if not found:
        return None
    holder, key = draw.choice(found)
    holder[key] = copy.deepcopy(draw.choice(ODD))
    return f"{key!r} is {holder[key]!r}"


def spoil_all(tree: Tree, draw: random.Random) -> str | None:
    """Put a value of another kind in all places of one key."""
    found = list(places(tree))
    if not found:
        return None
    wanted = draw.choice(found)[1]
    odd = draw.choice(ODD)
    unknown = draw.random() < 0.5
    count = 0
    for number, (holder, key) in enumerate(found):
        if key == wanted or (type(wanted) is int and type(key) is int):
            old = holder[key]
            holder[key] = f"{old[:120]}{number}?" if unknown and type(old) is str else copy.deepcopy(odd)
            count += 1
    return f"{count} of {wanted!r} are odd"


def drop(tree: Tree, draw: random.Random) -> str | None:
    """Remove a member."""
    found = [(holder, key) for holder, key in places(tree) if type(holder) is dict]
    if not found:
        return None
    holder, key = draw.choice(found)
    del holder[key]
    return f"no {key!r}"


def nest(tree: Tree, draw: random.Random) -> str | None:
    """Put a value into lists."""
    found = list(places(tree))
    if not found:
        return None
    holder, key = draw.choice(found)
    levels = draw.choice((1, 2, 8, 30, 60, 200))
    for _ in range(levels):
        holder[key] = [holder[key]]
    return f"{key!r} in {levels} lists"


def names(tree: Tree) -> list[str]:
    """Return the names of the graph."""
    graph = tree.get("graph") if type(tree) is dict else None
    if type(graph) is not dict:
        return ["x"]
    tensors, ops = graph.get("tensors"), graph.get("ops")
    found = list(tensors) if type(tensors) is dict else []
    for op in ops if type(ops) is list else []:
        output = op.get("output") if type(op) is dict else None
        found += (
            [output] if type(output) is str else [n for n in output if type(n) is str] if type(output) is list else []
        )
    return found or ["x"]


MEMBERS = (
    *("wrt", "outputs", "vmap", "checkpoint", "accumulate", "backward", "dag", "encoding", "detect_anomaly", "dtype"),
    *("unreached", "randomness", "seed", "timeout_ms", "output", "tangents", "vectors", "mode", "eps"),
)


def option(tree: Tree, draw: random.Random) -> str | None:
    """Set a member that requests may leave out."""
    if type(tree) is not dict:
        return None
    member = draw.choice(MEMBERS)
    known = names(tree)
    some = known if draw.random() < 0.5 else known[-1:]
    scalars = dict.fromkeys(some, 1.0)
    values: dict[str, Any] = {
        **dict.fromkeys(("wrt", "outputs", "checkpoint", "backward"), some),
        **dict.fromkeys(("accumulate", "tangents", "vectors"), scalars),
        "vmap": dict.fromkeys(some, draw.choice((0, -1, 1))),
        "dag": draw.random() < 0.7,
        "encoding": "base64",
        "detect_anomaly": True,
        "unreached": "zeros",
        "randomness": "same",
        "seed": 1,
        "timeout_ms": 50,
        "output": some[0],
        "mode": draw.choice(("forward", "reverse")),
        "eps": 1e-3,
        "dtype": "float32",
    }
    tree[member] = values[member]
    return f"{member} of {len(some)}"


def expand(tree: Tree, draw: random.Random) -> str | None:
    """Make the tensors larger: scalars that are expanded, with all dimensions of one size multiplied."""
    graph = tree.get("graph") if type(tree) is dict else None
    if type(graph) is not dict or type(graph.get("tensors")) is not dict or type(graph.get("ops")) is not list:
        return None
    tensors, ops = graph["tensors"], graph["ops"]
    expansions = {op["output"]: op["attributes"] for op in ops if op["op"] == "expand" and "size" in op["attributes"]}
    shapes = {name: tensor["shape"] for name, tensor in tensors.items() if "shape" in tensor}
    shapes |= {name: attributes["size"] for name, attributes in expansions.items()}
    sizes = sorted({size for shape in shapes.values() for size in shape if size > 0})
    if not sizes:
        return None
    factor = draw.choice((2, 3, 5, 10, 30, 100, 1000))
    chosen = set(sizes) if draw.random() < 0.5 else {draw.choice(sizes)}
    rank = draw.choice((0, 0, 0, 1, 4, 28))
    for name, shape in shapes.items():
        size = [1] * rank + [size * factor if size in chosen else size for size in shape]
        if name in expansions:
            expansions[name]["size"] = size
        else:
            _expand_leaf(tree, name, size)
    for op in ops:
        for holder, key in places([op.get("inputs"), op.get("attributes")]) if op["op"] != "expand" else ():
            if type(holder[key]) is int and holder[key] in chosen and draw.random() < 0.8:
                holder[key] *= factor
    return f"sizes {sorted(chosen)[:3]} x{factor} rank +{rank}"


def _expand_leaf(tree: Tree, name: str, size: list[int]) -> None:
    """Replace a leaf by a scalar that is expanded to a size."""
    tensor = tree["graph"]["tensors"].pop(name)
    value = tensor.get("data")
    while type(value) is list and value:
        value = value[0]
    kept = {key: member for key, member in tensor.items() if key not in {"shape", "data"}}
    tree["graph"]["tensors"][f"{name}_0"] = {**kept, "data": value if type(value) in {int, bool, float} else 0.5}
    op = {"op": "expand", "inputs": [f"{name}_0"], "output": name, "attributes": {"size": size}}
    tree["graph"]["ops"].insert(0, op)
    for section in ("tangents", "vectors"):
        if name in tree.get(section, ()):
            del tree[section][name]
            tree[section][f"{name}_0"] = 1.0


def values(tree: Tree, draw: random.Random) -> str | None:
    """Replace a tensor's data by many numbers that are written in an odd way."""
    graph = tree.get("graph", tree) if type(tree) is dict else None
    tensors = graph.get("tensors") if type(graph) is dict else None
    if type(tensors) is not dict or not tensors:
        return None
    name = draw.choice(list(tensors))
    item: Any = draw.choice(
        (0.5, "NaN", -0.0, 1, 1e-300, 123456789.123456, [], [1], [[1.5]], ["NaN"], {}, True, None, 2**62)
    )
    count = draw.choice((10, 100, 1000, 5000, 20_000))
    tensors[name] = {"data": [item] * count, "requires_grad": draw.random() < 0.5}
    if draw.random() < 0.3:
        tensors[name]["data"].append(draw.choice(ODD))
    return f"data {item!r} x{count}"


RULES: tuple[Callable[[Tree, random.Random], str | None], ...] = (
    repeat,
    repeat,
    chain,
    widen,
    enlarge,
    lengthen,
    spoil,
    spoil_all,
    drop,
    nest,
    option,
    option,
    expand,
    expand,
    expand,
    values,
)


def _as_text(candidate: Candidate, draw: random.Random) -> Candidate | None:
    """Write the body in an odd way that is the same JSON, or nearly."""
    if candidate.codec is not JSON or candidate.tree is None:
        return None
    try:
        text = as_json(candidate.tree)
    except (TypeError, ValueError, RecursionError):
        return None
    ways: dict[str, Callable[[bytes], bytes]] = {
        "escaped": lambda body: re.sub(rb"[a-z]", lambda match: b"\\u%04x" % match[0][0], body),
        "colons escaped": lambda body: body.replace(b"{", b'{"\\u003a":1,', 1),
        "white space": lambda body: body.replace(b",", b", \n "),
        "a key twice": lambda body: body.replace(b"{", b'{"graph":{},', 1),
        "keys twice": lambda body: body.replace(b"{", b'{"a":1,"a":1,'),
        "negative zeros": lambda body: re.sub(rb"(?<=[\[,])1(?=[,\]])", b"-0", body),
        "large exponents": lambda body: re.sub(rb"(?<=[\[,:])[0-9.]+(?=[,\]}])", b"1e+30", body),
        "overflow": lambda body: re.sub(rb"(?<=[\[,:])[0-9.]+(?=[,\]}])", b"1e999", body),
        "wide": lambda body: re.sub(rb"(?<=[\[,:])[0-9.]+(?=[,\]}])", b"9" * 30, body),
        "cut off": lambda body: body[:-1],
        "long integers": lambda body: re.sub(rb"(?<=[\[,:])[0-9.]+(?=[,\]}])", b"9" * 300, body),
    }
    way = draw.choice(list(ways))
    return candidate.but(way, tree=None, raw=ways[way](text))


def _coded(candidate: Candidate, draw: random.Random) -> Candidate | None:
    """Compress the body, or ask for a compressed reply."""
    if draw.random() < 0.5:
        return candidate.but("gzip reply", headers={**candidate.headers, "Accept-Encoding": "gzip, identity;q=0"})
    if candidate.tree is None:
        return None
    try:
        body = candidate._body()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    coding = draw.choice(("gzip", "zstd"))
    raw = gzip.compress(body, 1) if coding == "gzip" else zstandard.ZstdCompressor().compress(body)
    return candidate.but(coding, tree=None, raw=raw, headers={**candidate.headers, "Content-Encoding": coding})


def grown(candidate: Candidate, draw: random.Random) -> Candidate | None:
    """Return a candidate with one to four changes, or None if they do not apply."""
    tree = copy.deepcopy(candidate.tree)
    try:
        said = [draw.choice(RULES)(tree, draw) for _ in range(draw.randint(1, 4))] if tree is not None else []
    except (TypeError, AttributeError, KeyError, OverflowError, MemoryError, StopIteration, RuntimeError):
        return None  # an earlier change left the form that the rule knows
    if not any(said):
        return None
    made = candidate.but("; ".join(filter(None, said)), tree=tree)
    chance = draw.random()
    if chance < 0.1:
        return _as_text(made, draw)
    if chance < 0.2:
        return _coded(made, draw)
    if chance < 0.35:
        return made.but("msgpack", codec=MSGPACK if made.codec is JSON else JSON)
    return made
