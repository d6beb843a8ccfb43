//! The first words on a replication connection: who follows, whom and which core it wants, and what the leader says.
//!
//! ```text
//! hello    4 "MRPL"  2 version  2 length of what follows
//!          1 length of the cluster id, cluster id
//!          4 follower's node  8 its broker epoch  2 its core  4 wanted node  2 wanted core  2 cores the follower counts on
//! welcome  4 "MRPL"  2 leader's version  1 verdict  4 leader's node  2 its cores
//! ```
//! The first eight bytes of a hello and all of a welcome are the same in every version: peers of different versions
//! can tell each other so. Pure; sockets and time limits are the transport's.

use bytes::{BufMut, Bytes, BytesMut};
use protocol::ids::NodeId;

use super::bytes::{Fields, Malformed};

/// Of what follows the handshake. Goes up with every change that an older peer would misread.
pub const VERSION: u16 = 1;
/// Bytes of a hello that are the same in every version.
pub const HELLO_PREFIX: usize = 8;
/// Bytes of a welcome.
pub const WELCOME: usize = 13;

const MAGIC: [u8; 4] = *b"MRPL";
/// What a hello has beside the cluster id.
const HELLO_FIXED: usize = 1 + 4 + 8 + 2 + 4 + 2 + 2;
/// The longest hello behind its prefix: a cluster id has one byte of length.
const LONGEST_HELLO: usize = HELLO_FIXED + u8::MAX as usize;

const _: () = assert!(HELLO_PREFIX == 4 + 2 + 2);
const _: () = assert!(WELCOME == 4 + 2 + 1 + 4 + 2);
const _: () = assert!(LONGEST_HELLO <= u16::MAX as usize);

/// What a follower says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster both must be of.
    pub cluster_id: String,
    /// Who follows.
    pub node: NodeId,
    /// Its epoch: which life of that node it is (KIP-903).
    pub broker_epoch: i64,
    /// Its core.
    pub core: u16,
    /// Whom it wants to reach.
    pub wanted_node: NodeId,
    /// The leader's core it wants.
    pub wanted_core: u16,
    /// How many cores it believes the leader to have; which core owns a partition depends on it.
    pub cores_known: u16,
}

/// What the prefix of a hello says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The follower's version.
    pub version: u16,
    /// Bytes that follow; bounded.
    pub len: usize,
}

/// What the leader says to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Frames follow.
    Welcome,
    /// It speaks another version.
    Version,
    /// It is of another cluster.
    Cluster,
    /// It is another node.
    Node,
    /// It has another number of cores.
    Cores,
    /// It has no room, or stops: to be tried again.
    Later,
}

const VERDICTS: [Verdict; 6] = [
    Verdict::Welcome,
    Verdict::Version,
    Verdict::Cluster,
    Verdict::Node,
    Verdict::Cores,
    Verdict::Later,
];

/// A verdict with who gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The leader's version.
    pub version: u16,
    /// What it says.
    pub verdict: Verdict,
    /// Who answers.
    pub node: NodeId,
    /// How many cores it has.
    pub cores: u16,
}

impl Hello {
    /// As it goes over the wire. A cluster id over 255 bytes is cut: no cluster has one.
    pub fn encode(&self) -> Bytes {
        let id = self.cluster_id.as_bytes();
        let id = &id[..id.len().min(u8::MAX as usize)];
        let len = HELLO_FIXED + id.len();
        let mut out = BytesMut::with_capacity(HELLO_PREFIX + len);
        out.put_slice(&MAGIC);
        out.put_u16(VERSION);
        out.put_u16(len as u16);
        out.put_u8(id.len() as u8);
        out.put_slice(id);
        out.put_i32(self.node.0);
        out.put_i64(self.broker_epoch);
        out.put_u16(self.core);
        out.put_i32(self.wanted_node.0);
        out.put_u16(self.wanted_core);
        out.put_u16(self.cores_known);
        out.freeze()
    }

    /// Reads what follows the prefix, of our own version.
    pub fn decode(body: Bytes) -> Result<Hello, Malformed> {
        let mut fields = Fields(body);
        let len = fields.u8("the cluster id")?;
        let id = fields.take(usize::from(len), "the cluster id")?;
        let cluster_id = String::from_utf8(id.to_vec()).map_err(|_| Malformed::NotText("the cluster id"))?;
        let hello = Hello {
            cluster_id,
            node: NodeId(fields.i32("the node")?),
            broker_epoch: fields.i64("the broker epoch")?,
            core: fields.u16("the core")?,
            wanted_node: NodeId(fields.i32("the wanted node")?),
            wanted_core: fields.u16("the wanted core")?,
            cores_known: fields.u16("the number of cores")?,
        };
        fields.end()?;
        Ok(hello)
    }

    /// Reads the first eight bytes.
    pub fn prefix(bytes: [u8; HELLO_PREFIX]) -> Result<Prefix, Malformed> {
        let mut fields = Fields(Bytes::copy_from_slice(&bytes));
        if fields.take(4, "the prefix")? != MAGIC[..] {
            return Err(Malformed::OtherProtocol);
        }
        let version = fields.u16("the version")?;
        let len = usize::from(fields.u16("the length")?);
        if version == VERSION && len > LONGEST_HELLO {
            return Err(Malformed::TooLong {
                len,
                limit: LONGEST_HELLO,
            });
        }
        Ok(Prefix { version, len })
    }

    /// What a leader that is `node` of `cluster_id` with `cores` cores says to it.
    pub fn judge(&self, cluster_id: &str, node: NodeId, cores: u16) -> Verdict {
        if self.cluster_id != cluster_id {
            Verdict::Cluster
        } else if self.wanted_node != node {
            Verdict::Node
        } else if self.cores_known != cores || self.wanted_core >= cores {
            Verdict::Cores
        } else {
            Verdict::Welcome
        }
    }
}

impl Welcome {
    /// As it goes over the wire.
    pub fn encode(&self) -> Bytes {
        let verdict = VERDICTS.iter().position(|verdict| *verdict == self.verdict);
        let mut out = BytesMut::with_capacity(WELCOME);
        out.put_slice(&MAGIC);
        out.put_u16(self.version);
        out.put_u8(verdict.expect("every verdict is in the table") as u8);
        out.put_i32(self.node.0);
        out.put_u16(self.cores);
        out.freeze()
    }

    /// Reads it.
    pub fn decode(bytes: [u8; WELCOME]) -> Result<Welcome, Malformed> {
        let mut fields = Fields(Bytes::copy_from_slice(&bytes));
        if fields.take(4, "the prefix")? != MAGIC[..] {
            return Err(Malformed::OtherProtocol);
        }
        let version = fields.u16("the version")?;
        let code = fields.u8("the verdict")?;
        let verdict = VERDICTS
            .get(usize::from(code))
            .copied()
            .ok_or(Malformed::Unknown {
                what: "verdict",
                found: code,
            })?;
        Ok(Welcome {
            version,
            verdict,
            node: NodeId(fields.i32("the node")?),
            cores: fields.u16("the number of cores")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            cluster_id: "a-cluster".into(),
            node: NodeId(2),
            broker_epoch: 77,
            core: 3,
            wanted_node: NodeId(1),
            wanted_core: 5,
            cores_known: 8,
        }
    }

    fn split(bytes: &Bytes) -> ([u8; HELLO_PREFIX], Bytes) {
        let prefix = bytes[..HELLO_PREFIX].try_into().expect("eight bytes");
        (prefix, bytes.slice(HELLO_PREFIX..))
    }

    #[test]
    fn a_hello_comes_back_as_it_went() {
        let (prefix, body) = split(&hello().encode());
        let expected = Prefix {
            version: VERSION,
            len: body.len(),
        };
        assert_eq!(Hello::prefix(prefix), Ok(expected));
        assert_eq!(Hello::decode(body), Ok(hello()));
    }

    #[test]
    fn its_bytes_do_not_change() {
        let golden =
            b"MRPL\x00\x01\x00\x20\x09a-cluster\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x4d\x00\x03\
            \x00\x00\x00\x01\x00\x05\x00\x08";
        assert_eq!(hello().encode(), golden[..]);
        let welcome = Welcome {
            version: VERSION,
            verdict: Verdict::Cores,
            node: NodeId(1),
            cores: 4,
        };
        assert_eq!(welcome.encode(), b"MRPL\x00\x01\x04\x00\x00\x00\x01\x00\x04"[..]);
    }

    #[test]
    fn a_hello_that_ends_early_or_late_is_refused() {
        let (_, body) = split(&hello().encode());
        for len in 0..body.len() {
            assert!(
                matches!(Hello::decode(body.slice(..len)), Err(Malformed::Short(_))),
                "{len}"
            );
        }
        let longer: Bytes = [&body[..], &[0]].concat().into();
        assert_eq!(Hello::decode(longer), Err(Malformed::Trailing(1)));
    }

    #[test]
    fn hostile_prefixes_are_refused() {
        assert_eq!(Hello::prefix(*b"GET / HT"), Err(Malformed::OtherProtocol));
        assert!(matches!(
            Hello::prefix(*b"MRPL\x00\x01\xff\xff"),
            Err(Malformed::TooLong { .. })
        ));
        let newer = Hello::prefix(*b"MRPL\x00\x02\xff\xff").expect("another version is told so");
        assert_eq!(newer.version, 2);
    }

    #[test]
    fn every_verdict_comes_back() {
        for verdict in VERDICTS {
            let welcome = Welcome {
                version: 9,
                verdict,
                node: NodeId(4),
                cores: 2,
            };
            let bytes: [u8; WELCOME] = welcome.encode()[..].try_into().expect("its length");
            assert_eq!(Welcome::decode(bytes), Ok(welcome));
        }
        assert!(matches!(
            Welcome::decode(*b"MRPL\x00\x01\x09\x00\x00\x00\x01\x00\x04"),
            Err(Malformed::Unknown { .. })
        ));
    }

    #[test]
    fn the_wrong_door_is_told() {
        let judge = |cluster, node, cores| hello().judge(cluster, NodeId(node), cores);
        assert_eq!(judge("a-cluster", 1, 8), Verdict::Welcome);
        assert_eq!(judge("another", 1, 8), Verdict::Cluster);
        assert_eq!(judge("a-cluster", 4, 8), Verdict::Node);
        assert_eq!(judge("a-cluster", 1, 4), Verdict::Cores);
    }
}
