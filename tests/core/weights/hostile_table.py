"""Hostile weight files by name, with a fragment of the error that each one must end with."""

from __future__ import annotations

import zipfile

from tests.core.weights.hostile import (
    DOUBLED,
    MAGIC,
    P2,
    REBUILD,
    array,
    changed_after,
    crowded,
    entries,
    name,
    npy,
    numbers,
    ones,
    overlapping,
    raw,
    safetensors_file,
    tensor,
    text,
    torch_file,
    zipped,
)

FORM = {"emb.weight": (7, 3), "rnn.weight_ih_l0": (16, 3), "rnn.weight_hh_l0": (16, 4), "fc.weight": (4, 3)}
LONG = text("x" * 10_000)
TWO = entries({"fc.weight": tensor(numbers((2, 2)), numbers((2, 1)))})


def weights(**more: bytes) -> bytes:
    """A pickle of a classifier, with more entries."""
    return P2 + entries({key: ones(shape) for key, shape in FORM.items()} | more) + b"."


def formed(**shapes: tuple[int, ...]) -> bytes:
    """A pickle of a classifier with arrays of other shapes: `_` instead of the first dot."""
    other = {key.replace("__", "."): shape for key, shape in shapes.items()}
    return P2 + entries({key: ones(shape) for key, shape in (FORM | other).items()}) + b"."


def copies(function: bytes, arguments: bytes, call: bytes = b"R") -> bytes:
    """A pickle that calls a function with the same arguments 2,000 times."""
    return P2 + function + b"q\x000" + arguments + b"q\x010](" + (b"h\x00h\x01" + call) * 2000 + b"e."


def shared(first: bytes) -> bytes:
    """A dict with one array under 2,001 names."""
    more = b"".join(text(f"w{number}.weight") + b"h\x05" for number in range(2000))
    return b"}(" + text("weight_ih_l0") + first + b"q\x05" + more + b"u"


def script() -> bytes:
    """The pickle of a TorchScript module whose modules are shared: 4**19 names of one tensor."""
    kind = name("__torch__", "M") + b")\x81"
    inner = kind + entries({"w": tensor(numbers((1,)), numbers((1,)))}) + b"b"
    for level in range(19):
        memo = bytes([100 + level])
        inner = kind + entries({"a": inner + b"q" + memo, **dict.fromkeys("bcd", b"h" + memo)}) + b"b"
    return inner


MORE = "asks for more than"
CODECS = name("_codecs", "encode")
BUFFER = b"(" + LONG + name("numpy", "dtype") + b"(" + text("u1") + b"tRM\x10\x27\x85" + text("C") + b"t"
SEQUENCE = MAGIC + P2 + b"M\xe9\x03." + P2 + b"}." + P2 + b"}." + P2
STATE = b"(K\x01" + numbers((10_000,)) + name("numpy", "dtype") + b"(" + text("u1") + b"tR\x89" + LONG + b"t"
RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")
ARGUMENTS = b"(" + name("numpy", "ndarray") + b"K\x00\x85C\x01bt"
PIECES = "UnpackBigParamInfor@@"


def pieces(slices: bytes, shape: bytes) -> bytes:
    return entries({"a": entries({"slices": slices, "OriginShape": shape})})


HOSTILE = {
    # tuples of 2**60 elements
    "doubled value.pdparams": (P2 + DOUBLED + b".", "got tuple of 2, expected a state dict"),
    "doubled name of a piece.pdparams": (weights(**{PIECES: pieces(b"]" + DOUBLED + b"a", b")")}), "cannot be joined"),
    "doubled shape of pieces.pdparams": (weights(**{PIECES: pieces(b"]", DOUBLED)}), "cannot be joined"),
    "doubled key of a storage.pt": (SEQUENCE + b"]" + DOUBLED + b"a.", "a storage without a tensor"),
    "doubled persistent id.pt": (torch_file(b"(" + DOUBLED + b"q\x00" + b"h\x00" * 4 + b"tQ"), "a persistent id of"),
    "doubled shape.pt": (torch_file(entries({"a": tensor(DOUBLED, DOUBLED)})), "a tensor of unknown form"),
    "doubled arguments.pt": (torch_file(REBUILD + DOUBLED + b"R"), "a call with arguments of an unknown form"),
    # copies
    "tuples of a text.pdparams": (copies(name("builtins", "tuple"), LONG + b"\x85"), "a tuple of a str"),
    "sets.pdparams": (copies(name("builtins", "set"), b"(" + b"N" * 5000 + b"l\x85"), MORE),
    "sizes.pt": (torch_file(copies(name("torch", "Size"), b"(" + b"N" * 5000 + b"t\x85")[2:-1]), MORE),
    "ordered dicts.pdparams": (
        copies(
            name("collections", "OrderedDict"),
            b"](" + b"".join(b"M%bN\x86" % bytes([i, 1]) for i in range(250)) + b"e\x85",
        ),
        MORE,
    ),
    "encoded texts.pdparams": (copies(CODECS, LONG + text("latin1") + b"\x86"), MORE),
    "buffers.pdparams": (copies(name("numpy.core.numeric", "_frombuffer"), BUFFER), MORE),
    "arrays of a text.pdparams": (
        P2
        + STATE
        + b"q\x000"
        + RECONSTRUCT
        + b"q\x010"
        + ARGUMENTS
        + b"q\x020]("
        + b"h\x01h\x02Rh\x00b" * 2000
        + b"e.",
        MORE,
    ),
    "arguments of a stand-in.pdparams": (copies(name("a", "b"), b"(" + b"N" * 5000 + b"t"), MORE),
    "arguments of NEWOBJ.pdparams": (copies(name("a", "b"), b"(" + b"N" * 5000 + b"t", b"\x81"), MORE),
    "long names.pdparams": (P2 + LONG + text("b") + b"\x93.", "a name of 10,001 characters"),
    "long paths.pdparams": (P2 + b"}" + LONG + b"}" + text("a") + b"}ss.", "first entries: xxxxxxxxxxxxxxxxxxxx"),
    "pieces of one array.pdparams": (
        P2
        + b"}("
        + text("p0")
        + array((2500,), "f4", raw(bytes(10_000)))
        + b"q\x05"
        + b"".join(text(f"p{i}") + b"h\x05" for i in range(1, 1000))
        + text(PIECES)
        + pieces(b"](" + b"".join(text(f"p{i}") for i in range(1000)) + b"e", numbers((1,)))
        + b"u.",
        MORE,
    ),
    "views.pt": (torch_file(shared(tensor(numbers((2500,)), numbers((1,)), 2500)), bytes(10_000)), MORE),
    "half views.pdparams": (P2 + shared(array((5000,), "f2", raw(bytes(10_000)))) + b".", MORE),
    "shared modules.pt": (torch_file(script(), **{"a/constants.pkl": b""}), MORE),
    # memory and operations of opcodes
    **{
        f"{label}.pdparams": (P2 + program * 40_000 + b".", MORE)
        for label, program in {"MARK": b"(", "EMPTY_DICT": b"}", "EMPTY_LIST": b"]", "NONE and POP": b"N0"}.items()
    },
    "MEMOIZE.pdparams": (P2 + b"N" + b"\x94" * 40_000 + b".", MORE),
    "nested tuples.pdparams": (P2 + b")" + b"\x85" * 40_000 + b".", MORE),
    "colliding indices.pdparams": (P2 + b"Np%d\n." % (2**61 - 1), "an index of the memo outside 0 to 2**32"),
    "colliding keys.pdparams": (
        P2
        + b"}("
        + b"".join(b"\x8a\x0a" + ((2**61 - 1) * i).to_bytes(10, "little") + b"N" for i in range(1, 3))
        + b"u.",
        "first entries: int (0), int (1)",
    ),
    # integers and lengths
    "5,000 digits.pdparams": (weights(epoch=b"I" + b"9" * 5000 + b"\n"), "an integer of 5,000 characters"),
    "5,000 hexadecimals.pdparams": (weights(epoch=b"I0x" + b"f" * 5000 + b"\n"), "an integer of 5,002 characters"),
    "5,000 digits, LONG.pt": (torch_file(b"L" + b"9" * 5000 + b"L\n"), "an integer of 5,000 characters"),
    "LONG4 of 5,000 bytes.pt": (torch_file(b"\x8b" + (5000).to_bytes(4, "little")), "an integer of 5,000 bytes"),
    "bytearray(2**31).pt": (torch_file(name("builtins", "bytearray") + numbers((2**31,)) + b"R"), "builtins.bytearray"),
    "bytes(2**31).pt": (torch_file(name("builtins", "bytes") + numbers((2**31,)) + b"R"), "a call with arguments"),
    "BYTEARRAY8 of 2**31.pt": (torch_file(b"\x96" + (2**31).to_bytes(8, "little")), "damaged"),
    # shapes
    "300 dimensions.pt": (
        torch_file(entries({"a": tensor(numbers((1,) * 300), numbers((1,) * 300))})),
        "a tensor of 300 dim",
    ),
    "empty but huge.pt": (
        torch_file(entries({"fc.weight": tensor(numbers((0, 2**39, 2**39, 2**39)), numbers((0,) * 4))})),
        "array is too big",
    ),
    "empty but huge.pdparams": (
        P2 + entries({"fc.weight": ones((0,))}).replace(numbers((0,)), numbers((0, *(2**31 - 1,) * 3))) + b".",
        "array is too big",
    ),
    # zip archives
    "overlapping members.pt": (overlapping(200), "members overlap"),
    "100,000 members.pt": (crowded(3000, b"a/data.pkl"), "members, expected at most"),
    "100,000 members.npz": (crowded(3000, b"a.npy"), "members, expected at most"),
    "compressed zeros.pt": (torch_file(TWO, bytes(4 * 10**6), zipfile.ZIP_DEFLATED), MORE),
    "compressed zeros.npz": (zipped({"a.npy": npy((10**6,), data=bytes(4 * 10**6))}, zipfile.ZIP_DEFLATED), MORE),
    "compressed opcodes.pt": (torch_file(b"N0" * 10**5, b"", zipfile.ZIP_DEFLATED), MORE),
    "claims a size.npz": (
        changed_after(
            zipped({"a.npy": npy((4,), data=bytes(16))}, zipfile.ZIP_DEFLATED), b"PK\x01\x02", 24, b"\xfe" * 4
        ),
        MORE,
    ),
    "claims less.npz": (
        changed_after(
            zipped({"a.npy": npy((4,), data=bytes(16))}, zipfile.ZIP_DEFLATED), b"PK\x01\x02", 24, b"\x10\0\0\0"
        ),
        "a.npy has not the size",
    ),
    "claims a packed size.pt": (changed_after(torch_file(TWO), b"PK\x01\x02", 20, b"\xfe" * 4), "is truncated"),
    "changed tensor.pt": (changed_after(torch_file(TWO, b"\x11" * 16), b"\x11" * 16, 0, b"\x10"), "checksum mismatch"),
    "changed version.pt": (changed_after(torch_file(TWO), b"3\n", 0, b"2"), "checksum mismatch, CRC-32 of a/version"),
    "changed array.npz": (
        changed_after(zipped({"a.npy": npy((4,), data=b"\x11" * 16)}), b"\x11" * 16, 0, b"\x10"),
        "checksum mismatch, CRC-32 of a.npy",
    ),
    "LZMA.npz": (zipped({"a.npy": npy((1,), data=bytes(4))}, zipfile.ZIP_LZMA), "an unknown compression"),
    "no member.npz": (zipped({}), "an empty zip archive"),
    # arrays of NumPy
    "claims 10**18.npz": (zipped({"a.npy": npy((10**18,), data=bytes(4))}), "a has not the size of its shape"),
    "negative axes.npz": (zipped({"a.npy": npy((-1, -4), data=bytes(16))}), "a has not the size of its shape"),
    "objects.npz": (zipped({"a.npy": npy((1,), "|O", b"N.")}), "a is an array of objects"),
    "nothing.npz": (zipped({"a.npy": npy((10**18,), "|V0")}), "a is an array of nothing"),
    "nested header.npz": (zipped({"a.npy": npy(0, header=b"(" * 900)}), "damaged, or not an .npz file"),
    "negated header.npz": (zipped({"a.npy": npy(0, header=b"{'shape':" + b"-" * 9000 + b"1}")}), "damaged, or not"),
    # safetensors
    "claims a header.safetensors": (safetensors_file({}, length=2**32 - 1), "header too large"),
    "300 dimensions.safetensors": (
        safetensors_file({"a": {"dtype": "F32", "shape": [1] * 300, "data_offsets": [0, 4]}}, bytes(4)),
        "damaged or not a safetensors file",
    ),
    "empty but huge.safetensors": (
        safetensors_file({"a": {"dtype": "F32", "shape": [0, *[2**31] * 3], "data_offsets": [0, 0]}}),
        "array is too big",
    ),
    "many arrays.safetensors": (
        safetensors_file({f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(2000)}),
        "no recurrent layer",
    ),
    # state dicts
    "0 classes.pdparams": (formed(fc__weight=(4, 0)), "fc.weight [4, 0] is empty"),
    "0 words.pdparams": (formed(emb__weight=(0, 3)), "emb.weight [0, 3] is empty, expected at least"),
    "0 inputs.pdparams": (formed(emb__weight=(7, 0), rnn__weight_ih_l0=(16, 0)), "emb.weight [7, 0] is empty"),
    "0 units.pdparams": (formed(rnn__weight_hh_l0=(0, 0)), "fits no cell"),
    "10**11 layers.pdparams": (formed(rnn__weight_ih_l99999999999=(16, 3)), "rnn.weight_ih_l1 is missing"),
    "10**150 layers.pdparams": (formed(**{f"rnn__weight_ih_l{'9' * 150}": (16, 3)}), "rnn.weight_ih_l1 is missing"),
    "many recurrent layers.pdparams": (
        formed(**{f"r{number}__weight_ih_l0": (1, 1) for number in range(20)}),
        "rnn, r0, r1, r2, r3, r4, r5, r6, and 13 more",
    ),
}
