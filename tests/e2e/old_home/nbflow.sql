BEGIN TRANSACTION;
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	attempt_id VARCHAR(64) NOT NULL, 
	run_no INTEGER NOT NULL, 
	task_id VARCHAR(250) NOT NULL, 
	map_index INTEGER NOT NULL, 
	try_number INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	queue TEXT NOT NULL, 
	continues BOOLEAN NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	owner TEXT, 
	lease_until VARCHAR(27), 
	queued_at VARCHAR(27), 
	started_at VARCHAR(27), 
	ended_at VARCHAR(27), 
	hostname TEXT, 
	pid INTEGER, 
	pid_started FLOAT, 
	log_path TEXT, 
	outcome VARCHAR(40), 
	error TEXT, 
	next_method TEXT, 
	next_kwargs TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT state_known CHECK (state IN ('queued', 'running', 'ended')), 
	FOREIGN KEY(run_no) REFERENCES dag_run (id) ON DELETE CASCADE, 
	UNIQUE (attempt_id)
);
INSERT INTO "attempt" VALUES(1,'4aee556ec44e40c4b6e28d724c0978e9',1,'ready',-1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.852848Z','2026-11-28T23:33:14.857265Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/ready.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(2,'9e016a3e94cc4e38bb4f514baf9cf2ec',1,'grouped.numbers',-1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.854352Z','2026-11-28T23:33:14.863084Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/grouped.numbers.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(3,'3029bcbbb6e4488b9607bc37be735a48',1,'echo',-1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.858866Z','2026-11-28T23:33:14.867052Z','2026-11-28T23:33:14.883070Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/echo.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(4,'d726844ef2934ce299246c8671c1d77c',1,'choose',-1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.883227Z','2026-11-28T23:33:14.884715Z','2026-11-28T23:33:14.892277Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/choose.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(5,'e7673d4acb46413392547178841dc258',1,'skips',-1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.883227Z','2026-11-28T23:33:14.884849Z','2026-11-28T23:33:14.885478Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/skips.attempt=1.log','skipped_itself',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(6,'54a7475961d84fd4979f30debdc480c3',1,'grouped.double',0,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.895145Z','2026-11-28T23:33:14.905013Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/grouped.double.map_index=0.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(7,'4884341504924f75b62cb6df81f72315',1,'grouped.double',1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.896689Z','2026-11-28T23:33:14.907061Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/grouped.double.map_index=1.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(8,'142821e1961b4922bade5c1fecb68ca8',1,'grouped.double',2,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.896850Z','2026-11-28T23:33:14.908368Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/grouped.double.map_index=2.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(9,'108f33d91c464ab4b2b881e9dcaba300',1,'total',-1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:14.910629Z','2026-11-28T23:33:14.911830Z','2026-11-28T23:33:14.919099Z','host',NULL,NULL,'{home}/logs/public_names/scheduled__2026-11-28T03:00:00+00:00/total.attempt=1.log','succeeded',NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(10,'13b132bf71b44594a5658a177655e0e0',2,'greet',-1,1,1,'default',0,'ended','scheduler@host:10048:1d614b',NULL,'2026-11-28T23:33:15.174659Z','2026-11-28T23:33:15.213961Z','2026-11-28T23:33:15.223581Z','host',NULL,NULL,'{home}/logs/cells/scheduled__2026-11-28T00:00:00+00:00/greet.attempt=1.log','succeeded',NULL,NULL,NULL);
CREATE TABLE audit (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at VARCHAR(27) NOT NULL, 
	actor TEXT NOT NULL, 
	action TEXT NOT NULL, 
	ok BOOLEAN NOT NULL, 
	detail TEXT NOT NULL
);
INSERT INTO "audit" VALUES(1,'2026-11-28T23:33:14.753634Z','user:ada','unpause',1,'{"dag_id":"public_names"}');
INSERT INTO "audit" VALUES(2,'2026-11-28T23:33:15.168506Z','user:ada','unpause',1,'{"dag_id":"cells"}');
INSERT INTO "audit" VALUES(3,'2026-11-28T23:33:24.362169Z','user:ada','pause',1,'{"dag_id":"public_names"}');
INSERT INTO "audit" VALUES(4,'2026-11-28T23:33:24.816031Z','user:ada','pause',1,'{"dag_id":"cells"}');
INSERT INTO "audit" VALUES(5,'2026-11-28T23:33:25.332189Z','user:ada','trigger',1,'{"dag_id":"public_names","run_id":"before_the_move"}');
INSERT INTO "audit" VALUES(6,'2026-11-28T23:33:25.766143Z','user:ada','trigger',1,'{"dag_id":"cells","run_id":"before_the_move"}');
CREATE TABLE backfill (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	dag_id VARCHAR(250) NOT NULL, 
	from_date VARCHAR(27) NOT NULL, 
	to_date VARCHAR(27) NOT NULL, 
	reprocess VARCHAR(20) NOT NULL, 
	run_backwards BOOLEAN NOT NULL, 
	max_active_runs INTEGER NOT NULL, 
	conf TEXT NOT NULL, 
	paused BOOLEAN NOT NULL, 
	created_at VARCHAR(27), 
	completed_at VARCHAR(27), 
	cancelled BOOLEAN NOT NULL, 
	entries TEXT NOT NULL, 
	CONSTRAINT reprocess_known CHECK (reprocess IN ('none', 'failed', 'completed'))
);
CREATE TABLE callback (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_no INTEGER NOT NULL, 
	task_id VARCHAR(250), 
	map_index INTEGER NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	version INTEGER NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	reason TEXT NOT NULL, 
	owner TEXT, 
	lease_until VARCHAR(27), 
	FOREIGN KEY(run_no) REFERENCES dag_run (id) ON DELETE CASCADE
);
CREATE TABLE connection (
	conn_id VARCHAR(250) NOT NULL, 
	conn_type TEXT, 
	description TEXT, 
	host TEXT, 
	schema TEXT, 
	port INTEGER, 
	secret TEXT NOT NULL, 
	PRIMARY KEY (conn_id)
);
CREATE TABLE dag (
	dag_id VARCHAR(250) NOT NULL, 
	version INTEGER NOT NULL, 
	fileloc TEXT NOT NULL, 
	paused BOOLEAN NOT NULL, 
	stale BOOLEAN NOT NULL, 
	schedule_text TEXT NOT NULL, 
	next_run_after VARCHAR(27), 
	next_logical_date VARCHAR(27), 
	next_interval_start VARCHAR(27), 
	next_interval_end VARCHAR(27), 
	tags TEXT NOT NULL, 
	owners TEXT NOT NULL, 
	description TEXT, 
	last_parsed_at VARCHAR(27), 
	PRIMARY KEY (dag_id), 
	FOREIGN KEY(dag_id, version) REFERENCES dag_version (dag_id, number)
);
INSERT INTO "dag" VALUES('cells',1,'{home}/dags/cells.ipynb',1,0,'@daily','2026-11-29T00:00:00.000000Z','2026-11-28T00:00:00.000000Z','2026-11-28T00:00:00.000000Z','2026-11-29T00:00:00.000000Z','[]','["airflow"]',NULL,'2026-11-28T23:33:10.439741Z');
INSERT INTO "dag" VALUES('public_names',1,'{home}/dags/public_names.py',1,0,'0 3 * * *','2026-11-29T03:00:00.000000Z','2026-11-29T03:00:00.000000Z','2026-11-29T03:00:00.000000Z','2026-11-29T03:00:00.000000Z','[]','["airflow"]',NULL,'2026-11-28T23:33:10.444561Z');
CREATE TABLE dag_run (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	dag_id VARCHAR(250) NOT NULL, 
	run_id VARCHAR(250) NOT NULL, 
	run_type VARCHAR(20) NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	logical_date VARCHAR(27), 
	data_interval_start VARCHAR(27), 
	data_interval_end VARCHAR(27), 
	run_after VARCHAR(27) NOT NULL, 
	queued_at VARCHAR(27), 
	start_date VARCHAR(27), 
	end_date VARCHAR(27), 
	conf TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	backfill_id INTEGER, 
	triggered_by TEXT, 
	clear_number INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	sort_date VARCHAR(27) NOT NULL, 
	lease_owner TEXT, 
	lease_until VARCHAR(27), 
	CONSTRAINT run_type_known CHECK (run_type IN ('scheduled', 'manual', 'backfill', 'asset_triggered')), 
	CONSTRAINT state_known CHECK (state IN ('queued', 'running', 'success', 'failed')), 
	FOREIGN KEY(dag_id, version) REFERENCES dag_version (dag_id, number)
);
INSERT INTO "dag_run" VALUES(1,'public_names','scheduled__2026-11-28T03:00:00+00:00','scheduled','success','2026-11-28T03:00:00.000000Z','2026-11-28T03:00:00.000000Z','2026-11-28T03:00:00.000000Z','2026-11-28T03:00:00.000000Z','2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.920350Z','{}',1,NULL,NULL,0,9,'2026-11-28T03:00:00.000000Z',NULL,NULL);
INSERT INTO "dag_run" VALUES(2,'cells','scheduled__2026-11-28T00:00:00+00:00','scheduled','success','2026-11-27T00:00:00.000000Z','2026-11-27T00:00:00.000000Z','2026-11-28T00:00:00.000000Z','2026-11-28T00:00:00.000000Z','2026-11-28T23:33:15.174659Z','2026-11-28T23:33:15.174659Z','2026-11-28T23:33:15.224150Z','{}',1,NULL,NULL,0,2,'2026-11-27T00:00:00.000000Z',NULL,NULL);
INSERT INTO "dag_run" VALUES(3,'public_names','before_the_move','manual','queued','2026-11-28T23:33:25.316966Z','2026-11-28T23:33:25.316966Z','2026-11-28T23:33:25.316966Z','2026-11-28T23:33:25.316966Z','2026-11-28T23:33:25.316966Z',NULL,NULL,'{}',1,NULL,'user:ada',0,0,'2026-11-28T23:33:25.316966Z',NULL,NULL);
INSERT INTO "dag_run" VALUES(4,'cells','before_the_move','manual','queued','2026-11-28T23:33:25.751262Z','2026-11-27T00:00:00.000000Z','2026-11-28T00:00:00.000000Z','2026-11-28T23:33:25.751262Z','2026-11-28T23:33:25.751262Z',NULL,NULL,'{}',1,NULL,'user:ada',0,0,'2026-11-28T23:33:25.751262Z',NULL,NULL);
CREATE TABLE dag_task (
	dag_id VARCHAR(250) NOT NULL, 
	task_id VARCHAR(250) NOT NULL, 
	first_date VARCHAR(27) NOT NULL, 
	PRIMARY KEY (dag_id, task_id)
);
INSERT INTO "dag_task" VALUES('public_names','choose','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','echo','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','grouped.double','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','grouped.numbers','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','other','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','ready','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','skips','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','start','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('public_names','total','2026-11-28T03:00:00.000000Z');
INSERT INTO "dag_task" VALUES('cells','greet','2026-11-27T00:00:00.000000Z');
CREATE TABLE dag_version (
	dag_id VARCHAR(250) NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	spec TEXT NOT NULL, 
	fileloc TEXT NOT NULL, 
	cell TEXT, 
	files TEXT NOT NULL, 
	origin VARCHAR(20) NOT NULL, 
	created_at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (dag_id, number), 
	CONSTRAINT origin_known CHECK (origin IN ('file', 'kernel', 'example'))
);
INSERT INTO "dag_version" VALUES('cells',1,'e96f7d0665f2d53dbbea3a3655cb1b22faada38c5bae28444f41b0b528e05658','{"format":1,"dag_id":"cells","tasks":[{"task_id":"greet","operator":"DecoratedPythonOperator","ui":{"owner":"airflow","line":8,"operator_name":"@task","color":"#ffefeb"}}],"schedule":{"kind":"cron_interval","cron":"@daily","timezone":"UTC"},"schedule_text":"@daily","start_date":"2024-01-01T00:00:00+00:00","owners":["airflow"],"groups":[]}','{home}/dags/cells.ipynb','cell 3','{"cells.ipynb":"{\n \"cells\": [\n  {\n   \"cell_type\": \"code\",\n   \"execution_count\": null,\n   \"metadata\": {},\n   \"outputs\": [],\n   \"source\": \"%%dag --shared\\ndef shout(text):\\n    return text.upper()\"\n  },\n  {\n   \"cell_type\": \"code\",\n   \"execution_count\": null,\n   \"metadata\": {},\n   \"outputs\": [],\n   \"source\": \"%%dag cells --schedule @daily --start 2024-01-01\\nfrom nbflow import task\\n\\n@task\\ndef greet():\\n    return shout(''hello'')\\n\\ngreet()\"\n  }\n ],\n \"metadata\": {\n  \"nbflow\": \"version\"\n },\n \"nbformat\": 4,\n \"nbformat_minor\": 4\n}\n"}','file','2026-11-28T23:33:10.439741Z');
INSERT INTO "dag_version" VALUES('public_names',1,'1a979c4caaddc573ead3e829990b37d45a20ca04369d832c42150dbdba52e563','{"format":1,"dag_id":"public_names","tasks":[{"task_id":"start","retries":1,"retry_delay":1.0,"priority_weight":8,"empty":true,"ui":{"owner":"airflow","line":35,"color":"#e8f7e4"}},{"task_id":"ready","operator":"Ready","upstream":["start"],"retries":1,"retry_delay":1.0,"priority_weight":7,"is_sensor":true,"ui":{"owner":"airflow","line":36,"color":"#e6f1f2"}},{"task_id":"echo","operator":"BashOperator","upstream":["ready"],"retries":1,"retry_delay":1.0,"priority_weight":6,"ui":{"owner":"airflow","line":37,"color":"#f0ede4","fields":{"bash_command":"echo {{ params.word }} {{ ds }}"}}},{"task_id":"choose","operator":"BranchPythonOperator","upstream":["echo"],"retries":1,"retry_delay":1.0,"priority_weight":4,"steers":"direct","ui":{"owner":"airflow","line":38,"color":"#ffefeb"}},{"task_id":"other","upstream":["choose"],"retries":1,"retry_delay":1.0,"empty":true,"ui":{"owner":"airflow","line":39,"color":"#e8f7e4"}},{"task_id":"grouped.numbers","operator":"DecoratedPythonOperator","retries":1,"retry_delay":1.0,"priority_weight":3,"group":"grouped","feeds_mapping":true,"ui":{"owner":"airflow","line":59,"operator_name":"@task","color":"#ffefeb"}},{"task_id":"grouped.double","operator":"DecoratedPythonOperator","upstream":["choose","grouped.numbers"],"retries":1,"retry_delay":1.0,"priority_weight":2,"group":"grouped","expand":["task","grouped.numbers"],"ui":{"owner":"airflow","line":59,"operator_name":"@task","color":"#ffefeb"}},{"task_id":"total","operator":"DecoratedPythonOperator","upstream":["grouped.double"],"retries":1,"retry_delay":1.0,"ui":{"owner":"airflow","line":64,"operator_name":"@task","color":"#ffefeb"}},{"task_id":"skips","operator":"DecoratedPythonOperator","upstream":["echo"],"retries":1,"retry_delay":1.0,"ui":{"owner":"airflow","line":65,"operator_name":"@task","color":"#ffefeb"}}],"groups":[{"group_id":"grouped"}],"schedule":{"kind":"cron_trigger","cron":"0 3 * * *","timezone":"UTC"},"schedule_text":"0 3 * * *","start_date":"2024-01-01T00:00:00+00:00","owners":["airflow"],"params":{"word":{"schema":{"type":"string"},"description":null,"value":"hello"}},"edge_labels":{"choose>grouped.double":"even"}}','{home}/dags/public_names.py',NULL,'{"public_names.py":"\"\"\"Every public name that a DAG file imports, as files of the first release wrote them.\"\"\"\n\nfrom datetime import datetime, timedelta\n\nfrom nbflow import DAG, Label, Param, TaskGroup, chain, get_current_context, setup, task, task_group, teardown\nfrom nbflow.core.timetables import CronTriggerTimetable, EventsTimetable\nfrom nbflow.errors import AirflowFailException, AirflowSkipException\nfrom nbflow.hooks.base import BaseHook\nfrom nbflow.hooks.sqlite import SqliteHook\nfrom nbflow.operators.bash import BashOperator\nfrom nbflow.operators.empty import EmptyOperator\nfrom nbflow.operators.latest_only import LatestOnlyOperator\nfrom nbflow.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator\nfrom nbflow.operators.sql import SQLExecuteQueryOperator\nfrom nbflow.operators.trigger_dagrun import TriggerDagRunOperator\nfrom nbflow.sensors.base import BaseSensorOperator\nfrom nbflow.sensors.external_task import ExternalTaskSensor\nfrom nbflow.sensors.filesystem import FileSensor\nfrom nbflow.sensors.python import PythonSensor\nfrom nbflow.sensors.time_delta import TimeDeltaSensor\n\n\nclass Ready(BaseSensorOperator):\n    def poke(self, context):\n        return True\n\n\nwith DAG(\n    \"public_names\",\n    schedule=CronTriggerTimetable(\"0 3 * * *\", timezone=\"UTC\"),\n    start_date=datetime(2024, 1, 1),\n    params={\"word\": Param(\"hello\", type=\"string\")},\n    default_args={\"retries\": 1, \"retry_delay\": timedelta(seconds=1)},\n):\n    start = EmptyOperator(task_id=\"start\")\n    ready = Ready(task_id=\"ready\")\n    echo = BashOperator(task_id=\"echo\", bash_command=\"echo {{ params.word }} {{ ds }}\")\n    choose = BranchPythonOperator(task_id=\"choose\", python_callable=lambda: \"grouped.double\")\n    other = EmptyOperator(task_id=\"other\")\n\n    @task\n    def numbers():\n        return [1, 2, 3]\n\n    @task\n    def total(values):\n        return {\"total\": sum(values), \"run\": get_current_context()[\"run_id\"]}\n\n    @task\n    def skips():\n        raise AirflowSkipException(\"nothing to do\")\n\n    with TaskGroup(\"grouped\"):\n\n        @task\n        def double(x):\n            return x * 2\n\n        doubled = double.expand(x=numbers())\n\n    chain(start, ready, echo, choose)\n    choose >> Label(\"even\") >> doubled\n    choose >> other\n    total(doubled)\n    echo >> skips()\n"}','file','2026-11-28T23:33:10.444561Z');
CREATE TABLE import_fault (
	id INTEGER NOT NULL, 
	fileloc TEXT NOT NULL, 
	line INTEGER, 
	error TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	cell TEXT, 
	at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE job (
	job_id VARCHAR(250) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	hostname TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	started_at VARCHAR(27) NOT NULL, 
	heartbeat_at VARCHAR(27) NOT NULL, 
	ended_at VARCHAR(27), 
	detail TEXT NOT NULL, 
	PRIMARY KEY (job_id)
);
CREATE TABLE nbflow_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT nbflow_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "nbflow_version" VALUES('0001');
CREATE TABLE pool (
	name VARCHAR(250) NOT NULL, 
	slots INTEGER NOT NULL, 
	description TEXT NOT NULL, 
	include_deferred BOOLEAN NOT NULL, 
	PRIMARY KEY (name), 
	CONSTRAINT slots_counted CHECK (slots >= -1)
);
CREATE TABLE rendered (
	run_no INTEGER NOT NULL, 
	task_id VARCHAR(250) NOT NULL, 
	map_index INTEGER NOT NULL, 
	fields TEXT NOT NULL, 
	PRIMARY KEY (run_no, task_id, map_index), 
	FOREIGN KEY(run_no) REFERENCES dag_run (id) ON DELETE CASCADE
);
INSERT INTO "rendered" VALUES(1,'echo',-1,'{"bash_command":"echo hello 2026-11-28"}');
INSERT INTO "rendered" VALUES(1,'total',-1,'{"op_args":["LazyXComs(''grouped.double'', [2, 4, 6])"]}');
CREATE TABLE singleton (
	name VARCHAR(250) NOT NULL, 
	job_id TEXT NOT NULL, 
	lease_until VARCHAR(27) NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE task_event (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_no INTEGER NOT NULL, 
	task_id VARCHAR(250), 
	map_index INTEGER NOT NULL, 
	source VARCHAR(20) NOT NULL, 
	target VARCHAR(20) NOT NULL, 
	cause VARCHAR(40) NOT NULL, 
	actor TEXT NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	try_number INTEGER NOT NULL, 
	attempt_id VARCHAR(64), 
	detail TEXT, 
	FOREIGN KEY(run_no) REFERENCES dag_run (id) ON DELETE CASCADE
);
INSERT INTO "task_event" VALUES(1,1,NULL,-1,'','queued','created','scheduler','2026-11-28T23:33:14.771580Z',0,NULL,'{"by":"scheduled"}');
INSERT INTO "task_event" VALUES(2,1,NULL,-1,'queued','running','slot_free','scheduler','2026-11-28T23:33:14.771580Z',0,NULL,NULL);
INSERT INTO "task_event" VALUES(3,1,'start',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.771580Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(4,1,'start',-1,'scheduled','success','nothing_to_do','scheduler','2026-11-28T23:33:14.771580Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(5,1,'ready',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.771580Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(6,1,'grouped.numbers',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.771580Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(7,1,'ready',-1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.771580Z',1,'4aee556ec44e40c4b6e28d724c0978e9',NULL);
INSERT INTO "task_event" VALUES(8,1,'grouped.numbers',-1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.771580Z',1,'9e016a3e94cc4e38bb4f514baf9cf2ec',NULL);
INSERT INTO "task_event" VALUES(9,1,'ready',-1,'queued','running','started','scheduler','2026-11-28T23:33:14.852848Z',1,'4aee556ec44e40c4b6e28d724c0978e9',NULL);
INSERT INTO "task_event" VALUES(10,1,'grouped.numbers',-1,'queued','running','started','scheduler','2026-11-28T23:33:14.854352Z',1,'9e016a3e94cc4e38bb4f514baf9cf2ec',NULL);
INSERT INTO "task_event" VALUES(11,1,'ready',-1,'running','success','succeeded','scheduler','2026-11-28T23:33:14.857265Z',1,'4aee556ec44e40c4b6e28d724c0978e9',NULL);
INSERT INTO "task_event" VALUES(12,1,'echo',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.858866Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(13,1,'echo',-1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.858866Z',1,'3029bcbbb6e4488b9607bc37be735a48',NULL);
INSERT INTO "task_event" VALUES(14,1,'echo',-1,'queued','running','started','scheduler','2026-11-28T23:33:14.867052Z',1,'3029bcbbb6e4488b9607bc37be735a48',NULL);
INSERT INTO "task_event" VALUES(15,1,'grouped.numbers',-1,'running','success','succeeded','scheduler','2026-11-28T23:33:14.863084Z',1,'9e016a3e94cc4e38bb4f514baf9cf2ec',NULL);
INSERT INTO "task_event" VALUES(16,1,'echo',-1,'running','success','succeeded','scheduler','2026-11-28T23:33:14.883070Z',1,'3029bcbbb6e4488b9607bc37be735a48',NULL);
INSERT INTO "task_event" VALUES(17,1,'choose',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.883227Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(18,1,'skips',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.883227Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(19,1,'choose',-1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.883227Z',1,'d726844ef2934ce299246c8671c1d77c',NULL);
INSERT INTO "task_event" VALUES(20,1,'skips',-1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.883227Z',1,'e7673d4acb46413392547178841dc258',NULL);
INSERT INTO "task_event" VALUES(21,1,'choose',-1,'queued','running','started','scheduler','2026-11-28T23:33:14.884715Z',1,'d726844ef2934ce299246c8671c1d77c',NULL);
INSERT INTO "task_event" VALUES(22,1,'skips',-1,'queued','running','started','scheduler','2026-11-28T23:33:14.884849Z',1,'e7673d4acb46413392547178841dc258',NULL);
INSERT INTO "task_event" VALUES(23,1,'skips',-1,'running','skipped','skipped_itself','scheduler','2026-11-28T23:33:14.885478Z',1,'e7673d4acb46413392547178841dc258','{"message":"nothing to do"}');
INSERT INTO "task_event" VALUES(24,1,'choose',-1,'running','success','succeeded','scheduler','2026-11-28T23:33:14.892277Z',1,'d726844ef2934ce299246c8671c1d77c','{"follow":["grouped.double"],"skips":["other"]}');
INSERT INTO "task_event" VALUES(25,1,'other',-1,'none','skipped','branch_not_taken','scheduler','2026-11-28T23:33:14.892989Z',0,NULL,'{"by":"choose"}');
INSERT INTO "task_event" VALUES(26,1,'grouped.double',-1,'none','','expanded','scheduler','2026-11-28T23:33:14.892989Z',0,NULL,'{"length":3}');
INSERT INTO "task_event" VALUES(27,1,'grouped.double',0,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.892989Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(28,1,'grouped.double',1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.892989Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(29,1,'grouped.double',2,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.892989Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(30,1,'grouped.double',0,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.892989Z',1,'54a7475961d84fd4979f30debdc480c3',NULL);
INSERT INTO "task_event" VALUES(31,1,'grouped.double',1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.892989Z',1,'4884341504924f75b62cb6df81f72315',NULL);
INSERT INTO "task_event" VALUES(32,1,'grouped.double',2,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.892989Z',1,'142821e1961b4922bade5c1fecb68ca8',NULL);
INSERT INTO "task_event" VALUES(33,1,'grouped.double',0,'queued','running','started','scheduler','2026-11-28T23:33:14.895145Z',1,'54a7475961d84fd4979f30debdc480c3',NULL);
INSERT INTO "task_event" VALUES(34,1,'grouped.double',1,'queued','running','started','scheduler','2026-11-28T23:33:14.896689Z',1,'4884341504924f75b62cb6df81f72315',NULL);
INSERT INTO "task_event" VALUES(35,1,'grouped.double',2,'queued','running','started','scheduler','2026-11-28T23:33:14.896850Z',1,'142821e1961b4922bade5c1fecb68ca8',NULL);
INSERT INTO "task_event" VALUES(36,1,'grouped.double',0,'running','success','succeeded','scheduler','2026-11-28T23:33:14.905013Z',1,'54a7475961d84fd4979f30debdc480c3',NULL);
INSERT INTO "task_event" VALUES(37,1,'grouped.double',1,'running','success','succeeded','scheduler','2026-11-28T23:33:14.907061Z',1,'4884341504924f75b62cb6df81f72315',NULL);
INSERT INTO "task_event" VALUES(38,1,'grouped.double',2,'running','success','succeeded','scheduler','2026-11-28T23:33:14.908368Z',1,'142821e1961b4922bade5c1fecb68ca8',NULL);
INSERT INTO "task_event" VALUES(39,1,'total',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:14.910629Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(40,1,'total',-1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:14.910629Z',1,'108f33d91c464ab4b2b881e9dcaba300',NULL);
INSERT INTO "task_event" VALUES(41,1,'total',-1,'queued','running','started','scheduler','2026-11-28T23:33:14.911830Z',1,'108f33d91c464ab4b2b881e9dcaba300',NULL);
INSERT INTO "task_event" VALUES(42,1,'total',-1,'running','success','succeeded','scheduler','2026-11-28T23:33:14.919099Z',1,'108f33d91c464ab4b2b881e9dcaba300',NULL);
INSERT INTO "task_event" VALUES(43,1,NULL,-1,'running','success','all_tasks_done','scheduler','2026-11-28T23:33:14.920350Z',0,NULL,NULL);
INSERT INTO "task_event" VALUES(44,2,NULL,-1,'','queued','created','scheduler','2026-11-28T23:33:15.174659Z',0,NULL,'{"by":"scheduled"}');
INSERT INTO "task_event" VALUES(45,2,NULL,-1,'queued','running','slot_free','scheduler','2026-11-28T23:33:15.174659Z',0,NULL,NULL);
INSERT INTO "task_event" VALUES(46,2,'greet',-1,'none','scheduled','dependencies_met','scheduler','2026-11-28T23:33:15.174659Z',1,NULL,NULL);
INSERT INTO "task_event" VALUES(47,2,'greet',-1,'scheduled','queued','dispatched','scheduler','2026-11-28T23:33:15.174659Z',1,'13b132bf71b44594a5658a177655e0e0',NULL);
INSERT INTO "task_event" VALUES(48,2,'greet',-1,'queued','running','started','scheduler','2026-11-28T23:33:15.213961Z',1,'13b132bf71b44594a5658a177655e0e0',NULL);
INSERT INTO "task_event" VALUES(49,2,'greet',-1,'running','success','succeeded','scheduler','2026-11-28T23:33:15.223581Z',1,'13b132bf71b44594a5658a177655e0e0',NULL);
INSERT INTO "task_event" VALUES(50,2,NULL,-1,'running','success','all_tasks_done','scheduler','2026-11-28T23:33:15.224150Z',0,NULL,NULL);
INSERT INTO "task_event" VALUES(51,3,NULL,-1,'','queued','created','user:ada','2026-11-28T23:33:25.316966Z',0,NULL,'{"by":"manual"}');
INSERT INTO "task_event" VALUES(52,4,NULL,-1,'','queued','created','user:ada','2026-11-28T23:33:25.751262Z',0,NULL,'{"by":"manual"}');
CREATE TABLE task_instance (
	run_no INTEGER NOT NULL, 
	task_id VARCHAR(250) NOT NULL, 
	map_index INTEGER NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	try_number INTEGER NOT NULL, 
	max_tries INTEGER NOT NULL, 
	attempt_id VARCHAR(64), 
	scheduled_at VARCHAR(27), 
	queued_at VARCHAR(27), 
	start_date VARCHAR(27), 
	end_date VARCHAR(27), 
	next_at VARCHAR(27), 
	reschedules INTEGER NOT NULL, 
	skips TEXT, 
	length INTEGER, 
	priority_weight INTEGER, 
	next_method TEXT, 
	trigger_id INTEGER, 
	note TEXT, 
	pool VARCHAR(250) NOT NULL, 
	pool_slots INTEGER NOT NULL, 
	next_kwargs TEXT, 
	PRIMARY KEY (run_no, task_id, map_index), 
	CONSTRAINT state_known CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'success', 'failed', 'skipped', 'upstream_failed', 'up_for_retry', 'up_for_reschedule', 'deferred', 'restarting', 'removed')), 
	FOREIGN KEY(run_no) REFERENCES dag_run (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "task_instance" VALUES(1,'choose',-1,'success',1,1,NULL,'2026-11-28T23:33:14.883227Z','2026-11-28T23:33:14.883227Z','2026-11-28T23:33:14.884715Z','2026-11-28T23:33:14.892277Z',NULL,0,'["other"]',NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'echo',-1,'success',1,1,NULL,'2026-11-28T23:33:14.858866Z','2026-11-28T23:33:14.858866Z','2026-11-28T23:33:14.867052Z','2026-11-28T23:33:14.883070Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'grouped.double',0,'success',1,1,NULL,'2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.895145Z','2026-11-28T23:33:14.905013Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'grouped.double',1,'success',1,1,NULL,'2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.896689Z','2026-11-28T23:33:14.907061Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'grouped.double',2,'success',1,1,NULL,'2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.896850Z','2026-11-28T23:33:14.908368Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'grouped.numbers',-1,'success',1,1,NULL,'2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.854352Z','2026-11-28T23:33:14.863084Z',NULL,0,NULL,3,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'other',-1,'skipped',0,1,NULL,NULL,NULL,'2026-11-28T23:33:14.892989Z','2026-11-28T23:33:14.892989Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'ready',-1,'success',1,1,NULL,'2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.852848Z','2026-11-28T23:33:14.857265Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'skips',-1,'skipped',1,1,NULL,'2026-11-28T23:33:14.883227Z','2026-11-28T23:33:14.883227Z','2026-11-28T23:33:14.884849Z','2026-11-28T23:33:14.885478Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'start',-1,'success',1,1,NULL,'2026-11-28T23:33:14.771580Z',NULL,'2026-11-28T23:33:14.771580Z','2026-11-28T23:33:14.771580Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(1,'total',-1,'success',1,1,NULL,'2026-11-28T23:33:14.910629Z','2026-11-28T23:33:14.910629Z','2026-11-28T23:33:14.911830Z','2026-11-28T23:33:14.919099Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(2,'greet',-1,'success',1,0,NULL,'2026-11-28T23:33:15.174659Z','2026-11-28T23:33:15.174659Z','2026-11-28T23:33:15.213961Z','2026-11-28T23:33:15.223581Z',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'choose',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'echo',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'grouped.double',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'grouped.numbers',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'other',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'ready',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'skips',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'start',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(3,'total',-1,'none',0,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
INSERT INTO "task_instance" VALUES(4,'greet',-1,'none',0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'default_pool',1,NULL);
CREATE TABLE task_trigger (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_no INTEGER NOT NULL, 
	task_id VARCHAR(250) NOT NULL, 
	map_index INTEGER NOT NULL, 
	attempt_id VARCHAR(64) NOT NULL, 
	"trigger" TEXT NOT NULL, 
	timeout_at VARCHAR(27), 
	FOREIGN KEY(run_no) REFERENCES dag_run (id) ON DELETE CASCADE
);
CREATE TABLE variable (
	"key" VARCHAR(250) NOT NULL, 
	value TEXT NOT NULL, 
	description TEXT, 
	PRIMARY KEY ("key")
);
CREATE TABLE xcom (
	run_no INTEGER NOT NULL, 
	task_id VARCHAR(250) NOT NULL, 
	map_index INTEGER NOT NULL, 
	"key" VARCHAR(250) NOT NULL, 
	value TEXT NOT NULL, 
	attempt_id VARCHAR(64) NOT NULL, 
	at VARCHAR(27) NOT NULL, 
	PRIMARY KEY (run_no, task_id, map_index, "key"), 
	FOREIGN KEY(run_no) REFERENCES dag_run (id) ON DELETE CASCADE
);
INSERT INTO "xcom" VALUES(1,'grouped.numbers',-1,'return_value','[1, 2, 3]','9e016a3e94cc4e38bb4f514baf9cf2ec','2026-11-28T23:33:14.857429Z');
INSERT INTO "xcom" VALUES(1,'echo',-1,'return_value','"hello 2026-11-28"','3029bcbbb6e4488b9607bc37be735a48','2026-11-28T23:33:14.882686Z');
INSERT INTO "xcom" VALUES(1,'grouped.double',0,'return_value','2','54a7475961d84fd4979f30debdc480c3','2026-11-28T23:33:14.904724Z');
INSERT INTO "xcom" VALUES(1,'grouped.double',1,'return_value','4','4884341504924f75b62cb6df81f72315','2026-11-28T23:33:14.906513Z');
INSERT INTO "xcom" VALUES(1,'grouped.double',2,'return_value','6','142821e1961b4922bade5c1fecb68ca8','2026-11-28T23:33:14.906749Z');
INSERT INTO "xcom" VALUES(1,'total',-1,'return_value','{"total": 12, "run": "scheduled__2026-11-28T03:00:00+00:00"}','108f33d91c464ab4b2b881e9dcaba300','2026-11-28T23:33:14.916737Z');
INSERT INTO "xcom" VALUES(2,'greet',-1,'return_value','"HELLO"','13b132bf71b44594a5658a177655e0e0','2026-11-28T23:33:15.223195Z');
CREATE INDEX backfill_unfinished ON backfill (id) WHERE completed_at IS NULL;
CREATE INDEX ix_backfill_dag_id ON backfill (dag_id);
CREATE UNIQUE INDEX dag_version_digest ON dag_version (dag_id, digest);
CREATE INDEX ix_import_fault_fileloc ON import_fault (fileloc);
CREATE INDEX ix_job_heartbeat_at ON job (heartbeat_at);
CREATE INDEX dag_due ON dag (next_run_after, dag_id) WHERE next_run_after IS NOT NULL AND NOT paused AND NOT stale;
CREATE INDEX dag_run_active ON dag_run (run_after, id) WHERE state IN ('queued', 'running');
CREATE INDEX dag_run_dates ON dag_run (sort_date, id);
CREATE UNIQUE INDEX dag_run_interval ON dag_run (dag_id, logical_date) WHERE run_type IN ('backfill', 'scheduled') AND logical_date IS NOT NULL;
CREATE UNIQUE INDEX dag_run_key ON dag_run (dag_id, run_id);
CREATE INDEX dag_run_order ON dag_run (dag_id, sort_date, id);
CREATE INDEX attempt_instance ON attempt (run_no, task_id, map_index);
CREATE INDEX attempt_lease ON attempt (lease_until) WHERE state IN ('queued', 'running');
CREATE INDEX ix_callback_run_no ON callback (run_no);
CREATE INDEX task_event_run ON task_event (run_no, seq);
CREATE INDEX task_instance_live ON task_instance (run_no, task_id) WHERE state IN ('deferred', 'queued', 'restarting', 'running');
CREATE INDEX task_trigger_instance ON task_trigger (run_no, task_id, map_index);
CREATE TRIGGER task_event_append_only BEFORE UPDATE ON task_event
BEGIN SELECT RAISE(ABORT, 'task_event is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit',6);
INSERT INTO "sqlite_sequence" VALUES('dag_run',4);
INSERT INTO "sqlite_sequence" VALUES('task_event',52);
COMMIT;
