"""A service that scores rows: uvicorn service:app, with JAXAD_MODEL=detector.jaxad."""

import os

import fastapi
import numpy as np
import pydantic

import jaxad

detector = jaxad.load_exported(os.environ["JAXAD_MODEL"])
width = detector.metadata["input"]["shape"][1]
detector.run(np.zeros((1, width)))  # compile before the first request
app = fastapi.FastAPI(title="jaxad")


class Rows(pydantic.BaseModel):
    """Rows in the units of training, each with the features in their order."""

    rows: list[list[float]]


@app.post("/score")
def score(body: Rows) -> dict[str, list]:
    """Score, decision and, of a calibrated detector, p-value of each row."""
    try:
        return {name: values.tolist() for name, values in detector.run(body.rows).items()}
    except ValueError as error:
        raise fastapi.HTTPException(422, str(error)) from error
