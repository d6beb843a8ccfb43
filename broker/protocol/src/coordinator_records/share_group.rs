//! Share groups (KIP-932), as `__consumer_offsets` keeps them (record types 10 to 15).

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// A key.
    pub struct ShareGroupCurrentMemberAssignmentKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareGroupCurrentMemberAssignmentValue, flexible 0 {
        member_epoch: i32, versions 0..;
        previous_member_epoch: i32, versions 0..;
        state: i8, versions 0..;
        assigned_partitions: Vec<ShareGroupCurrentMemberAssignmentValueTopicPartitions>, versions 0..;
    }

    /// Part of [`ShareGroupCurrentMemberAssignmentValue`].
    pub struct ShareGroupCurrentMemberAssignmentValueTopicPartitions, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ShareGroupMemberMetadataKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareGroupMemberMetadataValue, flexible 0 {
        rack_id: Option<Str>, versions 0.., nullable 0..;
        client_id: Str, versions 0..;
        client_host: Str, versions 0..;
        subscribed_topic_names: Vec<Str>, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ShareGroupMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareGroupMetadataValue, flexible 0 {
        epoch: i32, versions 0..;
        metadata_hash: i64, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ShareGroupStatePartitionMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareGroupStatePartitionMetadataValue, flexible 0 {
        initializing_topics: Vec<ShareGroupStatePartitionMetadataValueTopicPartitions>, versions 0..;
        initialized_topics: Vec<ShareGroupStatePartitionMetadataValueTopicPartitions>, versions 0..;
        deleting_topics: Vec<ShareGroupStatePartitionMetadataValueDeletingTopic>, versions 0..;
    }

    /// Part of [`ShareGroupStatePartitionMetadataValue`].
    pub struct ShareGroupStatePartitionMetadataValueTopicPartitions, flexible 0 {
        topic_id: Uuid, versions 0..;
        topic_name: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`ShareGroupStatePartitionMetadataValue`].
    pub struct ShareGroupStatePartitionMetadataValueDeletingTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        topic_name: Str, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ShareGroupTargetAssignmentMemberKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareGroupTargetAssignmentMemberValue, flexible 0 {
        topic_partitions: Vec<ShareGroupTargetAssignmentMemberValueTopicPartitions>, versions 0..;
    }

    /// Part of [`ShareGroupTargetAssignmentMemberValue`].
    pub struct ShareGroupTargetAssignmentMemberValueTopicPartitions, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ShareGroupTargetAssignmentMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareGroupTargetAssignmentMetadataValue, flexible 0 {
        assignment_epoch: i32, versions 0..;
        assignment_timestamp: i64, versions 0.., tag 0;
    }
}
