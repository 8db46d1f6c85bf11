def infer(inputs):
    return {"y": inputs["x"] * 2}
