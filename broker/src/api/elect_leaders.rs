//! ElectLeaders (KIP-460): preferred leaders back to where they belong, or any leader where there is none.

use std::collections::BTreeMap;

use protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, ElectLeadersResponseReplicaElectionResult,
    ElectLeadersResponseReplicaElectionResultPartitionResult,
};
use protocol::{ErrorCode, Str};

use super::replies::unanswered;
use super::serve::{Ctx, deadline};
use crate::metadata::{Reply, Request, TopicPartitions};

/// The election type for preferred leaders; 1 is for any replica that is alive.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Elects where it can be done, answers per partition.
pub async fn handle(ctx: &Ctx, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if ![PREFERRED, UNCLEAN].contains(&request.election_type) {
        return refused(ErrorCode::InvalidRequest);
    }
    let named = request.topic_partitions.map(|topics| {
        let named = topics.iter().map(|topic| TopicPartitions {
            topic: topic.topic.to_string(),
            partitions: topic.partitions.clone(),
        });
        named.collect()
    });
    let submitted = Request::ElectLeaders {
        unclean: request.election_type == UNCLEAN,
        partitions: named,
    };
    let elected = match ctx.shard().submit(submitted, deadline(request.timeout_ms)).await {
        Ok(Reply::ElectLeaders(elected)) => elected,
        Ok(_) => return refused(unanswered().code),
        Err(error) => return refused(error.code),
    };
    let unclean = elected.iter().filter_map(|one| one.unclean.as_ref());
    unclean.for_each(|leader| ctx.shard().elected_uncleanly(leader));
    let mut by_topic: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for one in elected {
        let error = one.result.err();
        let result = ElectLeadersResponseReplicaElectionResultPartitionResult {
            partition_id: one.partition,
            error_code: error.as_ref().map_or(ErrorCode::None, |error| error.code).code(),
            error_message: error.map(|error| Str::from(error.message)),
        };
        by_topic.entry(one.topic.to_string()).or_default().push(result);
    }
    let results =
        by_topic.into_iter().map(
            |(topic, partition_result)| ElectLeadersResponseReplicaElectionResult {
                topic: Str::from(topic),
                partition_result,
            },
        );
    ElectLeadersResponse {
        replica_election_results: results.collect(),
        ..Default::default()
    }
}

fn refused(code: ErrorCode) -> ElectLeadersResponse {
    ElectLeadersResponse {
        error_code: code.code(),
        ..Default::default()
    }
}
