//! UpdateFeatures (KIP-584): levels of what a whole cluster must agree on, and the table of them that ApiVersions tells.
//!
//! Each feature has one level in this release, and it is in force from the start: asking for it changes nothing, and any
//! other is refused with the levels there are. So nothing is committed: levels are this program's, not the cluster's. The first
//! feature with two levels needs a record for the one in force, capped by what every registered broker supports.

use std::collections::BTreeSet;

use protocol::messages::update_features::{
    UpdateFeaturesRequest, UpdateFeaturesRequestFeatureUpdate, UpdateFeaturesResponse,
    UpdateFeaturesResponseResult,
};
use protocol::{ErrorCode, Str};

use super::serve::Ctx;
use crate::metadata::ItemError;

/// A feature that is supported and finalized at this level.
pub(super) struct Feature {
    /// As Kafka names it.
    pub(super) name: &'static str,
    /// Kafka's number of what we do.
    pub(super) level: i16,
}

/// Features of Kafka that are served. `transaction.version`, `group.version`, `share.version` and `streams.version` are not.
pub(super) const FEATURES: &[Feature] = &[
    Feature {
        // KIP-966: with ELR.
        name: "eligible.leader.replicas.version",
        level: 1,
    },
    Feature {
        // KIP-853: voters come and go.
        name: "kraft.version",
        level: 1,
    },
    Feature {
        // 4.3-IV0, the newest that Kafka has released.
        name: "metadata.version",
        level: 30,
    },
];

/// Version 2 updates all of them or none, and tells one error; versions before tell one result per feature.
pub async fn handle(ctx: &Ctx, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let mut seen = BTreeSet::new();
    let checked: Vec<(Str, Result<(), ItemError>)> = request
        .feature_updates
        .iter()
        .map(|update| {
            let first = seen.insert(update.feature.to_string());
            let result = match first {
                true => check(update, ctx.version()),
                false => Err(invalid(format!("feature {} is named twice", update.feature))),
            };
            (update.feature.clone(), result)
        })
        .collect();
    if ctx.version() >= 2 {
        let wrong = checked.into_iter().find_map(|(_, result)| result.err());
        return wrong.map_or_else(
            || UpdateFeaturesResponse {
                error_message: None,
                ..Default::default()
            },
            |error| UpdateFeaturesResponse {
                error_code: error.code.code(),
                error_message: Some(Str::from(format!("no feature was updated: {}", error.message))),
                ..Default::default()
            },
        );
    }
    let result = |(feature, result): (Str, Result<(), ItemError>)| UpdateFeaturesResponseResult {
        feature,
        error_code: result.as_ref().err().map_or(0, |error| error.code.code()),
        error_message: result.err().map(|error| Str::from(error.message)),
    };
    UpdateFeaturesResponse {
        error_message: None,
        results: checked.into_iter().map(result).collect(),
        ..Default::default()
    }
}

fn check(update: &UpdateFeaturesRequestFeatureUpdate, version: i16) -> Result<(), ItemError> {
    // 1: upgrade, 2: safe downgrade, 3: unsafe downgrade (KIP-778).
    if version >= 1 && !(1..=3).contains(&update.upgrade_type) {
        return Err(invalid(format!(
            "feature {}: {} is no type of update",
            update.feature, update.upgrade_type
        )));
    }
    let refuse = |words: String| Err(ItemError::new(ErrorCode::InvalidUpdateVersion, words));
    let Some(feature) = FEATURES.iter().find(|feature| *feature.name == *update.feature) else {
        let known: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
        return refuse(format!(
            "feature {} is not supported; there are {}",
            update.feature,
            known.join(", ")
        ));
    };
    if update.max_version_level == feature.level {
        return Ok(());
    }
    refuse(format!(
        "feature {}: level {} is not supported; there is level {}, and it is in force",
        update.feature, update.max_version_level, feature.level
    ))
}

fn invalid(message: String) -> ItemError {
    ItemError::new(ErrorCode::InvalidRequest, message)
}
