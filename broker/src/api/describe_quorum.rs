//! DescribeQuorum (KIP-595, KIP-836): the metadata quorum as its leader knows it.
//!
//! Kafka's quorum keeps the log of one partition; ours is told in the same words: the term is the leader epoch, entries are
//! offsets. What the leader cannot be asked is answered with LEADER_NOT_AVAILABLE and the reason, never with old knowledge.

use std::time::Duration;

use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestTopic, DescribeQuorumResponse, DescribeQuorumResponseNode,
    DescribeQuorumResponseNodeListener, DescribeQuorumResponseTopic, DescribeQuorumResponseTopicPartition,
    DescribeQuorumResponseTopicPartitionCurrentVoter, DescribeQuorumResponseTopicPartitionObserver,
};
use protocol::{ErrorCode, Str};

use super::replies::unanswered;
use super::serve::Ctx;
use crate::metadata::ItemError;
use crate::quorum::{Description, Member, VotersReply, VotersRequest};

/// The log of the metadata, as clients name it.
const TOPIC: &str = "__cluster_metadata";
/// Name of the control listener in the answer, as clients of KRaft clusters know it.
const LISTENER: &str = "CONTROLLER";
/// The request names no time of its own; an election is over in less.
const WITHIN: Duration = Duration::from_secs(5);

/// Asks the quorum's leader, whichever broker that is.
pub async fn handle(ctx: &Ctx, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let described = match ctx.shard().ask_voters(VotersRequest::Describe, WITHIN).await {
        Ok(VotersReply::Described(described)) => described,
        Ok(VotersReply::Changed) => return refused(unanswered()),
        Err(error) => return refused(error),
    };
    DescribeQuorumResponse {
        topics: request
            .topics
            .iter()
            .map(|asked| topic(asked, &described))
            .collect(),
        nodes: nodes(&described),
        ..Default::default()
    }
}

fn refused(error: ItemError) -> DescribeQuorumResponse {
    let code = match error.code {
        ErrorCode::NotController | ErrorCode::RequestTimedOut => ErrorCode::LeaderNotAvailable,
        code => code,
    };
    DescribeQuorumResponse {
        error_code: code.code(),
        error_message: Some(Str::from(error.message)),
        ..Default::default()
    }
}

fn topic(asked: &DescribeQuorumRequestTopic, described: &Description) -> DescribeQuorumResponseTopic {
    let partitions = asked.partitions.iter().map(|partition| {
        let index = partition.partition_index;
        if &*asked.topic_name == TOPIC && index == 0 {
            log(described)
        } else {
            DescribeQuorumResponseTopicPartition {
                partition_index: index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                error_message: Some(Str::from(format!("the quorum keeps {TOPIC}-0 only"))),
                ..Default::default()
            }
        }
    });
    DescribeQuorumResponseTopic {
        topic_name: asked.topic_name.clone(),
        partitions: partitions.collect(),
    }
}

fn log(described: &Description) -> DescribeQuorumResponseTopicPartition {
    let end = |member: &Member| member.log_end.map_or(-1, offset);
    let voter = |member: &Member| DescribeQuorumResponseTopicPartitionCurrentVoter {
        replica_id: member.voter.node,
        replica_directory_id: member.voter.directory,
        log_end_offset: end(member),
        last_fetch_timestamp: member.heard_ms,
        last_caught_up_timestamp: member.caught_up_ms,
    };
    let observer = |member: &Member| DescribeQuorumResponseTopicPartitionObserver {
        replica_id: member.voter.node,
        replica_directory_id: member.voter.directory,
        log_end_offset: end(member),
        last_fetch_timestamp: member.heard_ms,
        last_caught_up_timestamp: member.caught_up_ms,
    };
    DescribeQuorumResponseTopicPartition {
        partition_index: 0,
        error_message: None,
        leader_id: described.leader.node,
        leader_epoch: i32::try_from(described.term).unwrap_or(i32::MAX),
        high_watermark: offset(described.high_watermark),
        current_voters: described.voters.iter().map(voter).collect(),
        observers: described.observers.iter().map(observer).collect(),
        ..Default::default()
    }
}

fn offset(entries: u64) -> i64 {
    i64::try_from(entries).unwrap_or(i64::MAX)
}

/// Where the voters' control listeners are, as KIP-853 has it.
fn nodes(described: &Description) -> Vec<DescribeQuorumResponseNode> {
    let node = |member: &Member| {
        let (host, port) = member.address.rsplit_once(':')?;
        Some(DescribeQuorumResponseNode {
            node_id: member.voter.node,
            listeners: vec![DescribeQuorumResponseNodeListener {
                name: Str::from(LISTENER),
                host: Str::from(host.trim_matches(['[', ']']).to_string()),
                port: port.parse().ok()?,
            }],
        })
    };
    described.voters.iter().filter_map(node).collect()
}
