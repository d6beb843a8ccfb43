//! BrokerRegistration, API key 62: versions 0 to 4, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of BrokerRegistration (key 62).
    pub struct BrokerRegistrationRequest, flexible 0 {
        broker_id: i32, versions 0..;
        cluster_id: Str, versions 0..;
        incarnation_id: Uuid, versions 0..;
        listeners: Vec<BrokerRegistrationRequestListener>, versions 0..;
        features: Vec<BrokerRegistrationRequestFeature>, versions 0..;
        rack: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        is_migrating_zk_broker: bool, versions 1..;
        log_dirs: Vec<Uuid>, versions 2..;
        previous_broker_epoch: i64 = -1, versions 3..;
    }

    /// Part of [`BrokerRegistrationRequest`].
    pub struct BrokerRegistrationRequestListener, flexible 0 {
        name: Str, versions 0..;
        host: Str, versions 0..;
        port: u16, versions 0..;
        security_protocol: i16, versions 0..;
    }

    /// Part of [`BrokerRegistrationRequest`].
    pub struct BrokerRegistrationRequestFeature, flexible 0 {
        name: Str, versions 0..;
        min_supported_version: i16, versions 0..;
        max_supported_version: i16, versions 0..;
    }

    /// Response body of BrokerRegistration (key 62).
    pub struct BrokerRegistrationResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        broker_epoch: i64 = -1, versions 0..;
    }
}
