//! Merkle trees as RFC 6962 (Certificate Transparency), section 2.1, has them: `leaf = SHA-256(0x00 || data)`,
//! `node = SHA-256(0x01 || left || right)`; a tree of n leaves splits at the largest power of two below n. The two
//! prefixes keep a node from being passed off as a leaf.

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The longest path: a tree of 2^32 leaves has no longer one.
pub const LONGEST_PATH: usize = 32;

/// The plain SHA-256 of some bytes, as `sha256sum` gives it.
#[must_use]
pub fn digest(data: &[u8]) -> Hash {
    Sha256::digest(data).into()
}

/// The hash of a leaf, whose data is given in parts that are hashed as one.
#[must_use]
pub fn leaf(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    hash.update([0]);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut data = [1; 65];
    let (_, both) = data.split_at_mut(1);
    let (first, second) = both.split_at_mut(32);
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    Sha256::digest(data).into()
}

/// A tree over hashes of leaves. Holds every level, so that paths are looked up and not computed again.
#[derive(Debug, Clone)]
pub struct Tree {
    /// From the leaves up; the last has one hash. A level's last hash goes up unchanged when it has no right neighbour,
    /// which gives the tree of the RFC.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over `leaves`.
    #[must_use]
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                rest => rest.first().copied().unwrap_or_default(),
            });
            let above = above.collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// Its root; SHA-256 of nothing for a tree without leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or_else(|| Sha256::digest(b"").into())
    }

    /// The hashes that lead from leaf `number` to the root, lowest first; empty for a leaf that is not there.
    #[must_use]
    pub fn path(&self, number: usize) -> Vec<Hash> {
        let mut number = number;
        let mut path = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            path.extend(level.get(number ^ 1).copied());
            number >>= 1;
        }
        path
    }
}

/// A leaf that was found to lead to a root: the nodes on its way up are known to belong to the tree, and so are their
/// siblings. The next leaf of the same tree need only be followed up to where it meets one of them, which for leaves met in
/// order is one node each instead of one a level.
#[derive(Debug, Clone)]
pub struct Way {
    leaves: u64,
    /// Level and number of each node that has a sibling, and its hash.
    steps: Vec<(u32, u64, Hash)>,
    /// Their siblings.
    path: Vec<Hash>,
    root: Hash,
}

/// Moves a node up to the first level on which it has a sibling.
const fn rise(level: &mut u32, number: &mut u64, last: &mut u64) {
    while *number == *last && *number & 1 == 0 && *number != 0 {
        *number >>= 1;
        *last >>= 1;
        *level += 1;
    }
}

impl Way {
    /// Follows leaf `number` of `leaves`, whose hash is `of`, over `path`. `None` as [`root_of`].
    #[must_use]
    pub fn follow(number: u64, leaves: u64, of: Hash, path: &[Hash]) -> Option<Self> {
        if number >= leaves || path.len() > LONGEST_PATH {
            return None;
        }
        let (mut level, mut number, mut last, mut here) = (0, number, leaves - 1, of);
        let mut steps = Vec::with_capacity(path.len());
        for sibling in path {
            rise(&mut level, &mut number, &mut last);
            if last == 0 {
                return None;
            }
            steps.push((level, number, here));
            here = if number & 1 == 1 { node(sibling, &here) } else { node(&here, sibling) };
            (level, number, last) = (level + 1, number >> 1, last >> 1);
        }
        rise(&mut level, &mut number, &mut last);
        (last == 0).then(|| Self { leaves, steps, path: path.to_vec(), root: here })
    }

    /// Where it leads.
    #[must_use]
    pub const fn root(&self) -> &Hash {
        &self.root
    }

    /// Whether leaf `number` of `leaves` leads over `path` to the same root; if so, this becomes the way of that leaf.
    /// Every hash of `path` counts: those that are not hashed are compared.
    pub fn joins(&mut self, number: u64, leaves: u64, of: Hash, path: &[Hash]) -> bool {
        if leaves != self.leaves || number >= leaves || path.len() > LONGEST_PATH {
            return false;
        }
        let (mut level, mut number, mut last, mut here) = (0, number, leaves - 1, of);
        let mut steps = Vec::with_capacity(path.len());
        for (at, sibling) in path.iter().enumerate() {
            rise(&mut level, &mut number, &mut last);
            if last == 0 {
                return false;
            }
            let known = self.steps.iter().position(|(l, n, _)| *l == level && *n | 1 == number | 1);
            if let Some(known) = known
                && let (Some((_, n, own)), Some(other)) = (self.steps.get(known), self.path.get(known))
            {
                let meets = if *n == number { (own, other) } else { (other, own) };
                let above = (path.get(at + 1..), self.path.get(known + 1..));
                if (&here, sibling) != meets || above.0 != above.1 {
                    return false;
                }
                steps.push((level, number, here));
                self.steps.splice(..=known, steps);
                self.path.splice(..=known, path.iter().take(at + 1).copied());
                return true;
            }
            steps.push((level, number, here));
            here = if number & 1 == 1 { node(sibling, &here) } else { node(&here, sibling) };
            (level, number, last) = (level + 1, number >> 1, last >> 1);
        }
        // Two ways meet below the root at the latest; the only leaf of a tree is the root.
        last == 0 && here == self.root
    }
}

/// The root that leaf `number` of `leaves` leads to over `path`; `None` when a path of that length cannot belong to such a
/// leaf (RFC 9162, section 2.1.3.2).
#[must_use]
pub fn root_of(number: u64, leaves: u64, of: Hash, path: &[Hash]) -> Option<Hash> {
    Way::follow(number, leaves, of, path).map(|way| way.root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// Certificate Transparency's own test data (`merkle_tree_test`): eight leaves and the roots of their first n.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hashes(n: usize) -> Vec<Hash> {
        LEAVES[..n].iter().map(|data| leaf(&[&hex::decode(data).unwrap()])).collect()
    }

    #[test]
    fn roots_are_those_of_the_rfcs_test_data() {
        assert_eq!(
            hex::encode(Tree::new(Vec::new()).root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (n, root) in (1..).zip(ROOTS) {
            assert_eq!(hex::encode(Tree::new(hashes(n)).root()), root, "{n} leaves");
        }
    }

    /// The RFC's own definition, by recursion.
    fn plain(leaves: &[Hash]) -> Hash {
        match leaves {
            [one] => *one,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(&plain(&leaves[..split]), &plain(&leaves[split..]))
            }
        }
    }

    #[test]
    fn a_leaf_joins_the_way_of_another_exactly_when_its_path_leads_to_the_root() {
        for n in 1..40_u64 {
            let leaves: Vec<Hash> = (0..n).map(|i| leaf(&[&i.to_le_bytes()])).collect();
            let tree = Tree::new(leaves.clone());
            let path = |i: u64| tree.path(usize::try_from(i).unwrap());
            let of = |i: u64| leaves[usize::try_from(i).unwrap()];
            for first in 0..n {
                let met = Way::follow(first, n, of(first), &path(first)).unwrap();
                // Each from the way of the first alone, and all on one way, in order and in strides.
                let mut on = met.clone();
                for stride in [1, 3] {
                    for i in (0..n).step_by(stride) {
                        assert!(met.clone().joins(i, n, of(i), &path(i)), "{first}, {i} of {n}");
                        assert!(on.joins(i, n, of(i), &path(i)), "{i} of {n}");
                    }
                }
                for i in 0..n {
                    let mut refused = |number, leaves, of, path: &[Hash]| {
                        let before = format!("{on:?}");
                        assert!(!on.joins(number, leaves, of, path), "{i} of {n} behind {first}");
                        assert_eq!(format!("{on:?}"), before, "what is refused leaves no trace");
                    };
                    refused(i, n, [9; 32], &path(i));
                    refused(i, n + 1, of(i), &path(i));
                    refused(n, n, of(i), &path(i));
                    refused(i, n, of(i), &[&path(i)[..], &[[7; 32]]].concat());
                    for bad in 0..path(i).len() {
                        let mut changed = path(i);
                        changed[bad][31] ^= 1;
                        refused(i, n, of(i), &changed);
                    }
                    if n > 1 {
                        refused((i + 1) % n, n, of(i), &path(i));
                        refused(i, n, of(i), &path(i)[1..]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_leaf_of_every_tree_leads_to_its_root_and_no_other_leaf_number_or_size_does() {
        for n in 1..70_u64 {
            let leaves: Vec<Hash> = (0..n).map(|i| leaf(&[&i.to_le_bytes()])).collect();
            let tree = Tree::new(leaves.clone());
            assert_eq!(tree.root(), plain(&leaves), "{n}");
            for (i, of) in (0_u64..).zip(&leaves) {
                let path = tree.path(usize::try_from(i).unwrap());
                assert_eq!(root_of(i, n, *of, &path), Some(tree.root()), "{i} of {n}");
                for other in (0..n).filter(|other| *other != i) {
                    assert_ne!(root_of(other, n, *of, &path), Some(tree.root()), "{i} as {other} of {n}");
                }
                let mut short = path.clone();
                if short.pop().is_some() {
                    assert_ne!(root_of(i, n, *of, &short), Some(tree.root()), "{i} of {n}, cut");
                }
                let mut long = path.clone();
                long.push([7; 32]);
                assert_eq!(root_of(i, n, *of, &long), None, "{i} of {n}, longer");
                for bad in 0..path.len() {
                    let mut path = path.clone();
                    path[bad][9] ^= 1;
                    assert_ne!(root_of(i, n, *of, &path), Some(tree.root()), "{i} of {n}, hash {bad} changed");
                }
            }
        }
        assert_eq!(root_of(0, 0, [0; 32], &[]), None);
        assert_eq!(root_of(5, 5, [0; 32], &[]), None);
    }
}
