//! What a consumer says it reads, as far as the coordinator has to know: the topics of the metadata that the consumer
//! protocol sends in JoinGroup. `int16 version | int32 count, count x string topic | ...`; later fields are not looked at,
//! and the bytes are passed on to the group's leader as they came.

/// The topics, or none if the metadata is not the consumer protocol's.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    // A topic takes two bytes at least: nothing is reserved for a count that cannot be true.
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= rest.len() / 2)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let length = u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        topics.push(std::str::from_utf8(take(&mut rest, usize::from(length))?).ok()?);
    }
    Some(topics)
}

fn take<'a>(rest: &mut &'a [u8], wanted: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(wanted)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::topics;

    #[test]
    fn topics_are_read_and_anything_cut_or_impossible_is_none() {
        let metadata = b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        assert_eq!(topics(metadata), Some(vec!["a", "bc"]));
        for length in 0..13 {
            assert_eq!(topics(&metadata[..length]), None, "{length}");
        }
        assert_eq!(topics(b"\0\x01\x7f\xff\xff\xff\0\x01a"), None);
        assert_eq!(topics(b"range"), None);
    }
}
