//! The recorder's file tree: every node once, as it is now and as a power cut would leave it, with the changes between.

use super::{Mark, NodeId};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path};

/// One change of a node, in the order made.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write {
        pos: u64,
        bytes: Vec<u8>,
    },
    SetLen(u64),
    Link {
        name: String,
        node: NodeId,
    },
    Unlink {
        name: String,
    },
    /// Within one directory; atomic, as file systems make it.
    Rename {
        from: String,
        to: String,
        node: NodeId,
    },
}

#[derive(Default)]
struct Node {
    /// `Some` for a directory: names now, and names after a power cut.
    names: Option<Names>,
    /// Durable content of a file.
    durable: Vec<u8>,
    /// Content of a file as it is now, where no real file holds it ([`Tree::in_memory`]).
    now: Vec<u8>,
    /// Changes that are not durable yet, with their sequence numbers.
    pending: Vec<(u64, Change)>,
    /// Where it is now (for words and fault matching); the last known path once removed.
    path: String,
}

#[derive(Default)]
struct Names {
    now: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
}

pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    root: NodeId,
    next_id: u64,
    next_change: u64,
    /// Whether contents live here alone.
    in_memory: bool,
    /// Nothing that is changed from now on outlives a power cut.
    stopped: bool,
}

impl Tree {
    /// Takes over what is on disk below `root`, all of it durable.
    pub(super) fn load(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree {
            nodes: BTreeMap::new(),
            root: NodeId(0),
            next_id: 0,
            next_change: 1,
            in_memory: false,
            stopped: false,
        };
        tree.root = tree.load_node(root, String::new())?;
        Ok(tree)
    }

    /// An empty file system with no real one behind it.
    pub(super) fn in_memory() -> Tree {
        let mut tree = Tree {
            nodes: BTreeMap::new(),
            root: NodeId(0),
            next_id: 0,
            next_change: 1,
            in_memory: true,
            stopped: false,
        };
        tree.root = tree.add(Node {
            names: Some(Names::default()),
            ..Node::default()
        });
        tree
    }

    /// Up to `buffer.len()` bytes at `pos`, as they are now.
    pub(super) fn read(&self, id: NodeId, buffer: &mut [u8], pos: u64) -> usize {
        let now = &self.node(id).now;
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(now.len());
        let count = buffer.len().min(now.len() - from);
        buffer[..count].copy_from_slice(&now[from..from + count]);
        count
    }

    pub(super) fn len(&self, id: NodeId) -> u64 {
        self.node(id).now.len() as u64
    }

    pub(super) fn is_dir(&self, id: NodeId) -> bool {
        self.node(id).names.is_some()
    }

    /// Names in a directory, sorted.
    pub(super) fn list(&self, id: NodeId) -> Option<Vec<String>> {
        Some(self.node(id).names.as_ref()?.now.keys().cloned().collect())
    }

    /// Bytes of all files as they are now.
    pub(super) fn used(&self) -> u64 {
        self.nodes.values().map(|node| node.now.len() as u64).sum()
    }

    /// Turns one bit of a file over, as it is now and after a power cut.
    pub(super) fn flip_bit(&mut self, id: NodeId, byte: usize, bit: u8) {
        let node = self.node_mut(id);
        for content in [&mut node.now, &mut node.durable] {
            if let Some(byte) = content.get_mut(byte) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Until the power goes, changes are seen and leave nothing.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// What is durable is all there is from now on; nodes without a name are gone.
    pub(super) fn forget_what_is_not_durable(&mut self) {
        self.stopped = false;
        for node in self.nodes.values_mut() {
            node.pending.clear();
            node.now.clone_from(&node.durable);
            if let Some(names) = &mut node.names {
                names.now.clone_from(&names.durable);
            }
        }
        let named = self.named_below(self.root);
        let named: std::collections::BTreeSet<NodeId> = named.into_iter().collect();
        self.nodes.retain(|id, _| named.contains(id));
    }

    fn load_node(&mut self, path: &Path, name: String) -> io::Result<NodeId> {
        let mut node = Node {
            path: name.clone(),
            ..Node::default()
        };
        if path.is_dir() {
            let mut names = Names::default();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let child_name = entry.file_name().to_string_lossy().into_owned();
                let child = self.load_node(&entry.path(), format!("{name}/{child_name}"))?;
                names.now.insert(child_name.clone(), child);
                names.durable.insert(child_name, child);
            }
            node.names = Some(names);
        } else {
            node.durable = fs::read(path)?;
        }
        Ok(self.add(node))
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        self.nodes.insert(id, node);
        id
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes
            .get(&id)
            .expect("nodes are never taken out of the model")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes
            .get_mut(&id)
            .expect("nodes are never taken out of the model")
    }

    pub(super) fn path_of(&self, id: NodeId) -> &str {
        &self.node(id).path
    }

    /// The node at `path` now.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = self.root;
        for name in components(path)? {
            let names = self.node(at).names.as_ref();
            let child = names.and_then(|names| names.now.get(&name));
            at = *child.ok_or_else(|| unknown(path))?;
        }
        Ok(at)
    }

    /// The node at `path` and all below it, as they are named now.
    pub(super) fn below(&self, path: &Path) -> io::Result<Vec<NodeId>> {
        Ok(self.named_below(self.resolve(path)?))
    }

    fn named_below(&self, top: NodeId) -> Vec<NodeId> {
        let mut found = vec![top];
        let mut at = 0;
        while at < found.len() {
            if let Some(names) = &self.node(found[at]).names {
                found.extend(names.now.values());
            }
            at += 1;
        }
        found
    }

    fn parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let mut names = components(path)?;
        let name = names
            .pop()
            .ok_or_else(|| io::Error::other("the recorded root itself cannot be changed"))?;
        let parent = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        Ok((parent, name))
    }

    /// The file at `path`, created (without a durable name) if the model does not know it.
    pub(super) fn open(&mut self, path: &Path) -> io::Result<NodeId> {
        match self.resolve(path) {
            Ok(node) => Ok(node),
            Err(_) => self.create(path, None),
        }
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        if self.resolve(path).is_err() {
            self.create(path, Some(Names::default()))?;
        }
        Ok(())
    }

    fn create(&mut self, path: &Path, names: Option<Names>) -> io::Result<NodeId> {
        let (parent, name) = self.parent(path)?;
        let full = format!("{}/{name}", self.path_of(parent));
        let node = self.add(Node {
            names,
            path: full,
            ..Node::default()
        });
        self.change(parent, Change::Link { name, node });
        Ok(node)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.resolve(from)?;
        let (old_parent, old_name) = self.parent(from)?;
        let (new_parent, new_name) = self.parent(to)?;
        let full = format!("{}/{new_name}", self.path_of(new_parent));
        if old_parent == new_parent {
            self.change(
                new_parent,
                Change::Rename {
                    from: old_name,
                    to: new_name,
                    node,
                },
            );
        } else {
            self.change(new_parent, Change::Link { name: new_name, node });
            self.change(old_parent, Change::Unlink { name: old_name });
        }
        self.move_paths(node, full);
        Ok(())
    }

    fn move_paths(&mut self, id: NodeId, path: String) {
        let children: Vec<(String, NodeId)> = match &self.node(id).names {
            Some(names) => names
                .now
                .iter()
                .map(|(name, child)| (name.clone(), *child))
                .collect(),
            None => Vec::new(),
        };
        for (name, child) in children {
            self.move_paths(child, format!("{path}/{name}"));
        }
        self.node_mut(id).path = path;
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        self.resolve(path)?;
        self.change(parent, Change::Unlink { name });
        Ok(())
    }

    /// Makes a change that is not durable yet.
    pub(super) fn change(&mut self, id: NodeId, change: Change) {
        let sequence = self.next_change;
        self.next_change += 1;
        let (in_memory, stopped) = (self.in_memory, self.stopped);
        let node = self.node_mut(id);
        if in_memory {
            apply_content(&mut node.now, &change);
        }
        if let Some(names) = &mut node.names {
            apply_name(&mut names.now, &change);
        }
        if !stopped {
            node.pending.push((sequence, change));
        }
    }

    /// What a sync of the node issued now covers.
    pub(super) fn mark(&self, _id: NodeId) -> Mark {
        Mark(self.next_change)
    }

    /// A sync issued at `mark` has completed.
    pub(super) fn apply(&mut self, id: NodeId, mark: Mark) {
        let node = self.node_mut(id);
        let later = node.pending.partition_point(|(sequence, _)| *sequence < mark.0);
        let covered: Vec<(u64, Change)> = node.pending.drain(..later).collect();
        for (_, change) in covered {
            node.make_durable(&change);
        }
    }

    /// Whether bytes `[0, end)` at `path` would survive as they are now; the reason if not.
    pub(super) fn check_durable(&self, path: &Path, end: u64) -> Result<(), String> {
        let mut at = self.root;
        for name in components(path).map_err(|error| error.to_string())? {
            let names = self
                .node(at)
                .names
                .as_ref()
                .ok_or("a parent is not a directory")?;
            let now = names
                .now
                .get(&name)
                .ok_or_else(|| format!("`{name}` is not there"))?;
            if names.durable.get(&name) != Some(now) {
                return Err(format!(
                    "the name `{name}` is not durable: its directory was not synced"
                ));
            }
            at = *now;
        }
        let node = self.node(at);
        for (_, change) in &node.pending {
            let touches = match change {
                Change::Write { pos, bytes } => *pos < end && !bytes.is_empty(),
                Change::SetLen(len) => *len < end,
                Change::Link { .. } | Change::Unlink { .. } | Change::Rename { .. } => false,
            };
            if touches {
                return Err(format!("{} below that point is not synced", change.words()));
            }
        }
        if (node.durable.len() as u64) < end {
            return Err(format!("only {} bytes are there", node.durable.len()));
        }
        Ok(())
    }

    fn resolve_durable(&self, path: &Path) -> Option<NodeId> {
        let mut at = self.root;
        for name in components(path).ok()? {
            at = *self.node(at).names.as_ref()?.durable.get(&name)?;
        }
        Some(at)
    }

    pub(super) fn durable_bytes(&self, path: &Path) -> Option<Vec<u8>> {
        Some(self.node(self.resolve_durable(path)?).durable.clone())
    }

    /// Files of a directory by name, with their durable bytes.
    pub(super) fn durable_files(&self, path: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
        let names = self.node(self.resolve_durable(path)?).names.as_ref()?;
        let files = names
            .durable
            .iter()
            .map(|(name, id)| (name, self.node(*id)))
            .filter(|(_, node)| node.names.is_none());
        Some(
            files
                .map(|(name, node)| (name.clone(), node.durable.clone()))
                .collect(),
        )
    }

    /// Whether the file has bytes that are not durable.
    pub(super) fn is_unsynced(&self, path: &Path) -> bool {
        self.resolve(path)
            .is_ok_and(|id| !self.node(id).pending.is_empty())
    }

    /// Lets some unsynced changes reach the disk after all, as a real one may.
    pub(super) fn let_some_survive(&mut self, seed: u64) {
        let mut random = seed | 1;
        let mut next = move || {
            // xorshift64: only to pick, and to pick the same for the same seed.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for node in self.nodes.values_mut() {
            let pending = std::mem::take(&mut node.pending);
            if node.names.is_some() {
                // Journaled file systems keep the order of names: a prefix survives.
                let keep = next() as usize % (pending.len() + 1);
                for (_, change) in &pending[..keep] {
                    node.make_durable(change);
                }
                continue;
            }
            for (_, change) in pending {
                match (next() % 3, change) {
                    (0, _) => {}
                    (1, Change::Write { pos, mut bytes }) => {
                        bytes.truncate(next() as usize % (bytes.len() + 1));
                        node.make_durable(&Change::Write { pos, bytes });
                    }
                    (_, change) => node.make_durable(&change),
                }
            }
        }
    }

    pub(super) fn write_durable(&self, to: &Path) -> io::Result<()> {
        self.write_node(self.root, to)
    }

    fn write_node(&self, id: NodeId, to: &Path) -> io::Result<()> {
        let node = self.node(id);
        let Some(names) = &node.names else {
            return fs::write(to, &node.durable);
        };
        fs::create_dir_all(to)?;
        for (name, child) in &names.durable {
            self.write_node(*child, &to.join(name))?;
        }
        Ok(())
    }
}

impl Node {
    fn make_durable(&mut self, change: &Change) {
        match change {
            Change::Write { .. } | Change::SetLen(_) => apply_content(&mut self.durable, change),
            Change::Link { .. } | Change::Unlink { .. } | Change::Rename { .. } => {
                if let Some(names) = &mut self.names {
                    apply_name(&mut names.durable, change);
                }
            }
        }
    }
}

impl Change {
    fn words(&self) -> String {
        match self {
            Change::Write { pos, bytes } => format!("a write of {} bytes at {pos}", bytes.len()),
            Change::SetLen(len) => format!("a cut to {len}"),
            Change::Link { name, .. } => format!("the name `{name}`"),
            Change::Unlink { name } => format!("the removal of `{name}`"),
            Change::Rename { from, to, .. } => format!("the renaming of `{from}` to `{to}`"),
        }
    }
}

fn apply_content(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { bytes, .. } if bytes.is_empty() => {}
        Change::Write { pos, bytes } => {
            let start = usize::try_from(*pos).expect("recorded files fit into memory");
            let end = start + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(bytes);
        }
        Change::SetLen(len) => {
            content.resize(usize::try_from(*len).expect("recorded files fit into memory"), 0);
        }
        Change::Link { .. } | Change::Unlink { .. } | Change::Rename { .. } => {}
    }
}

fn apply_name(names: &mut BTreeMap<String, NodeId>, change: &Change) {
    match change {
        Change::Link { name, node } => {
            names.insert(name.clone(), *node);
        }
        Change::Unlink { name } => {
            names.remove(name);
        }
        Change::Rename { from, to, node } => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
        Change::Write { .. } | Change::SetLen(_) => {}
    }
}

fn components(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::CurDir => {}
            _ => {
                return Err(io::Error::other(format!(
                    "{} is not a plain path",
                    path.display()
                )));
            }
        }
    }
    Ok(names)
}

fn unknown(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("the recorder does not know {}", path.display()),
    )
}
