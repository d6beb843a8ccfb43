//! UpdateFeatures, API key 57: versions 0 to 2, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of UpdateFeatures (key 57).
    pub struct UpdateFeaturesRequest, flexible 0 {
        timeout_ms: i32 = 60000, versions 0..;
        feature_updates: Vec<UpdateFeaturesRequestFeatureUpdate>, versions 0..;
        validate_only: bool, versions 1..;
    }

    /// Part of [`UpdateFeaturesRequest`].
    pub struct UpdateFeaturesRequestFeatureUpdate, flexible 0 {
        feature: Str, versions 0..;
        max_version_level: i16, versions 0..;
        upgrade_type: i8 = 1, versions 1..;
        allow_downgrade: bool, versions 0..=0;
    }

    /// Response body of UpdateFeatures (key 57).
    pub struct UpdateFeaturesResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        results: Vec<UpdateFeaturesResponseResult>, versions 0..=1;
    }

    /// Part of [`UpdateFeaturesResponse`].
    pub struct UpdateFeaturesResponseResult, flexible 0 {
        feature: Str, versions 0..=1;
        error_code: i16, versions 0..=1;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0..=1, nullable 0..=1;
    }
}
