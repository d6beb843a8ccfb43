//! Groups of the consumer rebalance protocol (KIP-848), as `__consumer_offsets` keeps them (types 3 to 8, and 16).

use bytes::Bytes;

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// A key.
    pub struct ConsumerGroupCurrentMemberAssignmentKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ConsumerGroupCurrentMemberAssignmentValue, flexible 0 {
        member_epoch: i32, versions 0..;
        previous_member_epoch: i32, versions 0..;
        state: i8, versions 0..;
        assigned_partitions: Vec<ConsumerGroupCurrentMemberAssignmentValueTopicPartitions>, versions 0..;
        partitions_pending_revocation: Vec<ConsumerGroupCurrentMemberAssignmentValueTopicPartitions>, versions 0..;
    }

    /// Part of [`ConsumerGroupCurrentMemberAssignmentValue`].
    pub struct ConsumerGroupCurrentMemberAssignmentValueTopicPartitions, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<i32>, versions 0..;
        assignment_epochs: Option<Vec<i32>>, versions 0.., nullable 0.., tag 0;
    }
}

message! {
    /// A key.
    pub struct ConsumerGroupMemberMetadataKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ConsumerGroupMemberMetadataValue, flexible 0 {
        instance_id: Option<Str>, versions 0.., nullable 0..;
        rack_id: Option<Str>, versions 0.., nullable 0..;
        client_id: Str, versions 0..;
        client_host: Str, versions 0..;
        subscribed_topic_names: Vec<Str>, versions 0..;
        subscribed_topic_regex: Option<Str>, versions 0.., nullable 0..;
        rebalance_timeout_ms: i32 = -1, versions 0..;
        server_assignor: Option<Str>, versions 0.., nullable 0..;
        classic_member_metadata: Option<ConsumerGroupMemberMetadataValueClassicMemberMetadata>, versions 0.., nullable 0.., tag 0;
    }

    /// Part of [`ConsumerGroupMemberMetadataValue`].
    pub struct ConsumerGroupMemberMetadataValueClassicMemberMetadata, flexible 0 {
        session_timeout_ms: i32, versions 0..;
        supported_protocols: Vec<ConsumerGroupMemberMetadataValueSupportedProtocol>, versions 0..;
    }

    /// Part of [`ConsumerGroupMemberMetadataValue`].
    pub struct ConsumerGroupMemberMetadataValueSupportedProtocol, flexible 0 {
        name: Str, versions 0..;
        metadata: Bytes, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ConsumerGroupMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ConsumerGroupMetadataValue, flexible 0 {
        epoch: i32, versions 0..;
        metadata_hash: i64, versions 0.., tag 0;
    }
}

message! {
    /// A key.
    pub struct ConsumerGroupPartitionMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ConsumerGroupPartitionMetadataValue, flexible 0 {
        topics: Vec<ConsumerGroupPartitionMetadataValueTopic>, versions 0..;
    }

    /// Part of [`ConsumerGroupPartitionMetadataValue`].
    pub struct ConsumerGroupPartitionMetadataValueTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        topic_name: Str, versions 0..;
        num_partitions: i32, versions 0..;
        partition_metadata: Vec<ConsumerGroupPartitionMetadataValuePartitionMetadata>, versions 0..;
    }

    /// Part of [`ConsumerGroupPartitionMetadataValue`].
    pub struct ConsumerGroupPartitionMetadataValuePartitionMetadata, flexible 0 {
        partition: i32, versions 0..;
        racks: Vec<Str>, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ConsumerGroupRegularExpressionKey, flexible none {
        group_id: Str, versions 0..;
        regular_expression: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ConsumerGroupRegularExpressionValue, flexible 0 {
        topics: Vec<Str>, versions 0..;
        version: i64, versions 0..;
        timestamp: i64, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ConsumerGroupTargetAssignmentMemberKey, flexible none {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ConsumerGroupTargetAssignmentMemberValue, flexible 0 {
        topic_partitions: Vec<ConsumerGroupTargetAssignmentMemberValueTopicPartitions>, versions 0..;
    }

    /// Part of [`ConsumerGroupTargetAssignmentMemberValue`].
    pub struct ConsumerGroupTargetAssignmentMemberValueTopicPartitions, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ConsumerGroupTargetAssignmentMetadataKey, flexible none {
        group_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ConsumerGroupTargetAssignmentMetadataValue, flexible 0 {
        assignment_epoch: i32, versions 0..;
        assignment_timestamp: i64, versions 0.., tag 0;
    }
}
