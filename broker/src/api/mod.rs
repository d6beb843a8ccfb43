//! The table of request handlers. ApiVersions is computed from it, so nothing can be served and not advertised, or the
//! other way round.
//!
//! A hub that is only a table: each row names a request, its handler's file and whether it may run beside other requests
//! of its connection. What a request means is in the handler's file.

pub mod add_raft_voter;
pub mod alter_partition_reassignments;
pub mod api_versions;
mod batches;
pub mod create_partitions;
pub mod create_topics;
mod cut;
pub mod delete_groups;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod error;
pub mod fetch;
pub mod find_coordinator;
mod groups;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
mod lookup;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod remove_raft_voter;
mod replies;
pub mod serve;
pub mod sync_group;
pub mod unregister_broker;
pub mod update_features;
mod voters;

pub use serve::{Connection, Core, Ctx, Order, Outcome, order, serve};

use serve::{Row, row};

/// Every request this broker serves, and whether it may run beside others of its connection.
pub(crate) fn table() -> Vec<Row> {
    use Order::{Alone, Together};
    vec![
        row(Together, produce::handle),
        row(Alone, fetch::handle),
        row(Alone, list_offsets::handle),
        row(Alone, metadata::handle),
        row(Alone, api_versions::handle),
        row(Alone, create_topics::handle),
        row(Alone, delete_topics::handle),
        row(Alone, init_producer_id::handle),
        row(Alone, offset_for_leader_epoch::handle),
        row(Alone, describe_configs::handle),
        row(Alone, create_partitions::handle),
        row(Alone, incremental_alter_configs::handle),
        row(Alone, describe_cluster::handle),
        row(Alone, describe_topic_partitions::handle),
        row(Alone, find_coordinator::handle),
        row(Alone, join_group::handle),
        row(Alone, sync_group::handle),
        row(Alone, heartbeat::handle),
        row(Alone, leave_group::handle),
        row(Alone, offset_commit::handle),
        row(Alone, offset_fetch::handle),
        row(Alone, list_groups::handle),
        row(Alone, describe_groups::handle),
        row(Alone, delete_groups::handle),
        row(Alone, offset_delete::handle),
        row(Alone, elect_leaders::handle),
        row(Alone, unregister_broker::handle),
        row(Alone, alter_partition_reassignments::handle),
        row(Alone, list_partition_reassignments::handle),
        row(Alone, describe_log_dirs::handle),
        row(Alone, update_features::handle),
        row(Alone, describe_quorum::handle),
        row(Alone, add_raft_voter::handle),
        row(Alone, remove_raft_voter::handle),
    ]
}
