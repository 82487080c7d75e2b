"""Modules of tests that open stores of one engine alone, by the reason why the other would add nothing.

Every other module that opens stores runs on folders and on schemas of a server: by `BOTH_ENGINES = True`, or
by the fixtures of `runtime/io/sql/conftest.py`.
"""

from __future__ import annotations

ONE_ENGINE: dict[str, frozenset[str]] = {
    "a file, its locks and its checksums of rows, which only a folder has": frozenset(
        {
            "runtime/io/sql/sqlite/test_backup.py",
            "runtime/io/sql/sqlite/test_damage.py",
            "runtime/io/sql/sqlite/test_damage_anywhere.py",
            "runtime/io/sql/sqlite/test_damage_of_history.py",
            "runtime/io/sql/sqlite/test_damaged_lists.py",
            "runtime/io/sql/sqlite/test_directory.py",
            "runtime/io/sql/sqlite/test_formats.py",
            "runtime/io/sql/sqlite/test_full_disk.py",
            "runtime/io/sql/sqlite/test_governance_records.py",
            "runtime/io/sql/sqlite/test_lost_commits.py",
            "runtime/io/sql/sqlite/test_opened_file.py",
            "runtime/io/sql/sqlite/test_maintenance.py",
            "runtime/io/sql/sqlite/test_opening.py",
            "runtime/io/sql/sqlite/test_processes.py",
            "runtime/io/sql/test_blocks.py",
            "stories/test_emptied_files.py",
        }
    ),
    "a server, its connections, its roles and its clock, which only PostgreSQL has": frozenset(
        {
            "runtime/io/sql/postgres/test_alterations.py",
            "runtime/io/sql/postgres/test_arrays.py",
            "runtime/io/sql/postgres/test_at_once.py",
            "runtime/io/sql/postgres/test_backups.py",
            "runtime/io/sql/postgres/test_bloat.py",
            "runtime/io/sql/postgres/test_budgets.py",
            "runtime/io/sql/postgres/test_commit_order.py",
            "runtime/io/sql/postgres/test_cut_wires.py",
            "runtime/io/sql/postgres/test_damage.py",
            "runtime/io/sql/postgres/test_few_connections.py",
            "runtime/io/sql/postgres/test_lost_connections.py",
            "runtime/io/sql/postgres/test_machines.py",
            "runtime/io/sql/postgres/test_memory.py",
            "runtime/io/sql/postgres/test_migration.py",
            "runtime/io/sql/postgres/test_notice.py",
            "runtime/io/sql/postgres/test_opening.py",
            "runtime/io/sql/postgres/test_passwords.py",
            "runtime/io/sql/postgres/test_poolers.py",
            "runtime/io/sql/postgres/test_replica.py",
            "runtime/io/sql/postgres/test_rights.py",
            "runtime/io/sql/postgres/test_server.py",
            "runtime/io/sql/postgres/test_server_clock.py",
            "runtime/io/sql/postgres/test_sets.py",
            "runtime/io/sql/postgres/test_timeline.py",
            "runtime/io/sql/postgres/test_together.py",
            "runtime/io/sql/postgres/test_united.py",
            "runtime/io/sql/postgres/test_wiring.py",
            "runtime/io/sql/test_foresight.py",
        }
    ),
    "each store has such a module of its own: the suite, the model, the agreement": frozenset(
        {
            "runtime/io/questdb/test_copies.py",
            "runtime/io/questdb/test_on_postgres.py",
            "runtime/io/questdb/test_store.py",
            "runtime/io/sql/postgres/test_agreement.py",
            "runtime/io/sql/postgres/test_stateful.py",
            "runtime/io/sql/postgres/test_store.py",
            "runtime/io/sql/sqlite/test_embedded.py",
            "runtime/io/sql/sqlite/test_stateful.py",
            "runtime/io/store/test_memory.py",
            "runtime/io/test_stores_agree.py",
        }
    ),
    "QuestDB, which is neither": frozenset(
        {
            "runtime/io/questdb/test_copy_target.py",
            "runtime/io/questdb/test_restarts.py",
            "runtime/sdk/test_questdb_provider.py",
        }
    ),
    "processes and caches of one machine; postgres/test_machines and test_notice have others": frozenset(
        {
            "stories/test_cache_model.py",
            "stories/test_exit_hooks.py",
            "stories/test_hostile.py",
            "stories/test_killed.py",
            "stories/test_never_closed.py",
            "stories/test_nobody_asked.py",
            "stories/test_processes.py",
        }
    ),
    "how a file of bars is read; what an import makes of a store is runtime/sdk/test_importing": frozenset(
        {
            "runtime/io/bar_files/look/test_more_sources.py",
            "runtime/io/bar_files/look/test_other_sources.py",
            "runtime/io/bar_files/look/test_written_by_programs.py",
            "runtime/io/bar_files/test_sources.py",
            "stories/test_bad_input.py",
            "stories/test_empty_rows.py",
            "stories/test_importing_files.py",
            "stories/test_real_data.py",
            "stories/test_real_events.py",
            "stories/test_refused_rows.py",
        }
    ),
    "vendors, feeds and workers; the store is where their bars go": frozenset(
        {
            "runtime/io/feeds/test_replay.py",
            "runtime/io/vendors/test_polygon.py",
            "runtime/io/vendors/test_questdb.py",
            "runtime/io/vendors/test_snapshot.py",
            "runtime/sdk/test_fetch_executor.py",
            "runtime/sdk/test_progress.py",
            "runtime/sdk/test_watchdog.py",
            "runtime/sdk/test_worker.py",
            "stories/test_dead_feed.py",
            "stories/test_hung_vendors.py",
            "stories/test_leaving.py",
            "stories/test_misbehaving_vendors.py",
            "stories/test_paper.py",
            "stories/test_slow_calendar.py",
            "stories/test_universes.py",
        }
    ),
    "what is decided about answers, settings and rules once the store has been read": frozenset(
        {
            "runtime/io/test_judged.py",
            "runtime/sdk/test_archive_seen.py",
            "runtime/sdk/test_from_world.py",
            "runtime/sdk/isolation/test_process.py",
            "runtime/sdk/test_look_ahead.py",
            "runtime/sdk/test_proof_check.py",
            "runtime/sdk/test_result_builder.py",
            "runtime/sdk/test_run_arguments.py",
            "runtime/sdk/test_run_parts.py",
            "runtime/sdk/test_run_report.py",
            "runtime/sdk/test_schema_enforcer.py",
            "runtime/sdk/test_series_profile.py",
            "runtime/sdk/test_strategy_check.py",
            "stories/test_kernel.py",
            "stories/test_own_frames.py",
            "stories/test_panels.py",
            "stories/test_pickled.py",
            "stories/test_provider_model.py",
            "stories/test_resumed.py",
            "stories/test_bad_strategies.py",
            "stories/test_strategies.py",
            "stories/test_sweeps.py",
            "stories/test_walks.py",
        }
    ),
    "which store is taken, or that any will do; some are in memory": frozenset(
        {
            "runtime/coordination/test_coordinated.py",
            "runtime/coordination/test_coordinator_address.py",
            "runtime/coordination/test_coordinator_answers.py",
            "runtime/coordination/test_lease_choice.py",
            "runtime/io/snapshots/test_writing.py",
            "runtime/sdk/test_delta_export.py",
            "runtime/sdk/test_snapshot_export.py",
            "runtime/sdk/test_snapshot_import.py",
            "runtime/sdk/test_wiring.py",
            "stories/test_handed_over_stores.py",
            "stories/test_writes_without_fences.py",
        }
    ),
}
