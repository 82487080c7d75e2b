"""Clients of others, unmodified, against the real server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    SchemaRegistryError,
    ServerConfig,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from schema_registry.client import SchemaRegistryClient as IndependentClient
from schema_registry.client.schema import AvroSchema, JsonSchema

Process = Any  # a RegistryProcess of conftest.py


@pytest.fixture(scope="module")
def confluent(server: Process) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": server.url}) as client:
        yield client


@pytest.fixture
def other(server: Process) -> Iterator[SchemaRegistryClient]:
    """A client that knows nothing yet."""
    with SchemaRegistryClient({"url": server.url}) as client:
        yield client


@pytest.fixture(scope="module")
def independent(server: Process) -> IndependentClient:
    return IndependentClient(server.url)


def refused(call: Callable[..., Any], *args: Any, **more: Any) -> tuple[int, int]:
    with pytest.raises(SchemaRegistryError) as error:
        call(*args, **more)
    return error.value.http_status_code, error.value.error_code


# Confluent's: the registry itself


def test_register_look_up_and_delete(confluent: SchemaRegistryClient, subject: str, avro: Any) -> None:
    one, two = Schema(avro("ts")), Schema(avro("ts", {"name": "n", "type": "long", "default": 0}))
    first = confluent.register_schema(subject, one)
    assert confluent.register_schema(subject, Schema(avro("ts") + " ")) == first
    whole = confluent.register_schema_full_response(subject, two, normalize_schemas=True)
    assert whole.version == 2
    assert whole.schema_id > first
    assert json.loads(confluent.get_schema(first, subject_name=subject).schema_str) == json.loads(avro("ts"))
    latest = confluent.get_latest_version(subject)
    assert (latest.subject, latest.version, latest.schema_id) == (subject, 2, whole.schema_id)
    assert latest.schema.schema_type == "AVRO"
    assert confluent.get_version(subject, 1).schema_id == first
    assert confluent.get_versions(subject) == [1, 2]
    assert confluent.lookup_schema(subject, one).version == 1
    assert subject in confluent.get_subjects()
    assert confluent.get_subjects(subject_prefix=subject) == [subject]
    assert confluent.get_subjects(subject_prefix=subject, offset=1) == []
    assert confluent.get_subjects_by_schema_id(first) == [subject]
    usage = confluent.get_schema_versions(first)
    assert [(one.subject, one.version) for one in usage] == [(subject, 1)]
    assert confluent.get_schema_types() == ["AVRO", "JSON"]
    assert confluent.get_contexts() == ["."]

    assert confluent.delete_version(subject, 1) == 1
    assert confluent.get_versions(subject) == [2]
    assert confluent.get_versions(subject, deleted=True) == [1, 2]
    assert confluent.delete_version(subject, 1, permanent=True) == 1
    assert confluent.delete_subject(subject) == [2]
    assert subject not in confluent.get_subjects()
    assert subject in confluent.get_subjects(deleted=True)
    assert confluent.delete_subject(subject, permanent=True) == [2]
    assert subject not in confluent.get_subjects(deleted=True)


def test_what_is_not_there(confluent: SchemaRegistryClient, subject: str, avro: Any) -> None:
    assert refused(confluent.get_schema, 2**31 - 1) == (404, 40403)
    assert refused(confluent.get_latest_version, subject) == (404, 40401)
    assert refused(confluent.get_versions, subject) == (404, 40401)
    assert refused(confluent.delete_subject, subject) == (404, 40401)
    assert refused(confluent.lookup_schema, subject, Schema(avro("ts"))) == (404, 40401)
    confluent.register_schema(subject, Schema(avro("ts")))
    assert refused(confluent.get_version, subject, 2) == (404, 40402)
    assert refused(confluent.lookup_schema, subject, Schema(avro("other"))) == (404, 40403)
    assert refused(confluent.delete_version, subject, 1, permanent=True) == (404, 40407)
    confluent.delete_version(subject, 1)
    assert refused(confluent.delete_version, subject, 1) == (404, 40406)
    assert refused(confluent.delete_subject, subject)[0] == 404
    place = f"{subject}-other"
    confluent.register_schema(place, Schema(avro("ts")))
    assert refused(confluent.delete_subject, place, permanent=True) == (404, 40405)
    confluent.delete_subject(place)
    assert refused(confluent.delete_subject, place) == (404, 40404)


ADDED = {"name": "n", "type": "long"}
OPTIONAL = {**ADDED, "default": 0}

# From a record with `ts` to one with what is added beside it.
EVOLUTIONS = {
    "NONE": {"added": True, "optional": True, "dropped": True},
    "BACKWARD": {"added": False, "optional": True, "dropped": True},
    "BACKWARD_TRANSITIVE": {"added": False, "optional": True, "dropped": True},
    "FORWARD": {"added": True, "optional": True, "dropped": False},
    "FORWARD_TRANSITIVE": {"added": True, "optional": True, "dropped": False},
    "FULL": {"added": False, "optional": True, "dropped": False},
    "FULL_TRANSITIVE": {"added": False, "optional": True, "dropped": False},
}


@pytest.mark.parametrize("level", EVOLUTIONS)
def test_evolution_under_each_level(
    confluent: SchemaRegistryClient, subject: str, avro: Any, level: str
) -> None:
    first = Schema(avro("ts", "close"))
    changes = {
        "added": Schema(avro("ts", "close", ADDED)),
        "optional": Schema(avro("ts", "close", OPTIONAL)),
        "dropped": Schema(avro("ts")),
    }
    for change, is_fine in EVOLUTIONS[level].items():
        place = f"{subject}-{change}"
        confluent.register_schema(place, first)
        assert confluent.set_compatibility(place, level) == {"compatibility": level}
        assert confluent.get_compatibility(place) == level
        assert confluent.test_compatibility(place, changes[change]) is is_fine
        assert confluent.test_compatibility_all_versions(place, changes[change]) is is_fine
        if is_fine:
            assert confluent.register_schema_full_response(place, changes[change]).version == 2
        else:
            assert refused(confluent.register_schema, place, changes[change]) == (409, 40901)
            assert confluent.get_versions(place) == [1]


def test_only_transitive_levels_remember_the_first_version(
    confluent: SchemaRegistryClient, subject: str, avro: Any
) -> None:
    """Each step is fine; the last one is not with the first, whose default it has dropped."""
    confluent.set_compatibility(subject, "BACKWARD")
    for schema in (avro("ts"), avro("ts", OPTIONAL)):
        confluent.register_schema(subject, Schema(schema))
    last = Schema(avro("ts", ADDED))
    assert confluent.test_compatibility(subject, last)
    assert confluent.test_compatibility_all_versions(subject, last)
    assert not confluent.test_compatibility(subject, last, version=1)
    confluent.set_compatibility(subject, "BACKWARD_TRANSITIVE")
    assert confluent.test_compatibility(subject, last), "against the latest alone"
    assert not confluent.test_compatibility_all_versions(subject, last), "against those of the level"
    assert refused(confluent.register_schema, subject, last) == (409, 40901)


def test_an_unknown_subject_is_compatible(confluent: SchemaRegistryClient, subject: str, avro: Any) -> None:
    assert confluent.test_compatibility(subject, Schema(avro("ts")))
    assert confluent.test_compatibility_all_versions(subject, Schema(avro("ts")))


def test_levels(confluent: SchemaRegistryClient, subject: str) -> None:
    assert confluent.get_compatibility() == "BACKWARD"
    assert refused(confluent.get_compatibility, subject) == (404, 40408)
    config = ServerConfig(compatibility=ConfigCompatibilityLevel.FULL)
    assert confluent.set_config(subject, config) == {"compatibility": "FULL"}
    assert confluent.get_config(subject).compatibility_level == "FULL"
    assert confluent.delete_config(subject).compatibility_level == "FULL"
    assert refused(confluent.get_config, subject) == (404, 40408)
    assert refused(confluent.set_compatibility, subject, "sideways") == (422, 42203)


def test_modes(confluent: SchemaRegistryClient, subject: str, avro: Any) -> None:
    assert confluent.get_global_mode() == "READWRITE"
    assert refused(confluent.get_mode, subject) == (404, 40409)
    assert confluent.update_mode(subject, "READONLY") == "READONLY"
    assert confluent.get_mode(subject) == "READONLY"
    assert refused(confluent.register_schema, subject, Schema(avro("ts"))) == (422, 42205)
    assert confluent.delete_mode(subject) == "READONLY"
    confluent.register_schema(subject, Schema(avro("ts")))
    assert refused(confluent.update_mode, subject, "IMPORT") == (422, 42205)
    assert confluent.update_mode(subject, "IMPORT", force=True) == "IMPORT"
    assert refused(confluent.update_mode, subject, "SIDEWAYS") == (422, 42204)
    assert confluent.update_global_mode("READONLY") == "READONLY"
    assert confluent.update_global_mode("READWRITE") == "READWRITE"


# Confluent's: serializers

VENUE = {
    "type": "record",
    "name": "Venue",
    "namespace": "market",
    "fields": [{"name": "mic", "type": "string"}],
}
TRADE = {
    "type": "record",
    "name": "Trade",
    "namespace": "market",
    "fields": [{"name": "price", "type": "double"}, {"name": "venue", "type": "market.Venue"}],
}
ROW = {"price": 101.25, "venue": {"mic": "XNYS"}}


def test_avro_with_a_reference_round_trips(
    confluent: SchemaRegistryClient, other: SchemaRegistryClient
) -> None:
    topic = f"trades-{os.urandom(4).hex()}"
    confluent.register_schema(f"{topic}-venue", Schema(json.dumps(VENUE), "AVRO"))
    trade = Schema(json.dumps(TRADE), "AVRO", [SchemaReference("market.Venue", f"{topic}-venue", 1)])
    context = SerializationContext(topic, MessageField.VALUE)
    written = AvroSerializer(confluent, trade)(ROW, context)
    assert written is not None
    assert AvroDeserializer(other)(written, context) == ROW
    latest = confluent.get_latest_version(f"{topic}-value")
    assert latest.schema.references == [SchemaReference("market.Venue", f"{topic}-venue", 1)]
    assert confluent.get_referenced_by(f"{topic}-venue", 1) == [latest.schema_id]
    assert refused(confluent.delete_subject, f"{topic}-venue") == (422, 42206)


def test_a_reference_to_the_latest_version_is_kept_by_its_number(
    confluent: SchemaRegistryClient, subject: str, avro: Any
) -> None:
    venue = f"{subject}-venue"
    confluent.register_schema(venue, Schema(json.dumps(VENUE), "AVRO"))
    coded = VENUE["fields"] + [{"name": "code", "type": "string", "default": ""}]  # type: ignore[operator]
    confluent.register_schema(venue, Schema(json.dumps(VENUE | {"fields": coded}), "AVRO"))
    trade = Schema(json.dumps(TRADE), "AVRO", [SchemaReference("market.Venue", venue, -1)])
    assert confluent.test_compatibility(subject, trade)
    id = confluent.register_schema(subject, trade)
    assert confluent.get_latest_version(subject).schema.references == [
        SchemaReference("market.Venue", venue, 2)
    ]
    assert confluent.lookup_schema(subject, trade).schema_id == id
    nowhere = Schema(json.dumps(TRADE), "AVRO", [SchemaReference("market.Venue", f"{subject}-no", -1)])
    assert refused(confluent.register_schema, subject, nowhere) == (422, 42201)


@pytest.mark.parametrize(("limit", "count"), [(-1, 3), (0, 3), (2, 2), (9, 3)])
def test_a_limit_that_is_no_size_is_none(
    confluent: SchemaRegistryClient, subject: str, avro: Any, limit: int, count: int
) -> None:
    for number in range(3):
        confluent.register_schema(f"{subject}-{number}", Schema(avro("ts")))
    found = confluent.get_subjects(subject_prefix=subject, offset=0, limit=limit)
    assert found == [f"{subject}-{number}" for number in range(count)]


JSON_VENUE = {
    "$id": "urn:venue",
    "type": "object",
    "properties": {"mic": {"type": "string"}},
    "required": ["mic"],
}
JSON_TRADE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Trade",
    "type": "object",
    "properties": {"price": {"type": "number"}, "venue": {"$ref": "urn:venue"}},
    "required": ["price"],
}


def test_json_with_a_reference_round_trips(
    confluent: SchemaRegistryClient, other: SchemaRegistryClient
) -> None:
    topic = f"trades-{os.urandom(4).hex()}"
    confluent.register_schema(f"{topic}-venue", Schema(json.dumps(JSON_VENUE), "JSON"))
    trade = Schema(json.dumps(JSON_TRADE), "JSON", [SchemaReference("urn:venue", f"{topic}-venue", 1)])
    context = SerializationContext(topic, MessageField.VALUE)
    written = JSONSerializer(trade, confluent)(ROW, context)
    assert written is not None
    assert JSONDeserializer(trade, schema_registry_client=other)(written, context) == ROW
    latest = confluent.get_latest_version(f"{topic}-value")
    assert (latest.schema.schema_type, json.loads(latest.schema.schema_str)) == ("JSON", JSON_TRADE)


def test_a_reader_reads_with_a_newer_schema(confluent: SchemaRegistryClient, avro: Any) -> None:
    topic = f"bars-{os.urandom(4).hex()}"
    context = SerializationContext(topic, MessageField.VALUE)
    written = AvroSerializer(confluent, avro("ts"))({"ts": 7}, context)
    newer = avro("ts", OPTIONAL)
    confluent.register_schema(f"{topic}-value", Schema(newer))
    assert AvroDeserializer(confluent, newer)(written, context) == {"ts": 7, "n": 0}


# An independent client


def test_the_independent_client(independent: IndependentClient, subject: str, avro: Any) -> None:
    one, two = AvroSchema(avro("ts")), AvroSchema(avro("ts", OPTIONAL))
    id = independent.register(subject, one)
    assert independent.get_by_id(id) == one
    assert independent.check_version(subject, one).version == 1
    assert independent.check_version(subject, two) is None
    assert independent.test_compatibility(subject, two) is True
    assert independent.register(subject, two) > id
    assert independent.get_versions(subject) == [1, 2]
    assert independent.get_schema(subject).version == 2
    assert independent.get_schema(subject, version=1).schema_id == id
    assert subject in independent.get_subjects()
    assert subject in [usage.subject for usage in independent.get_schema_subject_versions(id)]
    reported = independent.test_compatibility(subject, AvroSchema(avro("ts", "close")), verbose=True)
    assert reported["is_compatible"] is False
    assert reported["messages"]
    assert independent.update_compatibility("FORWARD", subject)
    assert independent.get_compatibility(subject) == "FORWARD"
    assert independent.delete_version(subject, 1) == 1
    assert independent.delete_subject(subject) == [2]


def test_the_independent_client_and_the_global_level(independent: IndependentClient) -> None:
    """It asks for `/config/`, with a slash at the end."""
    assert independent.get_compatibility() == "BACKWARD"
    assert independent.update_compatibility("FULL")
    assert independent.get_compatibility() == "FULL"
    assert independent.update_compatibility("BACKWARD")


def test_the_independent_client_and_json(independent: IndependentClient, subject: str) -> None:
    schema = JsonSchema(json.dumps(JSON_VENUE))
    id = independent.register(subject, schema)
    assert independent.get_by_id(id) == schema
    assert independent.check_version(subject, schema).version == 1
