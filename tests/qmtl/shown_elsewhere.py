"""Modules that no test of their own mirrors, by the test that shows them best.

Of several modules that do one thing together, the whole is tested: what a store promises, what a look
proposes, what the prover concludes. A module that gets a test of its own leaves this list.
"""

from __future__ import annotations

SHOWN_BY: dict[str, frozenset[str]] = {
    "runtime/io/questdb/test_on_postgres.py": frozenset({"runtime/io/sql/catalogs"}),
    "runtime/io/sql/sqlite/test_backup.py": frozenset({"runtime/io/sql/lost_tail"}),
    "runtime/io/questdb/test_rows.py": frozenset({"runtime/io/sql/chunks"}),
    "runtime/io/questdb/test_table.py": frozenset({"runtime/io/questdb/wal"}),
    "runtime/io/vendors/test_questdb.py": frozenset({"runtime/io/questdb/desk_table"}),
    "runtime/replay/test_run.py": frozenset(
        {
            "runtime/replay/bars",
            "runtime/replay/columns",
            "runtime/replay/equity",
            "runtime/replay/events",
            "runtime/replay/failures",
            "runtime/replay/orders",
            "runtime/replay/portfolio",
            "runtime/replay/tape",
            "runtime/replay/tape_market",
        }
    ),
    "stories/test_worlds_and_strategies.py": frozenset(
        {
            "interfaces/cli/replay",
            "interfaces/cli/submit",
            "runtime/sdk/strategy_files",
        }
    ),
    "runtime/sdk/test_run_parts.py": frozenset(
        {
            "runtime/replay/changes",
            "runtime/replay/knowledge",
            "runtime/sdk/known_history",
        }
    ),
    "stories/test_sweeps.py": frozenset({"runtime/sdk/shared_history"}),
    "stories/test_paper.py": frozenset({"runtime/sdk/listening", "runtime/sdk/paper"}),
    "stories/test_resumed.py": frozenset({"runtime/sdk/run_keeper", "runtime/sdk/run_state"}),
    "runtime/sdk/isolation/test_process.py": frozenset(
        {
            "runtime/sdk/isolation/child",
            "runtime/sdk/isolation/strategy_side",
        }
    ),
    "runtime/sdk/test_watchdog.py": frozenset({"runtime/replay/budget"}),
    "stories/test_strategies.py": frozenset(
        {
            "runtime/sdk/bound_inputs",
            "runtime/sdk/played_run",
            "runtime/sdk/proof",
            "runtime/sdk/run_history",
            "runtime/sdk/run_result",
            "runtime/sdk/runner",
            "runtime/sdk/strategy",
        }
    ),
    "runtime/io/sql/postgres/test_store.py": frozenset(
        {
            "runtime/io/sql/postgres/connection",
            "runtime/io/sql/postgres/database",
            "runtime/io/sql/postgres/dialect",
            "runtime/io/sql/postgres/failures",
            "runtime/io/sql/postgres/layout",
            "runtime/io/sql/postgres/pool",
            "runtime/io/sql/postgres/recognition",
        }
    ),
    "runtime/sdk/test_delta_export.py": frozenset({"runtime/io/snapshots/delta"}),
    "runtime/io/sql/test_copy_targets.py": frozenset(
        {
            "runtime/io/sql/postgres/copy_target",
            "runtime/io/sql/sqlite/copy_target",
            "runtime/sdk/store_copy",
        }
    ),
    "runtime/io/store/test_memory.py": frozenset({"runtime/io/store/memory_flags"}),
    "stories/test_kept_flags.py": frozenset(
        {
            "runtime/io/flag_keeper",
            "runtime/io/sql/kept_flags",
            "runtime/sdk/flags_check",
        }
    ),
    "interfaces/cli/test_world.py": frozenset({"interfaces/cli/presets", "interfaces/cli/world_showing"}),
    "runtime/sdk/test_from_world.py": frozenset({"runtime/worlds/policies"}),
    "runtime/worlds/test_loading.py": frozenset(
        {
            "runtime/worlds/definition",
            "runtime/worlds/parts",
            "runtime/worlds/world",
        }
    ),
    "foundation/test_settings.py": frozenset(
        {
            "foundation/model_errors",
            "foundation/sections",
            "foundation/vendor_settings",
        }
    ),
    "foundation/schema/compatibility/avro/test_deviations.py": frozenset(
        {
            "foundation/schema/compatibility/avro/reading",
        }
    ),
    "foundation/schema/compatibility/avro/test_meaning.py": frozenset(
        {
            "foundation/schema/compatibility/avro/logical",
        }
    ),
    "foundation/schema/compatibility/avro/test_references.py": frozenset(
        {
            "foundation/schema/compatibility/avro/confirmation",
        }
    ),
    "foundation/schema/compatibility/avro/test_resolution_rules.py": frozenset(
        {
            "foundation/schema/compatibility/avro/matching",
            "foundation/schema/compatibility/avro/names",
            "foundation/schema/compatibility/avro/positions",
            "foundation/schema/compatibility/avro/rendering",
            "foundation/schema/compatibility/avro/resolution",
            "foundation/schema/compatibility/avro/smallest",
            "foundation/schema/compatibility/avro/understanding",
        }
    ),
    "foundation/schema/compatibility/avro/test_rules.py": frozenset(
        {
            "foundation/schema/compatibility/avro/engine",
        }
    ),
    "foundation/schema/compatibility/json_schema/regex_language/test_search.py": frozenset(
        {
            "foundation/schema/compatibility/json_schema/regex_language/characters",
        }
    ),
    "foundation/schema/compatibility/json_schema/test_corpus.py": frozenset(
        {
            "foundation/schema/compatibility/json_schema/compare",
            "foundation/schema/compatibility/json_schema/instances/arrays",
            "foundation/schema/compatibility/json_schema/instances/objects",
            "foundation/schema/compatibility/json_schema/proof/sentences",
            "foundation/schema/compatibility/json_schema/regex_language/automaton",
        }
    ),
    "foundation/schema/compatibility/json_schema/test_keywords.py": frozenset(
        {
            "foundation/schema/compatibility/json_schema/constraints/arrays",
            "foundation/schema/compatibility/json_schema/constraints/base",
            "foundation/schema/compatibility/json_schema/constraints/cases",
            "foundation/schema/compatibility/json_schema/constraints/evaluated",
            "foundation/schema/compatibility/json_schema/constraints/negation",
            "foundation/schema/compatibility/json_schema/constraints/numbers",
            "foundation/schema/compatibility/json_schema/constraints/objects",
            "foundation/schema/compatibility/json_schema/constraints/strings",
            "foundation/schema/compatibility/json_schema/dialects",
            "foundation/schema/compatibility/json_schema/instances/examples",
            "foundation/schema/compatibility/json_schema/instances/numbers",
            "foundation/schema/compatibility/json_schema/instances/strings",
            "foundation/schema/compatibility/json_schema/node",
            "foundation/schema/compatibility/json_schema/proof/arrays",
            "foundation/schema/compatibility/json_schema/proof/combinations",
            "foundation/schema/compatibility/json_schema/proof/failure",
            "foundation/schema/compatibility/json_schema/proof/numbers",
            "foundation/schema/compatibility/json_schema/proof/objects",
            "foundation/schema/compatibility/json_schema/proof/prover",
            "foundation/schema/compatibility/json_schema/proof/splits",
            "foundation/schema/compatibility/json_schema/proof/strings",
            "foundation/schema/compatibility/json_schema/proof/values",
        }
    ),
    "foundation/schema/compatibility/json_schema/test_units.py": frozenset(
        {
            "foundation/schema/compatibility/json_schema/cycles",
            "foundation/schema/compatibility/json_schema/instances/sizes",
            "foundation/schema/compatibility/json_schema/libraries",
            "foundation/schema/compatibility/json_schema/proof/units",
            "foundation/schema/compatibility/json_schema/schema_document",
        }
    ),
    "foundation/schema/compatibility/test_levels.py": frozenset(
        {
            "foundation/schema/compatibility/avro/fields",
            "foundation/schema/compatibility/avro/schema_document",
            "foundation/schema/compatibility/verdict",
        }
    ),
    "foundation/schema/governance/test_decisions.py": frozenset(
        {
            "foundation/schema/governance/reader",
            "foundation/schema/governance/rollout",
        }
    ),
    "foundation/schema/registry/rest/test_contract.py": frozenset(
        {
            "foundation/schema/registry/remote",
        }
    ),
    "foundation/schema/registry/rest/test_faults.py": frozenset(
        {
            "foundation/schema/registry/rest/answers",
            "foundation/schema/registry/rest/connection",
        }
    ),
    "foundation/schema/registry/test_client.py": frozenset(
        {
            "foundation/schema/registry/registry_errors",
            "foundation/schema/registry/rules/configuration",
            "foundation/schema/registry/rules/deletion",
            "foundation/schema/registry/rules/modes",
            "foundation/schema/registry/rules/registration",
            "foundation/schema/registry/rules/versions",
        }
    ),
    "foundation/schema/wellformed/test_avro.py": frozenset(
        {
            "foundation/schema/wellformed/avro_defaults",
        }
    ),
    "interfaces/cli/test_doctor.py": frozenset(
        {
            "interfaces/cli/connectivity",
            "interfaces/cli/examination",
            "interfaces/cli/vendor_checks",
        }
    ),
    "interfaces/cli/test_fetch.py": frozenset(
        {
            "interfaces/cli/console",
            "interfaces/cli/import_bars",
            "interfaces/cli/showing",
            "runtime/io/bar_files/options",
            "runtime/sdk/lazy_vendor",
        }
    ),
    "interfaces/cli/test_schema.py": frozenset(
        {
            "foundation/schema/compatibility/json_schema/constraints/values",
            "interfaces/cli/schema_audit",
            "interfaces/cli/schema_checks",
            "interfaces/cli/schema_context",
            "interfaces/cli/schema_rollout",
            "interfaces/cli/schema_showing",
            "interfaces/cli/session",
        }
    ),
    "runtime/io/bar_files/look/test_any_file.py": frozenset(
        {
            "runtime/io/bar_files/decoding",
            "runtime/io/bar_files/look/refused",
        }
    ),
    "runtime/io/bar_files/look/test_looking.py": frozenset(
        {
            "runtime/io/bar_files/look/advice",
            "runtime/io/bar_files/look/contents",
            "runtime/io/bar_files/look/encodings",
            "runtime/io/bar_files/look/sample",
            "runtime/io/bar_files/look/tables",
            "runtime/io/bar_files/look/text",
            "runtime/io/bar_files/look/trial",
            "runtime/io/bar_files/many",
            "runtime/io/bar_files/stamps",
        }
    ),
    "runtime/coordination/test_engines.py": frozenset(
        {
            "runtime/coordination/ray_executor",
        }
    ),
    "stories/test_universes.py": frozenset(
        {
            "interfaces/cli/revalidate",
        }
    ),
    "runtime/io/bar_files/look/test_more_sources.py": frozenset(
        {
            "runtime/io/bar_files/columns",
            "runtime/io/bar_files/json_lines",
            "runtime/io/bar_files/json_rows",
            "runtime/io/bar_files/json_tables",
            "runtime/io/bar_files/look/documents",
            "runtime/io/bar_files/look/identities",
            "runtime/io/bar_files/look/times",
            "runtime/io/bar_files/look/volumes",
            "runtime/io/bar_files/look/ways",
            "runtime/io/bar_files/several_series",
        }
    ),
    "runtime/io/bar_files/look/test_written_by_programs.py": frozenset(
        {
            "runtime/io/bar_files/look/looks",
            "runtime/io/bar_files/look/proposals",
            "runtime/io/bar_files/look/roles",
            "runtime/io/bar_files/look/values",
        }
    ),
    "runtime/io/bar_files/test_labels.py": frozenset(
        {
            "runtime/io/bar_files/look/given",
            "runtime/io/bar_files/look/layout",
        }
    ),
    "runtime/io/bar_files/test_reading.py": frozenset(
        {
            "runtime/io/bar_files/delimited",
            "runtime/io/bar_files/refusing",
            "runtime/io/bar_files/tables",
            "runtime/io/bar_files/unpacking",
        }
    ),
    "runtime/io/bar_files/test_sources.py": frozenset(
        {
            "runtime/io/bar_files/collecting",
            "runtime/io/bar_files/contents",
        }
    ),
    "runtime/io/sql/postgres/test_migration.py": frozenset(
        {
            "interfaces/cli/migration",
            "runtime/io/sql/postgres/use_lock",
        }
    ),
    "runtime/io/sql/postgres/test_rights.py": frozenset(
        {
            "interfaces/cli/rights",
        }
    ),
    "runtime/io/sql/postgres/test_server.py": frozenset(
        {
            "interfaces/cli/server_checks",
        }
    ),
    "runtime/io/sql/sqlite/test_damage.py": frozenset(
        {
            "runtime/io/sql/commits",
            "runtime/io/sql/index_checks",
            "runtime/io/sql/repair",
            "runtime/io/sql/retraction",
            "runtime/io/sql/verify",
            "runtime/io/sql/vanished_rows",
            "runtime/io/sql/view",
        }
    ),
    "runtime/io/sql/sqlite/test_embedded.py": frozenset(
        {
            "runtime/io/sql/archive",
            "runtime/io/sql/beside_bars",
            "runtime/io/sql/deliveries",
            "runtime/io/sql/governance",
            "runtime/io/sql/store",
            "runtime/io/sql/transaction",
        }
    ),
    "runtime/io/sql/sqlite/test_formats.py": frozenset(
        {
            "runtime/io/sql/fences",
            "runtime/io/sql/formats",
            "runtime/io/sql/inventory",
            "runtime/io/sql/assembling",
            "runtime/io/sql/pieces",
            "runtime/io/sql/reading",
            "runtime/io/sql/views",
            "runtime/io/sql/sqlite/layout",
            "runtime/sdk/store_migration",
        }
    ),
    "runtime/io/sql/sqlite/test_opening.py": frozenset(
        {
            "runtime/io/sql/dialect",
            "runtime/io/sql/sqlite/connections",
            "runtime/io/sql/sqlite/recognition",
        }
    ),
    "runtime/io/sql/sqlite/test_processes.py": frozenset(
        {
            "runtime/io/sql/sqlite/locks",
            "runtime/io/sql/sqlite/proofs",
        }
    ),
    "runtime/io/sql/test_pins.py": frozenset(
        {
            "runtime/io/sql/facts",
            "runtime/io/sql/history",
            "runtime/io/sql/plans",
        }
    ),
    "runtime/io/sql/test_upkeep.py": frozenset(
        {
            "runtime/io/sql/compaction",
            "runtime/io/sql/database",
        }
    ),
    "runtime/sdk/test_corrections.py": frozenset(
        {
            "runtime/sdk/correcting",
        }
    ),
    "runtime/sdk/test_history_coverage_property.py": frozenset(
        {
            "runtime/sdk/history_coverage",
        }
    ),
    "runtime/sdk/test_importing.py": frozenset(
        {
            "runtime/io/bar_files/frames",
            "runtime/sdk/import_commit",
            "runtime/sdk/import_target",
            "runtime/sdk/staged_import",
        }
    ),
    "runtime/sdk/test_profile_table.py": frozenset(
        {
            "runtime/sdk/sources",
        }
    ),
    "runtime/sdk/test_progress.py": frozenset(
        {
            "runtime/sdk/progress_screens",
        }
    ),
    "runtime/sdk/test_schema_enforcer.py": frozenset(
        {
            "foundation/schema/registry/records",
            "foundation/schema/registry/rules/tombstones",
        }
    ),
    "runtime/sdk/test_seamless_provider.py": frozenset(
        {
            "runtime/sdk/acceptance",
            "runtime/sdk/fetch_asking",
            "runtime/sdk/fetching",
            "runtime/sdk/local_tiers",
            "runtime/sdk/provider",
            "runtime/sdk/results",
        }
    ),
    "runtime/sdk/test_series_declarations.py": frozenset(
        {
            "runtime/sdk/declaring",
        }
    ),
    "runtime/sdk/test_several.py": frozenset(
        {
            "runtime/sdk/commit_watch",
            "runtime/sdk/options",
            "runtime/sdk/results_many",
        }
    ),
    "runtime/sdk/test_universe_runs.py": frozenset(
        {
            "runtime/sdk/universe_tasks",
        }
    ),
    "runtime/sdk/test_wiring.py": frozenset(
        {
            "runtime/sdk/fetch_context",
        }
    ),
    "services/coordinator/member/test_child.py": frozenset({"services/coordinator/member/dies_with_parent"}),
    "services/coordinator/member/test_group.py": frozenset(
        {
            "interfaces/cli/coordinator",
            "services/coordinator/member/gateway",
            "services/coordinator/member/serving",
            "services/coordinator/member/snapshots",
        }
    ),
    "services/coordinator/test_client.py": frozenset(
        {
            "runtime/coordination/claim_messages",
            "runtime/coordination/coordinator_http",
            "runtime/coordination/distributed",
        }
    ),
    "services/coordinator/test_etcd.py": frozenset({"services/coordinator/etcd_messages"}),
    "services/coordinator/test_fleet_rates.py": frozenset(
        {
            "runtime/coordination/coordinator_rates",
            "runtime/io/fleet_rates",
            "services/coordinator/rate_routes",
        }
    ),
    "services/coordinator/test_job_routes.py": frozenset({"services/coordinator/job_answers"}),
    "services/coordinator/test_job_model.py": frozenset({"services/coordinator/last_takes"}),
    "services/coordinator/test_job_service.py": frozenset(
        {"services/coordinator/job_events", "services/coordinator/job_store"}
    ),
    "services/coordinator/test_lease_model.py": frozenset(
        {
            "services/coordinator/guesses",
            "services/coordinator/json_entries",
            "services/coordinator/memory_keys",
            "services/coordinator/sessions",
            "services/coordinator/shared_lifetimes",
        }
    ),
    "services/coordinator/test_serving.py": frozenset(
        {
            "services/coordinator/answers",
            "services/coordinator/app",
            "services/coordinator/routes",
        }
    ),
    "services/coordinator/test_workers.py": frozenset(
        {
            "interfaces/cli/detach",
            "interfaces/cli/fleet",
            "interfaces/cli/jobs",
            "interfaces/cli/worker",
            "runtime/coordination/coordinator_client",
        }
    ),
    "services/registry/test_access.py": frozenset(
        {
            "services/http/access",
            "services/http/serving",
        }
    ),
    "services/registry/test_connections.py": frozenset(
        {
            "services/http/connections",
        }
    ),
    "services/registry/test_governance_routes.py": frozenset(
        {
            "foundation/schema/registry/rest/records",
        }
    ),
    "services/registry/test_negotiation.py": frozenset(
        {
            "services/http/negotiation",
        }
    ),
    "services/registry/test_openapi.py": frozenset(
        {
            "services/http/docs_page",
            "services/http/openapi",
        }
    ),
    "services/registry/test_sameness.py": frozenset(
        {
            "foundation/schema/compatibility/avro/sentences",
            "foundation/schema/compatibility/avro/types",
            "foundation/schema/compatibility/json_schema/instances/inner_values",
            "services/http/application",
            "services/http/errors",
            "services/http/health",
            "services/http/layers",
            "services/http/paths",
            "services/http/wording",
            "services/registry/app",
            "services/registry/bodies",
            "services/registry/layout",
            "services/registry/parameters",
            "services/registry/routes/about",
            "services/registry/routes/compatibility",
            "services/registry/routes/schemas",
            "services/registry/routes/settings",
            "services/registry/routes/subjects",
            "services/registry/wire",
        }
    ),
    "services/registry/test_serving.py": frozenset(
        {
            "interfaces/cli/serve",
        }
    ),
    "stories/command_line/test_commands.py": frozenset(
        {
            "interfaces/cli/export",
            "interfaces/cli/info",
            "interfaces/cli/pins",
            "interfaces/cli/store",
        }
    ),
    "stories/command_line/test_corrections.py": frozenset(
        {
            "interfaces/cli/backfill",
            "interfaces/cli/commits",
            "interfaces/cli/coverage",
            "interfaces/cli/known",
            "interfaces/cli/refresh",
            "interfaces/cli/retract",
            "runtime/sdk/from_settings",
        }
    ),
    "stories/command_line/test_schema_registry.py": frozenset(
        {
            "interfaces/cli/check",
            "runtime/sdk/schema_wiring",
            "runtime/sdk/stores",
        }
    ),
    "stories/command_line/test_warm_start.py": frozenset(
        {
            "interfaces/cli/on_demand",
        }
    ),
    "stories/test_hung_vendors.py": frozenset({}),
    "stories/test_leaving.py": frozenset(
        {
            "runtime/sdk/open_parts",
        }
    ),
    "stories/test_looks.py": frozenset(
        {
            "runtime/sdk/receipt",
        }
    ),
}
