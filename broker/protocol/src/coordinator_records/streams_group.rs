//! Streams groups (KIP-1071), as `__consumer_offsets` keeps them (record types 17 to 23).

use crate::message;
use crate::primitives::Str;

message! {
    /// A key.
    pub struct StreamsGroupCurrentMemberAssignmentKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct StreamsGroupCurrentMemberAssignmentValue, flexible 0 {
        member_epoch: i32, versions 0..;
        previous_member_epoch: i32, versions 0..;
        state: i8, versions 0..;
        active_tasks: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>, versions 0..;
        standby_tasks: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>, versions 0..;
        warmup_tasks: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>, versions 0..;
        active_tasks_pending_revocation: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>, versions 0..;
        standby_tasks_pending_revocation: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>, versions 0..;
        warmup_tasks_pending_revocation: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>, versions 0..;
    }

    /// Part of [`StreamsGroupCurrentMemberAssignmentValue`].
    pub struct StreamsGroupCurrentMemberAssignmentValueTaskIds, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
        assignment_epochs: Option<Vec<i32>>, versions 0.., nullable 0.., tag 0;
    }
}

message! {
    /// A key.
    pub struct StreamsGroupMemberMetadataKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct StreamsGroupMemberMetadataValue, flexible 0 {
        instance_id: Option<Str>, versions 0.., nullable 0..;
        rack_id: Option<Str>, versions 0.., nullable 0..;
        client_id: Str, versions 0..;
        client_host: Str, versions 0..;
        rebalance_timeout_ms: i32 = -1, versions 0..;
        topology_epoch: i32, versions 0..;
        process_id: Str, versions 0..;
        user_endpoint: Option<StreamsGroupMemberMetadataValueUserEndpoint>, versions 0.., nullable 0..;
        client_tags: Vec<StreamsGroupMemberMetadataValueClientTag>, versions 0..;
    }

    /// Part of [`StreamsGroupMemberMetadataValue`].
    pub struct StreamsGroupMemberMetadataValueUserEndpoint, flexible 0 {
        host: Str, versions 0..;
        port: u16, versions 0..;
    }

    /// Part of [`StreamsGroupMemberMetadataValue`].
    pub struct StreamsGroupMemberMetadataValueClientTag, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }
}

message! {
    /// A key.
    pub struct StreamsGroupMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct StreamsGroupMetadataValue, flexible 0 {
        epoch: i32, versions 0..;
        metadata_hash: i64, versions 0..;
        validated_topology_epoch: i32 = -1, versions 0.., tag 0;
        last_assignment_configs: Option<Vec<StreamsGroupMetadataValueLastAssignmentConfig>>, versions 0.., nullable 0.., tag 1;
        stored_description_topology_epoch: i32 = -1, versions 0.., tag 2;
        failed_description_topology_epoch: i32 = -1, versions 0.., tag 3;
    }

    /// Part of [`StreamsGroupMetadataValue`].
    pub struct StreamsGroupMetadataValueLastAssignmentConfig, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }
}

message! {
    /// A key.
    pub struct StreamsGroupTargetAssignmentMemberKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct StreamsGroupTargetAssignmentMemberValue, flexible 0 {
        active_tasks: Vec<StreamsGroupTargetAssignmentMemberValueTaskIds>, versions 0..;
        standby_tasks: Vec<StreamsGroupTargetAssignmentMemberValueTaskIds>, versions 0..;
        warmup_tasks: Vec<StreamsGroupTargetAssignmentMemberValueTaskIds>, versions 0..;
    }

    /// Part of [`StreamsGroupTargetAssignmentMemberValue`].
    pub struct StreamsGroupTargetAssignmentMemberValueTaskIds, flexible 0 {
        subtopology_id: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}

message! {
    /// A key.
    pub struct StreamsGroupTargetAssignmentMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct StreamsGroupTargetAssignmentMetadataValue, flexible 0 {
        assignment_epoch: i32, versions 0..;
        assignment_timestamp: i64, versions 0.., tag 0;
    }
}

message! {
    /// A key.
    pub struct StreamsGroupTopologyKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct StreamsGroupTopologyValue, flexible 0 {
        epoch: i32, versions 0..;
        subtopologies: Vec<StreamsGroupTopologyValueSubtopology>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyValue`].
    pub struct StreamsGroupTopologyValueSubtopology, flexible 0 {
        subtopology_id: Str, versions 0..;
        source_topics: Vec<Str>, versions 0..;
        source_topic_regex: Vec<Str>, versions 0..;
        state_changelog_topics: Vec<StreamsGroupTopologyValueStateChangelogTopic>, versions 0..;
        repartition_sink_topics: Vec<Str>, versions 0..;
        repartition_source_topics: Vec<StreamsGroupTopologyValueRepartitionSourceTopic>, versions 0..;
        copartition_groups: Vec<StreamsGroupTopologyValueCopartitionGroup>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyValue`].
    pub struct StreamsGroupTopologyValueStateChangelogTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: i32, versions 0..;
        replication_factor: i16, versions 0..;
        topic_configs: Vec<StreamsGroupTopologyValueTopicConfig>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyValue`].
    pub struct StreamsGroupTopologyValueTopicConfig, flexible 0 {
        key: Str, versions 0..;
        value: Str, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyValue`].
    pub struct StreamsGroupTopologyValueRepartitionSourceTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: i32, versions 0..;
        replication_factor: i16, versions 0..;
        topic_configs: Vec<StreamsGroupTopologyValueTopicConfig>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyValue`].
    pub struct StreamsGroupTopologyValueCopartitionGroup, flexible 0 {
        source_topics: Vec<i16>, versions 0..;
        source_topic_regex: Vec<i16>, versions 0..;
        repartition_source_topics: Vec<i16>, versions 0..;
    }
}
