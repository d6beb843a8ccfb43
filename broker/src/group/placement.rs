//! Which partition of `__consumer_offsets` keeps a group: Kafka's rule, so that a directory of Kafka's can be adopted.

/// `abs(hash) % partitions` with Java's hash of a string: over its UTF-16 units, wrapping in 32 bits. The absolute value
/// is the one of Kafka's `Utils.abs`, which maps the smallest integer to 0.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn groups_are_placed_as_java_places_them() {
        // Hashes from the definition of java.lang.String.hashCode.
        assert_eq!(partition_of("", 50), 0);
        assert_eq!(partition_of("a", 50), 97 % 50);
        assert_eq!(partition_of("hello", 50), 99_162_322 % 50);
        // Its hash is the smallest 32-bit integer.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // U+1F600 is two UTF-16 units: 0xD83D * 31 + 0xDE00.
        assert_eq!(
            partition_of("\u{1F600}", 1_000_000),
            (0xD83D * 31 + 0xDE00) % 1_000_000
        );
        // A negative hash ("zzzzzzz" wraps around).
        let hash = "zzzzzzz"
            .bytes()
            .fold(0i32, |h, b| h.wrapping_mul(31).wrapping_add(i32::from(b)));
        assert_eq!(partition_of("zzzzzzz", 50), hash.unsigned_abs() as i32 % 50);
    }
}
