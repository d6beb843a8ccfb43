//! Counts the jobs that use a partition's directory by its name. A deleted partition's directory is renamed only when
//! none is left: a topic of the same name may be made right after, and a late job would otherwise read or write *its* files.

use std::cell::Cell;
use std::rc::Rc;

use crate::rt::local::Event;

#[derive(Clone, Default)]
pub(super) struct Gate(Rc<Counted>);

#[derive(Default)]
struct Counted {
    inside: Cell<usize>,
    left: Event,
}

/// A job's stay; ends when it is dropped.
pub(super) struct Inside(Gate);

impl Gate {
    pub(super) fn enter(&self) -> Inside {
        self.0.inside.set(self.0.inside.get() + 1);
        Inside(self.clone())
    }

    /// Ends when nobody is inside.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.0.left.wait();
            if self.0.inside.get() == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let gate = &self.0.0;
        gate.inside.set(gate.inside.get() - 1);
        gate.left.notify_all();
    }
}
