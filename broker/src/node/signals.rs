//! SIGTERM and SIGINT: the first one asks for an orderly stop, the next one ends the process.
//!
//! A thread of its own waits for them, so that a start that hangs can be ended like everything else.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// The signals that end a broker, as they arrive.
pub struct Signals {
    arrived: Receiver<()>,
}

impl Signals {
    /// Catches them from now on.
    pub fn new() -> io::Result<Signals> {
        let (tell, arrived) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let wait = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                    if tell.send(()).is_err() {
                        return;
                    }
                }
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(Signals { arrived })
    }

    /// Waits for the first signal.
    pub fn wait(&self) {
        // An error means that the thread is gone, and it only goes with the process.
        let _ = self.arrived.recv();
    }

    /// Waits for another signal, at most so long.
    pub fn wait_for_second(&self, at_most: Duration) {
        if let Err(RecvTimeoutError::Timeout) = self.arrived.recv_timeout(at_most) {
            tracing::error!("the stop took too long");
        }
    }
}
