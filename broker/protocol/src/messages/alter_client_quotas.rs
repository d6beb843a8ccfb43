//! AlterClientQuotas, API key 49: versions 0 to 1, flexible from 1.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of AlterClientQuotas (key 49).
    pub struct AlterClientQuotasRequest, flexible 1 {
        entries: Vec<AlterClientQuotasRequestEntry>, versions 0..;
        validate_only: bool, versions 0..;
    }

    /// Part of [`AlterClientQuotasRequest`].
    pub struct AlterClientQuotasRequestEntry, flexible 1 {
        entity: Vec<AlterClientQuotasRequestEntryEntity>, versions 0..;
        ops: Vec<AlterClientQuotasRequestEntryOp>, versions 0..;
    }

    /// Part of [`AlterClientQuotasRequestEntry`].
    pub struct AlterClientQuotasRequestEntryEntity, flexible 1 {
        entity_type: Str, versions 0..;
        entity_name: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }

    /// Part of [`AlterClientQuotasRequestEntry`].
    pub struct AlterClientQuotasRequestEntryOp, flexible 1 {
        key: Str, versions 0..;
        value: f64, versions 0..;
        remove: bool, versions 0..;
    }

    /// Response body of AlterClientQuotas (key 49).
    pub struct AlterClientQuotasResponse, flexible 1 {
        throttle_time_ms: i32, versions 0..;
        entries: Vec<AlterClientQuotasResponseEntry>, versions 0..;
    }

    /// Part of [`AlterClientQuotasResponse`].
    pub struct AlterClientQuotasResponseEntry, flexible 1 {
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        entity: Vec<AlterClientQuotasResponseEntryEntity>, versions 0..;
    }

    /// Part of [`AlterClientQuotasResponseEntry`].
    pub struct AlterClientQuotasResponseEntryEntity, flexible 1 {
        entity_type: Str, versions 0..;
        entity_name: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
