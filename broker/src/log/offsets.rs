//! The offsets of one log and the order they must keep: `log start <= high watermark <= log end` and
//! `synced <= written <= log end`. The only code that moves them.

use protocol::Offset;

/// Where a log stands. A copy: it is true at the moment it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    /// First offset that can be read.
    pub log_start: Offset,
    /// Consumers see offsets below it. Moved by replication through `Log::set_high_watermark`.
    pub high_watermark: Offset,
    /// Offsets below it are on disk: a power cut keeps them.
    pub synced: Offset,
    /// Offsets below it have been handed to the kernel; a process crash keeps them.
    pub written: Offset,
    /// The offset the next record will get.
    pub log_end: Offset,
}

/// Holder of [`LogOffsets`]; every change goes through a verb that asserts the order.
#[derive(Clone, Debug)]
pub(super) struct Offsets(LogOffsets);

impl Offsets {
    /// Offsets of a log just opened: everything found is synced, see recovery.
    pub(super) fn opened(log_start: Offset, high_watermark: Offset, log_end: Offset) -> Offsets {
        let offsets = LogOffsets {
            log_start,
            high_watermark: high_watermark.clamp(log_start, log_end),
            synced: log_end,
            written: log_end,
            log_end,
        };
        Offsets(offsets).checked()
    }

    pub(super) fn get(&self) -> LogOffsets {
        self.0
    }

    /// Records up to (not including) `end` were appended.
    pub(super) fn appended(&mut self, end: Offset) {
        assert!(end >= self.0.log_end, "appends move the log end forward");
        self.0.log_end = end;
        self.check();
    }

    /// A round wrote everything below `end`, and, if `durable`, synced it.
    pub(super) fn wrote(&mut self, end: Offset, durable: bool) {
        self.0.written = self.0.written.max(end);
        if durable {
            self.0.synced = self.0.synced.max(end);
        }
        self.check();
    }

    /// Moves the high watermark, never back and never outside the log. Says whether it moved.
    pub(super) fn set_high_watermark(&mut self, to: Offset) -> bool {
        let to = to.min(self.0.log_end);
        let moved = to > self.0.high_watermark;
        if moved {
            self.0.high_watermark = to;
            self.check();
        }
        moved
    }

    /// Moves the log start, never back and never past the high watermark. Says whether it moved.
    pub(super) fn set_log_start(&mut self, to: Offset) -> bool {
        let to = to.min(self.0.high_watermark);
        let moved = to > self.0.log_start;
        if moved {
            self.0.log_start = to;
            self.check();
        }
        moved
    }

    fn checked(self) -> Offsets {
        self.check();
        self
    }

    fn check(&self) {
        let LogOffsets {
            log_start,
            high_watermark,
            synced,
            written,
            log_end,
        } = self.0;
        assert!(
            log_start <= high_watermark
                && high_watermark <= log_end
                && synced <= written
                && written <= log_end,
            "offsets out of order: {:?}",
            self.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_moves_its_offset_and_no_other() {
        let mut offsets = Offsets::opened(Offset(5), Offset(3), Offset(10));
        assert_eq!(offsets.get().high_watermark, Offset(5), "clamped to the log");
        offsets.appended(Offset(20));
        assert_eq!(offsets.get().synced, Offset(10));
        offsets.wrote(Offset(15), false);
        assert_eq!(
            (offsets.get().written, offsets.get().synced),
            (Offset(15), Offset(10))
        );
        offsets.wrote(Offset(15), true);
        assert_eq!(offsets.get().synced, Offset(15));
        assert!(offsets.set_high_watermark(Offset(15)));
        assert!(!offsets.set_high_watermark(Offset(12)), "never back");
        assert!(offsets.set_high_watermark(Offset(99)));
        assert_eq!(offsets.get().high_watermark, Offset(20), "never outside the log");
        assert!(offsets.set_log_start(Offset(30)));
        assert_eq!(
            offsets.get().log_start,
            Offset(20),
            "never past the high watermark"
        );
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn writing_what_was_not_appended_is_a_bug() {
        Offsets::opened(Offset(0), Offset(0), Offset(1)).wrote(Offset(2), true);
    }
}
