"""The least a FastAPI route can be that parses the same body: `… empty_fastapi PORT`. Nothing is kept."""

import sys
from uuid import UUID, uuid4

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Notification(BaseModel):
    title: str
    body: str
    sender: str
    to: str


class Receipt(BaseModel):
    id: UUID
    request_id: str | None
    duplicate: bool


@app.post("/v1/notifications", status_code=202)
async def send(notification: Notification) -> Receipt:
    return Receipt(id=uuid4(), request_id=None, duplicate=False)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
