//! How many connections a broker takes: `max.connections` of all, `max.connections.per.ip` from one address. Counted over
//! all cores and listeners.
//!
//! Owns the counting. Leaves waiting for a place, and closing what gets none, to `listener.rs`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::properties::counts_by_address;

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    all: u32,
    per_address: u32,
    overrides: HashMap<IpAddr, u32>,
}

impl Limits {
    /// Reads them from property values. A value that does not parse (written by another version) limits nothing.
    pub(super) fn read(value: impl Fn(&'static str) -> String) -> Limits {
        let number = |name| value(name).trim().parse().unwrap_or(u32::MAX);
        Limits {
            all: number("max.connections"),
            per_address: number("max.connections.per.ip"),
            overrides: counts_by_address(&value("max.connections.per.ip.overrides"))
                .unwrap_or_default()
                .into_iter()
                .collect(),
        }
    }

    fn of(&self, address: &IpAddr) -> u32 {
        self.overrides.get(address).copied().unwrap_or(self.per_address)
    }
}

/// The open connections of one broker, counted. Shared by its cores.
#[derive(Debug, Default)]
pub struct Quota(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    /// Addresses with connections, so no more entries than connections.
    by_address: HashMap<IpAddr, u32>,
    /// The last connection found no place: said once, not for each that waits.
    full: bool,
}

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The broker has as many as it may: it waits, as in Kafka. `news`: before, there was room.
    Broker { limit: u32, news: bool },
    /// Its address has as many as it may: it is closed.
    Address { limit: u32 },
}

/// One counted connection; dropping it makes room.
#[derive(Debug)]
pub(super) struct Slot {
    quota: Arc<Quota>,
    address: IpAddr,
}

impl Quota {
    /// Counts a connection from `address` if the limits allow one more.
    pub(super) fn admit(self: &Arc<Quota>, address: IpAddr, limits: &Limits) -> Result<Slot, Refused> {
        let address = address.to_canonical();
        let mut counts = self.lock();
        if counts.all >= limits.all {
            let news = !std::mem::replace(&mut counts.full, true);
            return Err(Refused::Broker {
                limit: limits.all,
                news,
            });
        }
        counts.full = false;
        let limit = limits.of(&address);
        let from_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if from_address >= limit {
            return Err(Refused::Address { limit });
        }
        counts.all += 1;
        counts.by_address.insert(address, from_address + 1);
        Ok(Slot {
            quota: self.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.quota.lock();
        counts.all -= 1;
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(given: &[(&str, &str)]) -> Limits {
        Limits::read(|name| {
            let given = given.iter().find(|(known, _)| *known == name);
            given.map_or("", |(_, value)| value).to_string()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let (quota, limits) = (Arc::new(Quota::default()), limits(&[("max.connections", "2")]));
        let first = quota.admit(address("10.0.0.1"), &limits).expect("the first");
        let _second = quota.admit(address("10.0.0.2"), &limits).expect("the second");
        let refused = |news| Refused::Broker { limit: 2, news };
        assert_eq!(
            quota.admit(address("10.0.0.3"), &limits).unwrap_err(),
            refused(true)
        );
        assert_eq!(
            quota.admit(address("10.0.0.3"), &limits).unwrap_err(),
            refused(false)
        );
        drop(first);
        let _third = quota.admit(address("10.0.0.3"), &limits).expect("the third");
        assert_eq!(
            quota.admit(address("10.0.0.1"), &limits).unwrap_err(),
            refused(true)
        );
    }

    #[test]
    fn an_address_has_its_own_limit_or_that_of_all() {
        let limits = limits(&[
            ("max.connections.per.ip", "1"),
            (
                "max.connections.per.ip.overrides",
                "10.0.0.9:2,[fe80::1]:3, 10.0.0.8:0",
            ),
        ]);
        for (from, most) in [
            ("10.0.0.1", 1),
            ("::ffff:10.0.0.9", 2),
            ("fe80::1", 3),
            ("10.0.0.8", 0),
        ] {
            let quota = Arc::new(Quota::default());
            let open: Vec<Slot> = (0..most)
                .map(|_| quota.admit(address(from), &limits).expect(from))
                .collect();
            let refused = quota.admit(address(from), &limits).unwrap_err();
            assert_eq!(refused, Refused::Address { limit: most }, "{from}");
            drop(open);
            assert!(quota.lock().by_address.is_empty());
        }
    }
}
