"""Messages as plain Python values, written and read by the official FlatBuffers library.
The readers take the package of generated modules, so that those of 2018 read too."""

import importlib
from dataclasses import dataclass, field

import flatbuffers

TYPES = [
    "null",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
    "string",
    "bool",
    "bfloat16",
]


@dataclass
class Tensor:
    type: str
    shape: list
    data: object  # bytes, or a list of bytes for strings


@dataclass
class Request:
    tensors: list
    input_names: list = field(default_factory=list)
    output_names: list = field(default_factory=list)
    config: str = ""


@dataclass
class Response:
    tensors: list = field(default_factory=list)
    errors: list = field(default_factory=list)  # (code, message)


class Modules2018:
    def __getattr__(self, name):
        return importlib.import_module("graphpipe.graphpipefb." + name)


# --- writing ----------------------------------------------------------------------------


def vector(builder, start, values, put):
    start(builder, len(values))
    for value in reversed(values):
        put(value)
    return builder.EndVector(len(values))


def offsets(builder, start, values):
    return vector(builder, start, values, builder.PrependUOffsetTRelative)


def strings(builder, start, values):
    return offsets(builder, start, [builder.CreateString(value) for value in values])


def write_tensor(builder, fb, tensor):
    m = fb.Tensor
    shape = vector(builder, m.TensorStartShapeVector, tensor.shape, builder.PrependInt64)
    if tensor.type == "string":
        data = strings(builder, m.TensorStartStringValVector, tensor.data)
    else:
        data = builder.CreateByteVector(tensor.data)
    m.TensorStart(builder)
    m.TensorAddType(builder, TYPES.index(tensor.type))
    m.TensorAddShape(builder, shape)
    (m.TensorAddStringVal if tensor.type == "string" else m.TensorAddData)(builder, data)
    return m.TensorEnd(builder)


def write_tensors(builder, fb, start, tensors):
    return offsets(
        builder, start, [write_tensor(builder, fb, tensor) for tensor in tensors]
    )


def finish(builder, root):
    builder.Finish(root)
    return bytes(builder.Output())


def write_request(fb, request):
    builder, m = flatbuffers.Builder(1024), fb.InferRequest
    config = builder.CreateString(request.config)
    inputs = strings(builder, m.InferRequestStartInputNamesVector, request.input_names)
    tensors = write_tensors(
        builder, fb, m.InferRequestStartInputTensorsVector, request.tensors
    )
    outputs = strings(builder, m.InferRequestStartOutputNamesVector, request.output_names)
    m.InferRequestStart(builder)
    m.InferRequestAddConfig(builder, config)
    m.InferRequestAddInputNames(builder, inputs)
    m.InferRequestAddInputTensors(builder, tensors)
    m.InferRequestAddOutputNames(builder, outputs)
    infer = m.InferRequestEnd(builder)
    fb.Request.RequestStart(builder)
    fb.Request.RequestAddReqType(builder, fb.Req.Req.InferRequest)
    fb.Request.RequestAddReq(builder, infer)
    return finish(builder, fb.Request.RequestEnd(builder))


def write_error(builder, fb, code, text):
    text = builder.CreateString(text)
    fb.Error.ErrorStart(builder)
    fb.Error.ErrorAddCode(builder, code)
    fb.Error.ErrorAddMessage(builder, text)
    return fb.Error.ErrorEnd(builder)


def write_response(fb, response):
    builder, m = flatbuffers.Builder(1024), fb.InferResponse
    tensors = write_tensors(
        builder, fb, m.InferResponseStartOutputTensorsVector, response.tensors
    )
    errors = offsets(
        builder,
        m.InferResponseStartErrorsVector,
        [write_error(builder, fb, *error) for error in response.errors],
    )
    m.InferResponseStart(builder)
    m.InferResponseAddOutputTensors(builder, tensors)
    m.InferResponseAddErrors(builder, errors)
    return finish(builder, m.InferResponseEnd(builder))


def write_io(builder, fb, io):
    m = fb.IOMetadata
    name, description = map(builder.CreateString, (io["name"], io["description"]))
    shape = vector(
        builder, m.IOMetadataStartShapeVector, io["shape"], builder.PrependInt64
    )
    m.IOMetadataStart(builder)
    m.IOMetadataAddName(builder, name)
    m.IOMetadataAddDescription(builder, description)
    m.IOMetadataAddShape(builder, shape)
    m.IOMetadataAddType(builder, TYPES.index(io["type"]))
    return m.IOMetadataEnd(builder)


def write_metadata(fb, metadata):
    builder, m = flatbuffers.Builder(1024), fb.MetadataResponse
    name, version, server, description = [
        builder.CreateString(metadata[key])
        for key in ("name", "version", "server", "description")
    ]
    inputs = offsets(
        builder,
        m.MetadataResponseStartInputsVector,
        [write_io(builder, fb, io) for io in metadata["inputs"]],
    )
    outputs = offsets(
        builder,
        m.MetadataResponseStartOutputsVector,
        [write_io(builder, fb, io) for io in metadata["outputs"]],
    )
    m.MetadataResponseStart(builder)
    m.MetadataResponseAddName(builder, name)
    m.MetadataResponseAddVersion(builder, version)
    m.MetadataResponseAddServer(builder, server)
    m.MetadataResponseAddDescription(builder, description)
    m.MetadataResponseAddInputs(builder, inputs)
    m.MetadataResponseAddOutputs(builder, outputs)
    return finish(builder, m.MetadataResponseEnd(builder))


# --- reading ----------------------------------------------------------------------------


def read_vector(element, length):
    return [element(i) for i in range(length)]


def read_tensor(tensor):
    """Also holds what old readers need: that every vector is there, and data aligned."""
    slots = tensor._tab.Offset(6), tensor._tab.Offset(8), tensor._tab.Offset(10)
    assert all(slots)
    kind = TYPES[tensor.Type()]
    shape = read_vector(tensor.Shape, tensor.ShapeLength())
    if kind == "string":
        return Tensor(
            kind, shape, read_vector(tensor.StringVal, tensor.StringValLength())
        )
    begin, n = tensor._tab.Vector(slots[1]), tensor.DataLength()
    assert n == 0 or begin % 64 == 0
    return Tensor(kind, shape, bytes(tensor._tab.Bytes[begin : begin + n]))


def read_request(fb, message):
    request = fb.Request.Request.GetRootAsRequest(message, 0)
    assert request.ReqType() == fb.Req.Req.InferRequest
    infer = fb.InferRequest.InferRequest()
    infer.Init(request.Req().Bytes, request.Req().Pos)
    assert all(infer._tab.Offset(slot) for slot in (4, 6, 8, 10))
    return Request(
        [
            read_tensor(t)
            for t in read_vector(infer.InputTensors, infer.InputTensorsLength())
        ],
        [n.decode() for n in read_vector(infer.InputNames, infer.InputNamesLength())],
        [n.decode() for n in read_vector(infer.OutputNames, infer.OutputNamesLength())],
        infer.Config().decode(),
    )


def read_response(fb, message):
    response = fb.InferResponse.InferResponse.GetRootAsInferResponse(message, 0)
    assert response._tab.Offset(4) and response._tab.Offset(6)
    return Response(
        [
            read_tensor(t)
            for t in read_vector(response.OutputTensors, response.OutputTensorsLength())
        ],
        [
            (e.Code(), e.Message().decode())
            for e in read_vector(response.Errors, response.ErrorsLength())
        ],
    )


def read_io(io):
    assert all(io._tab.Offset(slot) for slot in (4, 6, 8, 10))
    return {
        "name": io.Name().decode(),
        "description": io.Description().decode(),
        "shape": read_vector(io.Shape, io.ShapeLength()),
        "type": TYPES[io.Type()],
    }


def read_metadata(fb, message):
    m = fb.MetadataResponse.MetadataResponse.GetRootAsMetadataResponse(message, 0)
    assert all(m._tab.Offset(slot) for slot in (4, 6, 8, 10, 12, 14))
    return {
        "name": m.Name().decode(),
        "version": m.Version().decode(),
        "server": m.Server().decode(),
        "description": m.Description().decode(),
        "inputs": [read_io(io) for io in read_vector(m.Inputs, m.InputsLength())],
        "outputs": [read_io(io) for io in read_vector(m.Outputs, m.OutputsLength())],
    }


# --- as golden_codec prints them --------------------------------------------------------


def printed_tensor(tensor):
    if tensor.type == "string":
        return {
            "type": tensor.type,
            "shape": tensor.shape,
            "strings_hex": [s.hex() for s in tensor.data],
        }
    return {"type": tensor.type, "shape": tensor.shape, "data_hex": tensor.data.hex()}


def printed_request(request):
    return {
        "message": "InferRequest",
        "config": request.config,
        "input_names": request.input_names,
        "output_names": request.output_names,
        "input_tensors": [printed_tensor(t) for t in request.tensors],
    }


def printed_response(response):
    return {
        "message": "InferResponse",
        "output_tensors": [printed_tensor(t) for t in response.tensors],
        "errors": [{"code": c, "message": m} for c, m in response.errors],
    }
