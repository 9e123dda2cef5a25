"""Reads a whole topic with libraries that are not ours, for the test readers.rs: confluent-kafka and fastavro.

    python read_topic.py BROKERS GROUP TOPIC SCHEMAS_FOLDER

Subscribes as a group of its own, from the beginning. A value is Confluent's frame (a zero byte, then the schema's id in
four bytes) and an Avro datum; schemas/ids.json says which file has which id, and the file decodes the datum. Prints a
line of JSON a message and ends at the end of every partition. What fastavro has no type for is read here by the Avro
specification. Values are printed in the plain JSON that ingest speaks, so that they can be compared with its answers.
"""

import base64
import datetime
import decimal
import io
import json
import pathlib
import struct
import sys
import time
import uuid

import fastavro
from confluent_kafka import Consumer, KafkaError

PATIENCE = 30  # seconds until a reader that gets nothing gives up


def of_nanos(nanos, zone):
    seconds, rest = divmod(nanos, 10**9)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{moment.isoformat()}.{rest:09}{zone}"


def of_big_decimal(data):
    stream = io.BytesIO(data)
    unscaled = fastavro.schemaless_reader(stream, "bytes")
    scale = fastavro.schemaless_reader(stream, "int")
    assert not stream.read(), "bytes behind a big-decimal"
    return decimal.Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale, decimal.Context(prec=1000))


fastavro.read.LOGICAL_READERS.update(
    {
        "bytes-big-decimal": lambda data, *_: of_big_decimal(data),
        "fixed-uuid": lambda data, *_: uuid.UUID(bytes=data),
        "fixed-duration": lambda data, *_: dict(zip(("months", "days", "millis"), struct.unpack("<III", data))),
        "long-timestamp-nanos": lambda nanos, *_: of_nanos(nanos, "Z"),
        "long-local-timestamp-nanos": lambda nanos, *_: of_nanos(nanos, ""),
    }
)


def plain(value):
    """The JSON of a value: bytes as base64, decimals and UUIDs as text, times without trailing zeros."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (datetime.datetime, datetime.time)):
        moment, zone, _ = value.isoformat().partition("+00:00")
        return (moment.rstrip("0") if "." in moment else moment) + ("Z" if zone else "")
    return value.isoformat()


def schemas(folder):
    """Each published schema by its id."""
    ids = json.loads((folder / "ids.json").read_text())
    files = {pinned["id"]: folder / file for file, pinned in ids.items()}
    return {number: fastavro.parse_schema(json.loads(file.read_text())) for number, file in files.items()}


def decode(value, known):
    """Schema id and record of a framed value."""
    magic, number = struct.unpack(">bI", value[:5])
    assert magic == 0, f"no Confluent frame: it starts with {magic}"
    stream = io.BytesIO(value[5:])
    record = fastavro.schemaless_reader(stream, known[number], None)
    rest = stream.read()
    assert not rest, f"{len(rest)} bytes behind the datum"
    return number, record


def show(message, known):
    value = message.value()
    number, record = (None, None) if value is None else decode(value, known)
    return {
        "key": message.key().decode(),
        "partition": message.partition(),
        "offset": message.offset(),
        "headers": sorted([name, text.decode()] for name, text in message.headers() or []),
        "schema": number,
        "value": record,
    }


def main(brokers, group, topic, folder):
    known = schemas(pathlib.Path(folder))
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    assigned, ended = set(), set()
    consumer.subscribe([topic], on_assign=lambda _, parts: assigned.update(part.partition for part in parts))
    until = time.monotonic() + PATIENCE
    while not assigned or assigned != ended:
        assert time.monotonic() < until, f"of the partitions {assigned} only {ended} ended in time"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            print(json.dumps(show(message, known), default=plain))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            sys.exit(f"reading {topic}: {message.error()}")
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
