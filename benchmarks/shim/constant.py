"""The limit of any FastAPI server: a route that returns a constant. python constant.py PORT."""

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.post("/predict")
async def predict() -> dict[str, bool]:
    """The same, whatever was sent."""
    return {"answered": True}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
