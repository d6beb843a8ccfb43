//! DescribeConfigs, API key 32: versions 1 to 4, flexible from 4.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeConfigs (key 32).
    pub struct DescribeConfigsRequest, flexible 4 {
        resources: Vec<DescribeConfigsRequestResource>, versions 1..;
        include_synonyms: bool, versions 1..;
        include_documentation: bool, versions 3..;
    }

    /// Part of [`DescribeConfigsRequest`].
    pub struct DescribeConfigsRequestResource, flexible 4 {
        resource_type: i8, versions 1..;
        resource_name: Str, versions 1..;
        configuration_keys: Option<Vec<Str>> = Some(Vec::new()), versions 1.., nullable 1..;
    }

    /// Response body of DescribeConfigs (key 32).
    pub struct DescribeConfigsResponse, flexible 4 {
        throttle_time_ms: i32, versions 1..;
        results: Vec<DescribeConfigsResponseResult>, versions 1..;
    }

    /// Part of [`DescribeConfigsResponse`].
    pub struct DescribeConfigsResponseResult, flexible 4 {
        error_code: i16, versions 1..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        resource_type: i8, versions 1..;
        resource_name: Str, versions 1..;
        configs: Vec<DescribeConfigsResponseResultConfig>, versions 1..;
    }

    /// Part of [`DescribeConfigsResponseResult`].
    pub struct DescribeConfigsResponseResultConfig, flexible 4 {
        name: Str, versions 1..;
        value: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        read_only: bool, versions 1..;
        config_source: i8 = -1, versions 1..;
        is_sensitive: bool, versions 1..;
        synonyms: Vec<DescribeConfigsResponseResultConfigSynonym>, versions 1..;
        config_type: i8, versions 3..;
        documentation: Option<Str> = Some(Str::EMPTY), versions 3.., nullable 3..;
    }

    /// Part of [`DescribeConfigsResponseResultConfig`].
    pub struct DescribeConfigsResponseResultConfigSynonym, flexible 4 {
        name: Str, versions 1..;
        value: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        source: i8, versions 1..;
    }
}
