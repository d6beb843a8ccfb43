//! The quorum's answer to a request of several items, handed out item by item.

use protocol::ErrorCode;

use crate::metadata::ItemError;

/// Results in the order of the items that were submitted, or one refusal that holds for all of them.
pub(super) enum Replies<I> {
    Each(I),
    Refused(ItemError),
}

impl<T, I: Iterator<Item = Result<T, ItemError>>> Replies<I> {
    pub(super) fn new(replies: Result<I, ItemError>) -> Replies<I> {
        match replies {
            Ok(each) => Replies::Each(each),
            Err(error) => Replies::Refused(error),
        }
    }

    /// The next item's result.
    pub(super) fn next(&mut self) -> Result<T, ItemError> {
        match self {
            Replies::Each(each) => each.next().unwrap_or_else(|| Err(unanswered())),
            Replies::Refused(error) => Err(error.clone()),
        }
    }
}

/// The quorum answered something else than was asked. A broken invariant, told instead of hidden.
pub(super) fn unanswered() -> ItemError {
    ItemError::new(
        ErrorCode::UnknownServerError,
        "the metadata quorum gave no answer for this item",
    )
}
