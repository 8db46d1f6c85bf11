"""A model behind FastAPI, as people write it: one process of uvicorn, the runtime's defaults.

  python json_server.py MODEL.onnx PORT

POST /json takes {"inputs": [[...]]} and answers {"outputs": [[...]]}; POST /npy takes and
answers what numpy.save writes. Both run the model in the thread pool, so that one request
does not hold up the others.
"""
import io
import sys

import numpy as np
import onnxruntime
import ujson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

app = FastAPI()
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
input_name = session.get_inputs()[0].name


class Inputs(BaseModel):
    inputs: list


def predict(array):
    return session.run(None, {input_name: array})[0]


@app.post("/json")
def predict_json(request: Inputs):
    outputs = predict(np.asarray(request.inputs, np.float32))
    return Response(ujson.dumps({"outputs": outputs.tolist()}), media_type="application/json")


@app.post("/npy")
async def predict_npy(request: Request):
    array = np.load(io.BytesIO(await request.body()))
    answer = io.BytesIO()
    np.save(answer, await run_in_threadpool(predict, array))
    return Response(answer.getvalue(), media_type="application/octet-stream")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
