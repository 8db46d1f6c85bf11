"""An echo behind FastAPI: {"inputs": [...]} becomes {"outputs": [...]}, by way of a numpy array, as a model
would have it.

  python json_echo.py PORT
"""
import sys

import numpy as np
import ujson
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

app = FastAPI()


class Inputs(BaseModel):
    inputs: list


@app.post("/")
def echo(request: Inputs):
    array = np.asarray(request.inputs, np.float32)
    return Response(ujson.dumps({"outputs": array.tolist()}), media_type="application/json")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
