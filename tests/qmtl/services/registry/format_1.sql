PRAGMA application_id = 1902998642;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE record (
    kind TEXT NOT NULL, subject TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, subject, key)) WITHOUT ROWID;
CREATE TABLE reference (
    subject TEXT NOT NULL, version INTEGER NOT NULL, schema INTEGER NOT NULL,
    PRIMARY KEY (subject, version, schema)) WITHOUT ROWID;
INSERT INTO "reference" VALUES('bars',1,6);
CREATE TABLE schema (
    id INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    text TEXT NOT NULL, refs TEXT NOT NULL);
INSERT INTO "schema" VALUES(1,'f042a45ccac4842a0db779f0b2bc05d551c4b9ea3d6cb558c9af7a819e75aad9','AVRO','{"type":"record","name":"Bar","namespace":"a","fields":[{"name":"close","type":{"type":"double"},"default":0.0}]}','[]');
INSERT INTO "schema" VALUES(2,'bfe5a2454be04bd36bd7c85250cab4229d925d6daae43ea82fc08710c2322e29','AVRO','{"fields":[{"default":0.0,"name":"close","type":{"type":"double"}}],"name":"Bar","namespace":"a","type":"record"}','[]');
INSERT INTO "schema" VALUES(3,'58844bb0397161d8494f58c373ddc08c1b5fb97bb765d8f32018c319c87ed860','AVRO','{"type":"string"}','[]');
INSERT INTO "schema" VALUES(4,'0d05ab10933fdd3d9ea7157823eb9fa781435b6f47e2ed18e91db2f68bb95865','AVRO','"string"','[]');
INSERT INTO "schema" VALUES(5,'0f13891a6f55c04e0e0ee6c68bc241f39c2b0a2f1e0baf01a0135da0b3e1edde','JSON','{"type":"number","multipleOf":0.1,"maximum":1000000.0}','[]');
INSERT INTO "schema" VALUES(6,'4619c9a114a119b121d37344da9d9c0b3111b305a0b54d4c7e4bbac8d5ae38ea','AVRO','{"type":"record","name":"U","fields":[{"name":"b","type":"a.Bar"}]}','[["a.Bar", "bars", 1]]');
INSERT INTO "schema" VALUES(7,'5c16a6142b6c0bfeb559edefe568c915b59999e3608d46034e80b79f5006e050','AVRO','"int"','[]');
CREATE TABLE setting (
    name TEXT NOT NULL, subject TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (name, subject)) WITHOUT ROWID;
INSERT INTO "setting" VALUES('level','bars','FULL');
CREATE TABLE version (
    subject TEXT NOT NULL, version INTEGER NOT NULL, schema INTEGER NOT NULL, deleted INTEGER NOT NULL,
    PRIMARY KEY (subject, version)) WITHOUT ROWID;
INSERT INTO "version" VALUES('bars',1,1,0);
INSERT INTO "version" VALUES('bars',2,2,0);
INSERT INTO "version" VALUES('more',1,2,0);
INSERT INTO "version" VALUES('old',1,7,1);
INSERT INTO "version" VALUES('s',1,3,0);
INSERT INTO "version" VALUES('t',1,4,0);
INSERT INTO "version" VALUES('tick',1,5,0);
INSERT INTO "version" VALUES('uses',1,6,0);
CREATE INDEX reference_schema ON reference (schema);
CREATE INDEX version_schema ON version (schema, subject, version);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('schema',8);
COMMIT;
