//! ControllerRegistration, API key 70: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ControllerRegistration (key 70).
    pub struct ControllerRegistrationRequest, flexible 0 {
        controller_id: i32, versions 0..;
        incarnation_id: Uuid, versions 0..;
        zk_migration_ready: bool, versions 0..;
        listeners: Vec<ControllerRegistrationRequestListener>, versions 0..;
        features: Vec<ControllerRegistrationRequestFeature>, versions 0..;
    }

    /// Part of [`ControllerRegistrationRequest`].
    pub struct ControllerRegistrationRequestListener, flexible 0 {
        name: Str, versions 0..;
        host: Str, versions 0..;
        port: u16, versions 0..;
        security_protocol: i16, versions 0..;
    }

    /// Part of [`ControllerRegistrationRequest`].
    pub struct ControllerRegistrationRequestFeature, flexible 0 {
        name: Str, versions 0..;
        min_supported_version: i16, versions 0..;
        max_supported_version: i16, versions 0..;
    }

    /// Response body of ControllerRegistration (key 70).
    pub struct ControllerRegistrationResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
