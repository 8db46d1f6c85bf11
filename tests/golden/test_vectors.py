"""Messages that the Python and Go libraries of 2018 wrote decode to what their manifests
say, are valid, and stay the same when we write them again."""

import json
import pathlib

import pytest

VECTORS = pathlib.Path(__file__).parent / "vectors"
CASES = [
    case
    for name in ("manifest.json", "manifest-go.json")
    for case in json.loads((VECTORS / name).read_text())
]
KINDS = {
    "InferRequest": "request",
    "MetadataRequest": "request",
    "InferResponse": "response",
    "MetadataResponse": "metadata",
}


def expected(case):
    """The manifest's entry in the form that golden_codec prints."""
    wanted = {key: value for key, value in case.items() if key not in ("file", "encoder")}
    for tensor in wanted.get("input_tensors", []) + wanted.get("output_tensors", []):
        if "strings" in tensor:
            tensor["strings_hex"] = [s.encode().hex() for s in tensor.pop("strings")]
    for io in wanted.get("inputs", []) + wanted.get("outputs", []):
        io.setdefault("description", "")
    return wanted


def test_every_vector_is_in_a_manifest():
    assert {case["file"] for case in CASES} == {
        path.name for path in VECTORS.glob("*.bin")
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_vector(codec, verifier_or_none, case):
    kind = KINDS[case["message"]]
    message = (VECTORS / case["file"]).read_bytes()
    wanted = expected(json.loads(json.dumps(case)))
    assert codec.decode(kind, message) == wanted
    again = codec.recode(kind, message)
    assert codec.decode(kind, again) == wanted
    if verifier_or_none:
        assert verifier_or_none(kind, again)


@pytest.fixture(scope="session")
def verifier_or_none(request):
    try:
        return request.getfixturevalue("verifier")
    except pytest.skip.Exception:
        return None
