//! Which partitions of a topic differ between two versions of it.
//!
//! Owns skipping what both versions share. Leaves what a difference means to whoever asks.

use imbl::Vector;

use super::image::TopicImage;

impl TopicImage {
    /// Numbers of the partitions that are not as in `before`, an earlier version of this topic, in order: changed or added.
    /// Leaves of some 64 partitions that both versions share are passed over without a look inside.
    pub fn changed_partitions(&self, before: &TopicImage) -> Vec<i32> {
        let changed = changed(&before.partitions, &self.partitions, |old, new| old != new);
        changed.into_iter().map(|number| number as i32).collect()
    }
}

fn changed<T: Clone>(
    before: &Vector<T>,
    after: &Vector<T>,
    mut differ: impl FnMut(&T, &T) -> bool,
) -> Vec<usize> {
    let both = before.len().min(after.len());
    let (mut old, mut new) = (before.focus(), after.focus());
    let mut found = Vec::new();
    let mut at = 0;
    while at < both {
        let (old_range, old_leaf) = old.chunk_at(at);
        let (new_range, new_leaf) = new.chunk_at(at);
        let end = old_range.end.min(new_range.end).min(both);
        let old_rest = &old_leaf[at - old_range.start..end - old_range.start];
        let new_rest = &new_leaf[at - new_range.start..end - new_range.start];
        if !std::ptr::eq(old_rest, new_rest) {
            let pairs = old_rest.iter().zip(new_rest).enumerate();
            found.extend(pairs.filter_map(|(number, (old, new))| differ(old, new).then_some(at + number)));
        }
        at = end;
    }
    found.extend(both..after.len());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found, and how many pairs were looked at for it.
    fn found(before: &Vector<u32>, after: &Vector<u32>) -> (Vec<usize>, usize) {
        let mut looked = 0;
        let found = changed(before, after, |old, new| {
            looked += 1;
            old != new
        });
        (found, looked)
    }

    #[test]
    fn what_two_versions_share_is_not_looked_at() {
        let before: Vector<u32> = (0..10_000).collect();
        assert_eq!(found(&before, &before.clone()), (vec![], 0));
        let mut after = before.clone();
        after[0] = 1;
        after[5_000] = 1;
        after[9_999] = 1;
        after.push_back(7);
        let (changed, looked) = found(&before, &after);
        assert_eq!(changed, [0, 5_000, 9_999, 10_000]);
        assert!(looked < 500, "{looked} of 10,000 were looked at");
    }

    #[test]
    fn every_difference_is_found_whatever_is_shared() {
        let of = |values: std::ops::Range<u32>| -> Vector<u32> { values.collect() };
        for many in [0, 1, 3, 63, 64, 65, 128, 5_000] {
            let before = of(0..many);
            let mut grown = before.clone();
            grown.extend(many..many + 200);
            let added: Vec<usize> = (many as usize..many as usize + 200).collect();
            assert_eq!(found(&before, &grown).0, added, "{many} and 200 more");
            // Nothing is shared, as after a snapshot, and leaves may begin elsewhere.
            assert_eq!(found(&before, &of(0..many)).0, Vec::<usize>::new());
            let mut apart = of(many / 2..many);
            for value in (0..many / 2).rev() {
                apart.push_front(value);
            }
            assert_eq!(found(&before, &apart).0, Vec::<usize>::new(), "{many}");
            for at in [0, many / 2, many.saturating_sub(1)] {
                let mut other = apart.clone();
                if let Some(value) = other.get_mut(at as usize) {
                    *value += 1;
                    assert_eq!(found(&before, &other).0, [at as usize], "{at} of {many}");
                }
            }
        }
    }
}
