//! StreamsGroupDescribe, API key 89: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of StreamsGroupDescribe (key 89).
    pub struct StreamsGroupDescribeRequest, flexible 0 {
        group_ids: Vec<Str>, versions 0..;
        include_authorized_operations: bool, versions 0..;
        include_topology_description: bool, versions 1..;
    }

    /// Response body of StreamsGroupDescribe (key 89).
    pub struct StreamsGroupDescribeResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        groups: Vec<StreamsGroupDescribeResponseGroup>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponse`].
    pub struct StreamsGroupDescribeResponseGroup, flexible 0 {
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        group_id: Str, versions 0..;
        group_state: Str, versions 0..;
        group_epoch: i32, versions 0..;
        assignment_epoch: i32, versions 0..;
        topology: Option<StreamsGroupDescribeResponseGroupTopology>, versions 0.., nullable 0..;
        members: Vec<StreamsGroupDescribeResponseGroupMember>, versions 0..;
        authorized_operations: i32 = -2147483648, versions 0..;
        topology_description: Option<StreamsGroupDescribeResponseGroupTopologyDescription>, versions 1.., nullable 1..;
        topology_description_status: i8, versions 1..;
        assignor_name: Option<Str>, versions 1.., nullable 1..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroup`].
    pub struct StreamsGroupDescribeResponseGroupTopology, flexible 0 {
        epoch: i32, versions 0..;
        subtopologies: Option<Vec<StreamsGroupDescribeResponseGroupTopologySubtopology>>, versions 0.., nullable 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopology`].
    pub struct StreamsGroupDescribeResponseGroupTopologySubtopology, flexible 0 {
        subtopology_id: Str, versions 0..;
        source_topics: Vec<Str>, versions 0..;
        repartition_sink_topics: Vec<Str>, versions 0..;
        state_changelog_topics: Vec<StreamsGroupDescribeResponseGroupTopologySubtopologyStateChangelogTopic>, versions 0..;
        repartition_source_topics: Vec<StreamsGroupDescribeResponseGroupTopologySubtopologyRepartitionSourceTopic>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologySubtopology`].
    pub struct StreamsGroupDescribeResponseGroupTopologySubtopologyStateChangelogTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: i32, versions 0..;
        replication_factor: i16, versions 0..;
        topic_configs: Vec<StreamsGroupDescribeResponseGroupTopologySubtopologyStateChangelogTopicTopicConfig>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologySubtopologyStateChangelogTopic`].
    pub struct StreamsGroupDescribeResponseGroupTopologySubtopologyStateChangelogTopicTopicConfig, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologySubtopology`].
    pub struct StreamsGroupDescribeResponseGroupTopologySubtopologyRepartitionSourceTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: i32, versions 0..;
        replication_factor: i16, versions 0..;
        topic_configs: Vec<StreamsGroupDescribeResponseGroupTopologySubtopologyRepartitionSourceTopicTopicConfig>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologySubtopologyRepartitionSourceTopic`].
    pub struct StreamsGroupDescribeResponseGroupTopologySubtopologyRepartitionSourceTopicTopicConfig, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroup`].
    pub struct StreamsGroupDescribeResponseGroupMember, flexible 0 {
        member_id: Str, versions 0..;
        member_epoch: i32, versions 0..;
        instance_id: Option<Str>, versions 0.., nullable 0..;
        rack_id: Option<Str>, versions 0.., nullable 0..;
        client_id: Str, versions 0..;
        client_host: Str, versions 0..;
        topology_epoch: i32, versions 0..;
        process_id: Str, versions 0..;
        user_endpoint: Option<StreamsGroupDescribeResponseGroupMemberUserEndpoint>, versions 0.., nullable 0..;
        client_tags: Vec<StreamsGroupDescribeResponseGroupMemberClientTag>, versions 0..;
        task_offsets: Vec<StreamsGroupDescribeResponseGroupMemberTaskOffset>, versions 0..;
        task_end_offsets: Vec<StreamsGroupDescribeResponseGroupMemberTaskEndOffset>, versions 0..;
        assignment: StreamsGroupDescribeResponseGroupMemberAssignment, versions 0..;
        target_assignment: StreamsGroupDescribeResponseGroupMemberTargetAssignment, versions 0..;
        is_classic: bool, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMember`].
    pub struct StreamsGroupDescribeResponseGroupMemberUserEndpoint, flexible 0 {
        host: Str, versions 0..;
        port: u16, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMember`].
    pub struct StreamsGroupDescribeResponseGroupMemberClientTag, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMember`].
    pub struct StreamsGroupDescribeResponseGroupMemberTaskOffset, flexible 0 {
        subtopology_id: Str, versions 0..;
        partition: i32, versions 0..;
        offset: i64, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMember`].
    pub struct StreamsGroupDescribeResponseGroupMemberTaskEndOffset, flexible 0 {
        subtopology_id: Str, versions 0..;
        partition: i32, versions 0..;
        offset: i64, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMember`].
    pub struct StreamsGroupDescribeResponseGroupMemberAssignment, flexible 0 {
        active_tasks: Vec<StreamsGroupDescribeResponseGroupMemberAssignmentActiveTask>, versions 0..;
        standby_tasks: Vec<StreamsGroupDescribeResponseGroupMemberAssignmentStandbyTask>, versions 0..;
        warmup_tasks: Vec<StreamsGroupDescribeResponseGroupMemberAssignmentWarmupTask>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMemberAssignment`].
    pub struct StreamsGroupDescribeResponseGroupMemberAssignmentActiveTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMemberAssignment`].
    pub struct StreamsGroupDescribeResponseGroupMemberAssignmentStandbyTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMemberAssignment`].
    pub struct StreamsGroupDescribeResponseGroupMemberAssignmentWarmupTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMember`].
    pub struct StreamsGroupDescribeResponseGroupMemberTargetAssignment, flexible 0 {
        active_tasks: Vec<StreamsGroupDescribeResponseGroupMemberTargetAssignmentActiveTask>, versions 0..;
        standby_tasks: Vec<StreamsGroupDescribeResponseGroupMemberTargetAssignmentStandbyTask>, versions 0..;
        warmup_tasks: Vec<StreamsGroupDescribeResponseGroupMemberTargetAssignmentWarmupTask>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMemberTargetAssignment`].
    pub struct StreamsGroupDescribeResponseGroupMemberTargetAssignmentActiveTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMemberTargetAssignment`].
    pub struct StreamsGroupDescribeResponseGroupMemberTargetAssignmentStandbyTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupMemberTargetAssignment`].
    pub struct StreamsGroupDescribeResponseGroupMemberTargetAssignmentWarmupTask, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroup`].
    pub struct StreamsGroupDescribeResponseGroupTopologyDescription, flexible 0 {
        subtopologies: Vec<StreamsGroupDescribeResponseGroupTopologyDescriptionSubtopology>, versions 1..;
        global_stores: Vec<StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStore>, versions 1..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologyDescription`].
    pub struct StreamsGroupDescribeResponseGroupTopologyDescriptionSubtopology, flexible 0 {
        subtopology_id: Str, versions 1..;
        nodes: Vec<StreamsGroupDescribeResponseGroupTopologyDescriptionSubtopologyNode>, versions 1..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologyDescriptionSubtopology`].
    pub struct StreamsGroupDescribeResponseGroupTopologyDescriptionSubtopologyNode, flexible 0 {
        name: Str, versions 1..;
        node_type: i8, versions 1..;
        source_topics: Vec<Str>, versions 1..;
        sink_topic: Option<Str>, versions 1.., nullable 1..;
        stores: Vec<Str>, versions 1..;
        successors: Vec<Str>, versions 1..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologyDescription`].
    pub struct StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStore, flexible 0 {
        source: StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStoreSource, versions 1..;
        processor: StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStoreProcessor, versions 1..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStore`].
    pub struct StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStoreSource, flexible 0 {
        name: Str, versions 1..;
        node_type: i8, versions 1..;
        source_topics: Vec<Str>, versions 1..;
        sink_topic: Option<Str>, versions 1.., nullable 1..;
        stores: Vec<Str>, versions 1..;
        successors: Vec<Str>, versions 1..;
    }

    /// Part of [`StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStore`].
    pub struct StreamsGroupDescribeResponseGroupTopologyDescriptionGlobalStoreProcessor, flexible 0 {
        name: Str, versions 1..;
        node_type: i8, versions 1..;
        source_topics: Vec<Str>, versions 1..;
        sink_topic: Option<Str>, versions 1.., nullable 1..;
        stores: Vec<Str>, versions 1..;
        successors: Vec<Str>, versions 1..;
    }
}
