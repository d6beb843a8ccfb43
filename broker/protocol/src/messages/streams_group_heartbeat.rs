//! StreamsGroupHeartbeat, API key 88: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of StreamsGroupHeartbeat (key 88).
    pub struct StreamsGroupHeartbeatRequest, flexible 0 {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
        member_epoch: i32, versions 0..;
        endpoint_information_epoch: i32, versions 0..;
        instance_id: Option<Str>, versions 0.., nullable 0..;
        rack_id: Option<Str>, versions 0.., nullable 0..;
        rebalance_timeout_ms: i32 = -1, versions 0..;
        topology: Option<StreamsGroupHeartbeatRequestTopology>, versions 0.., nullable 0..;
        active_tasks: Option<Vec<StreamsGroupHeartbeatRequestActiveTask>>, versions 0.., nullable 0..;
        standby_tasks: Option<Vec<StreamsGroupHeartbeatRequestStandbyTask>>, versions 0.., nullable 0..;
        warmup_tasks: Option<Vec<StreamsGroupHeartbeatRequestWarmupTask>>, versions 0.., nullable 0..;
        process_id: Option<Str>, versions 0.., nullable 0..;
        user_endpoint: Option<StreamsGroupHeartbeatRequestUserEndpoint>, versions 0.., nullable 0..;
        client_tags: Option<Vec<StreamsGroupHeartbeatRequestClientTag>>, versions 0.., nullable 0..;
        task_offsets: Option<Vec<StreamsGroupHeartbeatRequestTaskOffset>>, versions 0.., nullable 0..;
        task_end_offsets: Option<Vec<StreamsGroupHeartbeatRequestTaskEndOffset>>, versions 0.., nullable 0..;
        shutdown_application: bool, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestTopology, flexible 0 {
        epoch: i32, versions 0..;
        subtopologies: Vec<StreamsGroupHeartbeatRequestTopologySubtopology>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequestTopology`].
    pub struct StreamsGroupHeartbeatRequestTopologySubtopology, flexible 0 {
        subtopology_id: Str, versions 0..;
        source_topics: Vec<Str>, versions 0..;
        source_topic_regex: Vec<Str>, versions 0..;
        state_changelog_topics: Vec<StreamsGroupHeartbeatRequestTopologySubtopologyStateChangelogTopic>, versions 0..;
        repartition_sink_topics: Vec<Str>, versions 0..;
        repartition_source_topics: Vec<StreamsGroupHeartbeatRequestTopologySubtopologyRepartitionSourceTopic>, versions 0..;
        copartition_groups: Vec<StreamsGroupHeartbeatRequestTopologySubtopologyCopartitionGroup>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequestTopologySubtopology`].
    pub struct StreamsGroupHeartbeatRequestTopologySubtopologyStateChangelogTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: i32, versions 0..;
        replication_factor: i16, versions 0..;
        topic_configs: Vec<StreamsGroupHeartbeatRequestTopologySubtopologyStateChangelogTopicTopicConfig>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequestTopologySubtopologyStateChangelogTopic`].
    pub struct StreamsGroupHeartbeatRequestTopologySubtopologyStateChangelogTopicTopicConfig, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequestTopologySubtopology`].
    pub struct StreamsGroupHeartbeatRequestTopologySubtopologyRepartitionSourceTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: i32, versions 0..;
        replication_factor: i16, versions 0..;
        topic_configs: Vec<StreamsGroupHeartbeatRequestTopologySubtopologyRepartitionSourceTopicTopicConfig>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequestTopologySubtopologyRepartitionSourceTopic`].
    pub struct StreamsGroupHeartbeatRequestTopologySubtopologyRepartitionSourceTopicTopicConfig, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequestTopologySubtopology`].
    pub struct StreamsGroupHeartbeatRequestTopologySubtopologyCopartitionGroup, flexible 0 {
        source_topics: Vec<i16>, versions 0..;
        source_topic_regex: Vec<i16>, versions 0..;
        repartition_source_topics: Vec<i16>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestActiveTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestStandbyTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestWarmupTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestUserEndpoint, flexible 0 {
        host: Str, versions 0..;
        port: u16, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestClientTag, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestTaskOffset, flexible 0 {
        subtopology_id: Str, versions 0..;
        partition: i32, versions 0..;
        offset: i64, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatRequest`].
    pub struct StreamsGroupHeartbeatRequestTaskEndOffset, flexible 0 {
        subtopology_id: Str, versions 0..;
        partition: i32, versions 0..;
        offset: i64, versions 0..;
    }

    /// Response body of StreamsGroupHeartbeat (key 88).
    pub struct StreamsGroupHeartbeatResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        member_id: Str, versions 0..;
        member_epoch: i32, versions 0..;
        heartbeat_interval_ms: i32, versions 0..;
        acceptable_recovery_lag_legacy: i32, versions 0..=0;
        task_offset_interval_ms: i32, versions 0..;
        acceptable_recovery_lag: i64 = -1, versions 1..;
        status: Option<Vec<StreamsGroupHeartbeatResponseStatus>> = Some(Vec::new()), versions 0.., nullable 0..;
        active_tasks: Option<Vec<StreamsGroupHeartbeatResponseActiveTask>>, versions 0.., nullable 0..;
        standby_tasks: Option<Vec<StreamsGroupHeartbeatResponseStandbyTask>>, versions 0.., nullable 0..;
        warmup_tasks: Option<Vec<StreamsGroupHeartbeatResponseWarmupTask>>, versions 0.., nullable 0..;
        topology_description_required: bool, versions 1..;
        endpoint_information_epoch: i32, versions 0..;
        partitions_by_user_endpoint: Option<Vec<StreamsGroupHeartbeatResponsePartitionsByUserEndpoint>>, versions 0.., nullable 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponse`].
    pub struct StreamsGroupHeartbeatResponseStatus, flexible 0 {
        status_code: i8, versions 0..;
        status_detail: Str, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponse`].
    pub struct StreamsGroupHeartbeatResponseActiveTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponse`].
    pub struct StreamsGroupHeartbeatResponseStandbyTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponse`].
    pub struct StreamsGroupHeartbeatResponseWarmupTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponse`].
    pub struct StreamsGroupHeartbeatResponsePartitionsByUserEndpoint, flexible 0 {
        user_endpoint: StreamsGroupHeartbeatResponsePartitionsByUserEndpointUserEndpoint, versions 0..;
        active_partitions: Vec<StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition>, versions 0..;
        standby_partitions: Vec<StreamsGroupHeartbeatResponsePartitionsByUserEndpointStandbyPartition>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponsePartitionsByUserEndpoint`].
    pub struct StreamsGroupHeartbeatResponsePartitionsByUserEndpointUserEndpoint, flexible 0 {
        host: Str, versions 0..;
        port: u16, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponsePartitionsByUserEndpoint`].
    pub struct StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition, flexible 0 {
        topic: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupHeartbeatResponsePartitionsByUserEndpoint`].
    pub struct StreamsGroupHeartbeatResponsePartitionsByUserEndpointStandbyPartition, flexible 0 {
        topic: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}
