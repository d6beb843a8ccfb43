//! DescribeClientQuotas, API key 48: versions 0 to 1, flexible from 1.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeClientQuotas (key 48).
    pub struct DescribeClientQuotasRequest, flexible 1 {
        components: Vec<DescribeClientQuotasRequestComponent>, versions 0..;
        strict: bool, versions 0..;
    }

    /// Part of [`DescribeClientQuotasRequest`].
    pub struct DescribeClientQuotasRequestComponent, flexible 1 {
        entity_type: Str, versions 0..;
        match_type: i8, versions 0..;
        r#match: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }

    /// Response body of DescribeClientQuotas (key 48).
    pub struct DescribeClientQuotasResponse, flexible 1 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        entries: Option<Vec<DescribeClientQuotasResponseEntry>> = Some(Vec::new()), versions 0.., nullable 0..;
    }

    /// Part of [`DescribeClientQuotasResponse`].
    pub struct DescribeClientQuotasResponseEntry, flexible 1 {
        entity: Vec<DescribeClientQuotasResponseEntryEntity>, versions 0..;
        values: Vec<DescribeClientQuotasResponseEntryValue>, versions 0..;
    }

    /// Part of [`DescribeClientQuotasResponseEntry`].
    pub struct DescribeClientQuotasResponseEntryEntity, flexible 1 {
        entity_type: Str, versions 0..;
        entity_name: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }

    /// Part of [`DescribeClientQuotasResponseEntry`].
    pub struct DescribeClientQuotasResponseEntryValue, flexible 1 {
        key: Str, versions 0..;
        value: f64, versions 0..;
    }
}
