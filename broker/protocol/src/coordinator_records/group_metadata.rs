//! Classic groups, as `__consumer_offsets` keeps them (record type 2).

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// A key.
    pub struct GroupMetadataKey, flexible none {
        group: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct GroupMetadataValue, flexible 4 {
        protocol_type: Str, versions 0..;
        generation: i32, versions 0..;
        protocol: Option<Str>, versions 0.., nullable 0..;
        leader: Option<Str>, versions 0.., nullable 0..;
        current_state_timestamp: i64 = -1, versions 2..;
        members: Vec<GroupMetadataValueMember>, versions 0..;
    }

    /// Part of [`GroupMetadataValue`].
    pub struct GroupMetadataValueMember, flexible 4 {
        member_id: Str, versions 0..;
        group_instance_id: Option<Str>, versions 3.., nullable 3..;
        client_id: Str, versions 0..;
        client_host: Str, versions 0..;
        rebalance_timeout: i32 = -1, versions 1..;
        session_timeout: i32, versions 0..;
        subscription: Bytes, versions 0..;
        assignment: Bytes, versions 0..;
    }
}
