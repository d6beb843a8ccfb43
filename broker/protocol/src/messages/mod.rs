//! Every request and response of Kafka 4.4, one file per API. The table at the end of this file is the only list.

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod add_raft_voter;
pub mod allocate_producer_ids;
pub mod alter_client_quotas;
pub mod alter_configs;
pub mod alter_partition;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod alter_share_group_offsets;
pub mod alter_user_scram_credentials;
pub mod api_versions;
pub mod assign_replicas_to_dirs;
pub mod begin_quorum_epoch;
pub mod broker_heartbeat;
pub mod broker_registration;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod controller_registration;
pub mod create_acls;
pub mod create_delegation_token;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_share_group_offsets;
pub mod delete_share_group_state;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_delegation_token;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_share_group_offsets;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod end_quorum_epoch;
pub mod end_txn;
pub mod envelope;
pub mod expire_delegation_token;
pub mod fetch;
pub mod fetch_snapshot;
pub mod find_coordinator;
pub mod get_telemetry_subscriptions;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod initialize_share_group_state;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod push_telemetry;
pub mod read_share_group_state;
pub mod read_share_group_state_summary;
pub mod remove_raft_voter;
pub mod renew_delegation_token;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod share_acknowledge;
pub mod share_fetch;
pub mod share_group_describe;
pub mod share_group_heartbeat;
pub mod streams_group_describe;
pub mod streams_group_heartbeat;
pub mod streams_group_topology_description_update;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod unregister_broker;
pub mod unregister_controller;
pub mod update_features;
pub mod update_raft_voter;
pub mod vote;
pub mod write_share_group_state;
pub mod write_txn_markers;

use crate::api_key::ApiKey;
use crate::schema::Message;

/// A request body: knows its key and the body that answers it.
pub trait Request: Message {
    /// Which API.
    const KEY: ApiKey;
    /// The answer's body.
    type Response: Message;
}

macro_rules! requests {
    ($($key:ident => $module:ident :: { $request:ident, $response:ident };)*) => {
        $(
            pub use $module::{$request, $response};
            impl Request for $request {
                const KEY: ApiKey = ApiKey::$key;
                type Response = $response;
            }
        )*

        /// Calls `$call!(key, Request, Response)` for every API: for tests that go through all of them.
        #[macro_export]
        macro_rules! for_each_api {
            ($call:ident) => { $( $call!($key, $request, $response); )* };
        }
    };
}

requests! {
    Produce => produce::{ ProduceRequest, ProduceResponse };
    Fetch => fetch::{ FetchRequest, FetchResponse };
    ListOffsets => list_offsets::{ ListOffsetsRequest, ListOffsetsResponse };
    Metadata => metadata::{ MetadataRequest, MetadataResponse };
    OffsetCommit => offset_commit::{ OffsetCommitRequest, OffsetCommitResponse };
    OffsetFetch => offset_fetch::{ OffsetFetchRequest, OffsetFetchResponse };
    FindCoordinator => find_coordinator::{ FindCoordinatorRequest, FindCoordinatorResponse };
    JoinGroup => join_group::{ JoinGroupRequest, JoinGroupResponse };
    Heartbeat => heartbeat::{ HeartbeatRequest, HeartbeatResponse };
    LeaveGroup => leave_group::{ LeaveGroupRequest, LeaveGroupResponse };
    SyncGroup => sync_group::{ SyncGroupRequest, SyncGroupResponse };
    DescribeGroups => describe_groups::{ DescribeGroupsRequest, DescribeGroupsResponse };
    ListGroups => list_groups::{ ListGroupsRequest, ListGroupsResponse };
    SaslHandshake => sasl_handshake::{ SaslHandshakeRequest, SaslHandshakeResponse };
    ApiVersions => api_versions::{ ApiVersionsRequest, ApiVersionsResponse };
    CreateTopics => create_topics::{ CreateTopicsRequest, CreateTopicsResponse };
    DeleteTopics => delete_topics::{ DeleteTopicsRequest, DeleteTopicsResponse };
    DeleteRecords => delete_records::{ DeleteRecordsRequest, DeleteRecordsResponse };
    InitProducerId => init_producer_id::{ InitProducerIdRequest, InitProducerIdResponse };
    OffsetForLeaderEpoch => offset_for_leader_epoch::{ OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse };
    AddPartitionsToTxn => add_partitions_to_txn::{ AddPartitionsToTxnRequest, AddPartitionsToTxnResponse };
    AddOffsetsToTxn => add_offsets_to_txn::{ AddOffsetsToTxnRequest, AddOffsetsToTxnResponse };
    EndTxn => end_txn::{ EndTxnRequest, EndTxnResponse };
    WriteTxnMarkers => write_txn_markers::{ WriteTxnMarkersRequest, WriteTxnMarkersResponse };
    TxnOffsetCommit => txn_offset_commit::{ TxnOffsetCommitRequest, TxnOffsetCommitResponse };
    DescribeAcls => describe_acls::{ DescribeAclsRequest, DescribeAclsResponse };
    CreateAcls => create_acls::{ CreateAclsRequest, CreateAclsResponse };
    DeleteAcls => delete_acls::{ DeleteAclsRequest, DeleteAclsResponse };
    DescribeConfigs => describe_configs::{ DescribeConfigsRequest, DescribeConfigsResponse };
    AlterConfigs => alter_configs::{ AlterConfigsRequest, AlterConfigsResponse };
    AlterReplicaLogDirs => alter_replica_log_dirs::{ AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse };
    DescribeLogDirs => describe_log_dirs::{ DescribeLogDirsRequest, DescribeLogDirsResponse };
    SaslAuthenticate => sasl_authenticate::{ SaslAuthenticateRequest, SaslAuthenticateResponse };
    CreatePartitions => create_partitions::{ CreatePartitionsRequest, CreatePartitionsResponse };
    CreateDelegationToken => create_delegation_token::{ CreateDelegationTokenRequest, CreateDelegationTokenResponse };
    RenewDelegationToken => renew_delegation_token::{ RenewDelegationTokenRequest, RenewDelegationTokenResponse };
    ExpireDelegationToken => expire_delegation_token::{ ExpireDelegationTokenRequest, ExpireDelegationTokenResponse };
    DescribeDelegationToken => describe_delegation_token::{ DescribeDelegationTokenRequest, DescribeDelegationTokenResponse };
    DeleteGroups => delete_groups::{ DeleteGroupsRequest, DeleteGroupsResponse };
    ElectLeaders => elect_leaders::{ ElectLeadersRequest, ElectLeadersResponse };
    IncrementalAlterConfigs => incremental_alter_configs::{ IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse };
    AlterPartitionReassignments => alter_partition_reassignments::{ AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse };
    ListPartitionReassignments => list_partition_reassignments::{ ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse };
    OffsetDelete => offset_delete::{ OffsetDeleteRequest, OffsetDeleteResponse };
    DescribeClientQuotas => describe_client_quotas::{ DescribeClientQuotasRequest, DescribeClientQuotasResponse };
    AlterClientQuotas => alter_client_quotas::{ AlterClientQuotasRequest, AlterClientQuotasResponse };
    DescribeUserScramCredentials => describe_user_scram_credentials::{ DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse };
    AlterUserScramCredentials => alter_user_scram_credentials::{ AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse };
    Vote => vote::{ VoteRequest, VoteResponse };
    BeginQuorumEpoch => begin_quorum_epoch::{ BeginQuorumEpochRequest, BeginQuorumEpochResponse };
    EndQuorumEpoch => end_quorum_epoch::{ EndQuorumEpochRequest, EndQuorumEpochResponse };
    DescribeQuorum => describe_quorum::{ DescribeQuorumRequest, DescribeQuorumResponse };
    AlterPartition => alter_partition::{ AlterPartitionRequest, AlterPartitionResponse };
    UpdateFeatures => update_features::{ UpdateFeaturesRequest, UpdateFeaturesResponse };
    Envelope => envelope::{ EnvelopeRequest, EnvelopeResponse };
    FetchSnapshot => fetch_snapshot::{ FetchSnapshotRequest, FetchSnapshotResponse };
    DescribeCluster => describe_cluster::{ DescribeClusterRequest, DescribeClusterResponse };
    DescribeProducers => describe_producers::{ DescribeProducersRequest, DescribeProducersResponse };
    BrokerRegistration => broker_registration::{ BrokerRegistrationRequest, BrokerRegistrationResponse };
    BrokerHeartbeat => broker_heartbeat::{ BrokerHeartbeatRequest, BrokerHeartbeatResponse };
    UnregisterBroker => unregister_broker::{ UnregisterBrokerRequest, UnregisterBrokerResponse };
    DescribeTransactions => describe_transactions::{ DescribeTransactionsRequest, DescribeTransactionsResponse };
    ListTransactions => list_transactions::{ ListTransactionsRequest, ListTransactionsResponse };
    AllocateProducerIds => allocate_producer_ids::{ AllocateProducerIdsRequest, AllocateProducerIdsResponse };
    ConsumerGroupHeartbeat => consumer_group_heartbeat::{ ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse };
    ConsumerGroupDescribe => consumer_group_describe::{ ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse };
    ControllerRegistration => controller_registration::{ ControllerRegistrationRequest, ControllerRegistrationResponse };
    GetTelemetrySubscriptions => get_telemetry_subscriptions::{ GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse };
    PushTelemetry => push_telemetry::{ PushTelemetryRequest, PushTelemetryResponse };
    AssignReplicasToDirs => assign_replicas_to_dirs::{ AssignReplicasToDirsRequest, AssignReplicasToDirsResponse };
    ListConfigResources => list_config_resources::{ ListConfigResourcesRequest, ListConfigResourcesResponse };
    DescribeTopicPartitions => describe_topic_partitions::{ DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse };
    ShareGroupHeartbeat => share_group_heartbeat::{ ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse };
    ShareGroupDescribe => share_group_describe::{ ShareGroupDescribeRequest, ShareGroupDescribeResponse };
    ShareFetch => share_fetch::{ ShareFetchRequest, ShareFetchResponse };
    ShareAcknowledge => share_acknowledge::{ ShareAcknowledgeRequest, ShareAcknowledgeResponse };
    AddRaftVoter => add_raft_voter::{ AddRaftVoterRequest, AddRaftVoterResponse };
    RemoveRaftVoter => remove_raft_voter::{ RemoveRaftVoterRequest, RemoveRaftVoterResponse };
    UpdateRaftVoter => update_raft_voter::{ UpdateRaftVoterRequest, UpdateRaftVoterResponse };
    InitializeShareGroupState => initialize_share_group_state::{ InitializeShareGroupStateRequest, InitializeShareGroupStateResponse };
    ReadShareGroupState => read_share_group_state::{ ReadShareGroupStateRequest, ReadShareGroupStateResponse };
    WriteShareGroupState => write_share_group_state::{ WriteShareGroupStateRequest, WriteShareGroupStateResponse };
    DeleteShareGroupState => delete_share_group_state::{ DeleteShareGroupStateRequest, DeleteShareGroupStateResponse };
    ReadShareGroupStateSummary => read_share_group_state_summary::{ ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse };
    StreamsGroupHeartbeat => streams_group_heartbeat::{ StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse };
    StreamsGroupDescribe => streams_group_describe::{ StreamsGroupDescribeRequest, StreamsGroupDescribeResponse };
    DescribeShareGroupOffsets => describe_share_group_offsets::{ DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse };
    AlterShareGroupOffsets => alter_share_group_offsets::{ AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse };
    DeleteShareGroupOffsets => delete_share_group_offsets::{ DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse };
    StreamsGroupTopologyDescriptionUpdate => streams_group_topology_description_update::{ StreamsGroupTopologyDescriptionUpdateRequest, StreamsGroupTopologyDescriptionUpdateResponse };
    UnregisterController => unregister_controller::{ UnregisterControllerRequest, UnregisterControllerResponse };
}
