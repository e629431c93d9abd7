//! All globs of a snapshot in one table, so that finding those of a topic costs its segments and not their number.

use super::{Glob, Syntax, path};
use crate::compile::FixedState;
use std::collections::{BTreeSet, HashMap};

/// Dotted globs as a tree by segment; path globs by what stands before their first wildcard.
#[derive(Debug, Default)]
pub(crate) struct GlobTable {
    nodes: Vec<Branch>,
    paths: HashMap<Box<str>, Vec<PathGlob>, FixedState>,
    /// Lengths of the keys of `paths`.
    lengths: Vec<usize>,
}

/// A path glob and its id.
type PathGlob = (Box<str>, u32);

#[derive(Debug, Default)]
struct Branch {
    literal: HashMap<Box<str>, u32, FixedState>,
    any: Option<u32>,
    /// The glob that ends here.
    here: Option<u32>,
    /// The glob that ends here with `>`.
    rest: Option<u32>,
}

impl GlobTable {
    /// A glob's id is its place in `globs`, which holds none twice.
    pub(crate) fn build<'g>(globs: impl Iterator<Item = &'g Glob>) -> Self {
        let mut table = Self { nodes: vec![Branch::default()], ..Self::default() };
        for (id, glob) in (0_u32..).zip(globs) {
            match glob.syntax {
                Syntax::Dots => table.insert(glob, id),
                Syntax::Path => {
                    let literal = glob.text.split(['*', '?']).next().unwrap_or_default();
                    table.paths.entry(literal.into()).or_default().push((glob.text.clone(), id));
                }
            }
        }
        let lengths: BTreeSet<usize> = table.paths.keys().map(|literal| literal.len()).collect();
        table.lengths = lengths.into_iter().collect();
        table
    }

    fn insert(&mut self, glob: &Glob, id: u32) {
        let mut at = 0_u32;
        for segment in glob.text.split('.') {
            let fresh = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let Some(branch) = self.nodes.get_mut(at as usize) else { return };
            let next = match segment {
                ">" => {
                    branch.rest = Some(id);
                    return;
                }
                "*" => *branch.any.get_or_insert(fresh),
                name => *branch.literal.entry(name.into()).or_insert(fresh),
            };
            if next == fresh {
                self.nodes.push(Branch::default());
            }
            at = next;
        }
        if let Some(branch) = self.nodes.get_mut(at as usize) {
            branch.here = Some(id);
        }
    }

    /// Calls `found` once with the id of every glob that stands for the topic.
    pub(crate) fn find(&self, topic: &str, found: &mut impl FnMut(u32)) {
        self.descend(0, Some(topic), found);
        for &length in &self.lengths {
            let Some(literal) = topic.get(..length) else { continue };
            for (glob, id) in self.paths.get(literal).into_iter().flatten() {
                if path::matches(glob, topic) {
                    found(*id);
                }
            }
        }
    }

    // Recursion is as deep as the longest glob, at most MAX_SEGMENTS.
    fn descend(&self, at: u32, rest: Option<&str>, found: &mut impl FnMut(u32)) {
        let Some(branch) = self.nodes.get(at as usize) else { return };
        let Some(rest) = rest else {
            branch.here.into_iter().for_each(found);
            return;
        };
        if let Some(id) = branch.rest {
            found(id);
        }
        let (segment, after) = match rest.split_once('.') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let Some(&next) = branch.literal.get(segment) {
            self.descend(next, after, found);
        }
        if let Some(next) = branch.any {
            self.descend(next, after, found);
        }
    }
}
