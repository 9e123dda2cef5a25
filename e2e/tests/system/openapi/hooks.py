"""What OpenAPI cannot say of requests that schemathesis makes by it."""

import re
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = case.headers
    if case.meta is None or not case.meta.generation.mode.is_positive or not headers:
        return
    # A key belongs to one request: with another one it is answered 422, as it should be.
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = str(uuid.uuid4())
    # Of a pattern with quotes schemathesis also makes texts without them.
    if "If-Match" in headers and not re.fullmatch('"[0-9]{1,16}"', headers["If-Match"]):
        headers["If-Match"] = '"1"'
    # They exclude each other.
    if "If-Match" in headers and "If-None-Match" in headers:
        del headers["If-None-Match"]


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
