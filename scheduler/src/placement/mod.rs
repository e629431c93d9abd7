//! Placement as a problem of its own: classes of jobs on one side, workers with room on the other. `README.md` beside this file
//! states problem and solution, and what they cost.
//!
//! Classes are interned needs, kinds interned offers; which kind serves which class is computed once, when either is met first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use tidegate_protocol::ids::{Capability, TenantId, WorkerId};
use tidegate_protocol::selector::{Selector, Wanted};

use crate::ready::Rank;
use crate::work::Requirement;

/// An interned requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(pub(crate) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct KindId(u64);

/// Where every worker has capabilities of its own, the least loaded of this many kinds is taken, in turn.
const KINDS_LOOKED_AT: usize = 64;

/// Empty classes are kept for their next job up to this many, or so.
const CLASSES_KEPT: usize = 64;

/// [`CLASSES_KEPT`], or fewer in tests.
#[derive(Debug)]
pub(crate) struct ClassesKept(pub(crate) usize);

impl Default for ClassesKept {
    fn default() -> Self {
        Self(CLASSES_KEPT)
    }
}

/// Most tenants that are apart; a worker gets nothing of a further one.
const MOST_APART: usize = 10_000;

/// What a worker offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Can {
    /// Sorted, each once.
    pub(crate) capabilities: Arc<[Capability]>,
    /// The tenants whose jobs it takes; `None` for all.
    pub(crate) tenants: Option<Arc<[TenantId]>>,
    /// It takes jobs that others spawned, and no other: its free slots are of jobs that wait for such.
    pub(crate) children: bool,
    /// What jobs may ask of it beside capabilities.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
}

impl Can {
    /// The same of jobs that others spawned alone.
    pub(crate) fn for_children(&self) -> Self {
        Self { children: true, ..self.clone() }
    }

    /// Whether such a worker may have jobs of the class, its slots being its own or lent to children just now.
    fn serves(&self, class: &ClassName) -> bool {
        let has = |needed| self.capabilities.binary_search(needed).is_ok();
        let takes = |tenants: &Arc<[TenantId]>| class.tenant.as_ref().is_some_and(|tenant| tenants.contains(tenant));
        self.tenants.as_ref().is_none_or(takes)
            && class.requirement.iter().all(has)
            && class.wish.as_ref().is_none_or(|wish| wish.select.holds(&self.labels))
    }

    /// Whether its free slots are for the class, when it serves it.
    fn has_slots_for(&self, class: &ClassName) -> bool {
        class.child || !self.children
    }

    /// Whether jobs of the class want such a worker more than others.
    fn pleases(&self, class: &ClassName) -> bool {
        class.wish.as_ref().is_some_and(|wish| !wish.prefer.is_empty() && wish.prefer.holds(&self.labels))
    }
}

/// How full a worker is; lower is chosen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    /// In flight over capacity by the shard's own count, or what the worker reports where that is more; in 65,536ths.
    pub(crate) share: u64,
    /// Number of the pool's grant that it got last.
    pub(crate) last_grant: u64,
}

/// What a job says of its worker's labels.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wish {
    /// They must hold.
    pub(crate) select: Selector,
    /// They had better hold.
    pub(crate) prefer: Selector,
}

/// What a job needs of its worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need<'a> {
    /// Sorted, each once.
    pub(crate) requirement: &'a Requirement,
    pub(crate) tenant: &'a TenantId,
    /// Another job spawned it.
    pub(crate) child: bool,
    pub(crate) wish: Option<&'a Arc<Wish>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ClassName {
    requirement: Requirement,
    /// Of one that is apart.
    tenant: Option<TenantId>,
    child: bool,
    wish: Option<Arc<Wish>>,
}

#[derive(Debug)]
struct Class {
    name: ClassName,
    head: Option<Rank>,
    /// It has jobs, though none may be its head just now.
    busy: bool,
    kinds: BTreeSet<KindId>,
    /// Those of `kinds` with a free worker whose slots are for it.
    open: BTreeSet<KindId>,
    /// Those of `open` that the jobs want more than others.
    pleasing: BTreeSet<KindId>,
}

#[derive(Debug)]
struct Kind {
    can: Can,
    classes: BTreeSet<ClassId>,
    workers: usize,
    free: BTreeSet<(Load, WorkerId)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    classes: BTreeMap<ClassId, Class>,
    class_of: BTreeMap<ClassName, ClassId>,
    kinds: BTreeMap<KindId, Kind>,
    kind_of: BTreeMap<Can, KindId>,
    workers: BTreeMap<WorkerId, (KindId, Option<Load>)>,
    /// Classes with a ready job and a free worker that serves them.
    placeable: BTreeSet<(Rank, ClassId)>,
    next_id: u64,
    classes_before_purge: usize,
    pub(crate) classes_kept: ClassesKept,
    last_kind: Option<KindId>,
    free_workers: usize,
    /// Kinds by label and value.
    labelled: BTreeMap<String, BTreeMap<String, BTreeSet<KindId>>>,
    newly_served: Vec<ClassId>,
    newly_unserved: Vec<ClassId>,
    apart: BTreeSet<TenantId>,
    newly_apart: Vec<TenantId>,
}

impl Placement {
    /// The class of jobs with that need, when it was met before and is kept.
    pub(crate) fn known(&self, need: Need<'_>) -> Option<ClassId> {
        self.class_of.get(&self.name(need)).copied()
    }

    fn name(&self, Need { requirement, tenant, child, wish }: Need<'_>) -> ClassName {
        let tenant = self.apart.get(tenant).cloned();
        ClassName { requirement: requirement.clone(), tenant, child, wish: wish.cloned() }
    }

    /// The class of jobs with that need.
    pub(crate) fn class(&mut self, need: Need<'_>) -> ClassId {
        let name = self.name(need);
        if let Some(id) = self.class_of.get(&name) {
            return *id;
        }
        if self.classes.len() >= self.classes_before_purge.max(self.classes_kept.0) {
            self.purge();
        }
        let id = ClassId(self.fresh_id());
        let (mut kinds, mut open, mut pleasing) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for kind_id in self.candidates(&name) {
            let Some(kind) = self.kinds.get_mut(&kind_id).filter(|kind| kind.can.serves(&name)) else { continue };
            kind.classes.insert(id);
            kinds.insert(kind_id);
            if !kind.free.is_empty() && kind.can.has_slots_for(&name) {
                open.insert(kind_id);
                if kind.can.pleases(&name) {
                    pleasing.insert(kind_id);
                }
            }
        }
        self.class_of.insert(name.clone(), id);
        self.classes.insert(id, Class { name, head: None, busy: false, kinds, open, pleasing });
        id
    }

    /// The kinds that may serve a class: those with the rarest label that it wants to be there; all when it wants none.
    fn candidates(&self, class: &ClassName) -> Vec<KindId> {
        let select = class.wish.as_ref().map(|wish| &wish.select);
        let with = |(label, wanted): (&str, &Wanted)| -> Option<Vec<&BTreeSet<KindId>>> {
            let values = self.labelled.get(label);
            let of = |value: &str| values.and_then(|values| values.get(value));
            match wanted {
                Wanted::Is(value) => Some(of(value).into_iter().collect()),
                Wanted::In(several) => Some(several.iter().filter_map(|value| of(value)).collect()),
                Wanted::There(true) => Some(values.into_iter().flat_map(BTreeMap::values).collect()),
                Wanted::There(false) => None,
            }
        };
        let rarest = select.into_iter().flat_map(Selector::terms).filter_map(with);
        match rarest.min_by_key(|sets| sets.iter().map(|set| set.len()).sum::<usize>()) {
            Some(sets) => sets.into_iter().flatten().copied().collect(),
            None => self.kinds.keys().copied().collect(),
        }
    }

    /// What jobs of a class need.
    pub(crate) fn requirement(&self, id: ClassId) -> &[Capability] {
        self.classes.get(&id).map_or(&[], |class| &class.name.requirement)
    }

    /// Whether a worker that is known serves a class, free or not, its slots lent to children or not.
    pub(crate) fn is_served(&self, id: ClassId) -> bool {
        self.classes.get(&id).is_some_and(|class| !class.kinds.is_empty())
    }

    /// Classes with a wish that nobody served and somebody does since the last call, and the reverse.
    pub(crate) fn take_served(&mut self) -> (Vec<ClassId>, Vec<ClassId>) {
        (std::mem::take(&mut self.newly_served), std::mem::take(&mut self.newly_unserved))
    }

    /// Tells the rank of a class's first job that may be leased, and whether it has any job at all.
    pub(crate) fn set_head(&mut self, id: ClassId, head: Option<Rank>, busy: bool) {
        let Some(class) = self.classes.get_mut(&id) else { return };
        class.busy = busy;
        if class.head == head {
            return;
        }
        if let Some(before) = class.head {
            self.placeable.remove(&(before, id));
        }
        class.head = head;
        if let Some(head) = head
            && !class.open.is_empty()
        {
            self.placeable.insert((head, id));
        }
    }

    /// Tells what a worker offers, and its load when it has room. Look at [`Self::take_newly_apart`] and
    /// [`Self::take_served`] afterwards, of whoever leaves too.
    pub(crate) fn set_worker(&mut self, worker: &WorkerId, can: &Can, load: Option<Load>) {
        let known = self.workers.get(worker).copied();
        if let Some((kind, before)) = known
            && self.kinds.get(&kind).is_some_and(|kind| kind.can == *can)
        {
            if before != load {
                self.set_load(worker, kind, before, load);
            }
            return;
        }
        // First what it serves, then what it served: a class that is of both has somebody all the time.
        let kind = self.kind(can);
        self.remove_worker(worker);
        if let Some(kind) = self.kinds.get_mut(&kind) {
            kind.workers += 1;
        }
        self.workers.insert(worker.clone(), (kind, None));
        self.set_load(worker, kind, None, load);
    }

    /// Forgets a worker.
    pub(crate) fn remove_worker(&mut self, worker: &WorkerId) {
        let Some((id, before)) = self.workers.get(worker).copied() else { return };
        self.set_load(worker, id, before, None);
        self.workers.remove(worker);
        let Some(kind) = self.kinds.get_mut(&id) else { return };
        kind.workers -= 1;
        if kind.workers == 0
            && let Some(kind) = self.kinds.remove(&id)
        {
            self.kind_of.remove(&kind.can);
            for (label, value) in kind.can.labels.iter() {
                let Some(values) = self.labelled.get_mut(label) else { continue };
                if let Some(kinds) = values.get_mut(value) {
                    kinds.remove(&id);
                    if kinds.is_empty() {
                        values.remove(value);
                    }
                }
                if values.is_empty() {
                    self.labelled.remove(label);
                }
            }
            for class_id in &kind.classes {
                let Some(class) = self.classes.get_mut(class_id) else { continue };
                class.kinds.remove(&id);
                if class.kinds.is_empty() && class.busy && class.name.wish.is_some() {
                    self.newly_unserved.push(*class_id);
                }
            }
        }
    }

    /// Tenants that are apart since the last call: their ready jobs are to be put into the classes they have now.
    pub(crate) fn take_newly_apart(&mut self) -> Vec<TenantId> {
        std::mem::take(&mut self.newly_apart)
    }

    /// The solution: which class's first job goes to which worker.
    pub(crate) fn best(&self) -> Option<(ClassId, &WorkerId)> {
        let (_, id) = self.placeable.first()?;
        let class = self.classes.get(id)?;
        let open = if class.pleasing.is_empty() { &class.open } else { &class.pleasing };
        let behind = self.last_kind.map_or(Bound::Unbounded, Bound::Excluded);
        let ahead = self.last_kind.map_or(Bound::Unbounded, Bound::Included);
        let in_turn = open.range((behind, Bound::Unbounded)).chain(open.range((Bound::Unbounded, ahead)));
        let (_, worker) = in_turn.take(KINDS_LOOKED_AT).filter_map(|kind| self.kinds.get(kind)?.free.first()).min()?;
        Some((*id, worker))
    }

    /// A worker was given a job: the next search begins behind its kind.
    pub(crate) fn granted(&mut self, worker: &WorkerId) {
        self.last_kind = self.workers.get(worker).map(|(kind, _)| *kind);
    }

    /// Workers with room for any job.
    pub(crate) fn free_workers(&self) -> usize {
        self.free_workers
    }

    #[cfg(test)]
    pub(crate) fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Classes that are touched when some worker fills up or gets room.
    #[cfg(test)]
    pub(crate) fn classes_linked(&self) -> usize {
        self.classes.values().filter(|class| !class.kinds.is_empty()).count()
    }

    fn set_load(&mut self, worker: &WorkerId, id: KindId, before: Option<Load>, load: Option<Load>) {
        let Some(kind) = self.kinds.get_mut(&id) else { return };
        let was_open = !kind.free.is_empty();
        if let Some(before) = before {
            kind.free.remove(&(before, worker.clone()));
            self.free_workers -= usize::from(!kind.can.children);
        }
        if let Some(load) = load {
            kind.free.insert((load, worker.clone()));
            self.free_workers += usize::from(!kind.can.children);
        }
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.1 = load;
        }
        let is_open = !kind.free.is_empty();
        if was_open == is_open {
            return;
        }
        for class_id in &kind.classes {
            let Some(class) = self.classes.get_mut(class_id) else { continue };
            if is_open && !kind.can.has_slots_for(&class.name) {
                continue;
            }
            if is_open {
                class.open.insert(id);
                if kind.can.pleases(&class.name) {
                    class.pleasing.insert(id);
                }
            } else {
                class.open.remove(&id);
                class.pleasing.remove(&id);
            }
            if let Some(head) = class.head {
                if class.open.is_empty() {
                    self.placeable.remove(&(head, *class_id));
                } else {
                    self.placeable.insert((head, *class_id));
                }
            }
        }
    }

    fn kind(&mut self, can: &Can) -> KindId {
        if let Some(id) = self.kind_of.get(can) {
            return *id;
        }
        for tenant in can.tenants.iter().flat_map(|all| all.iter()) {
            if self.apart.len() < MOST_APART && self.apart.insert(tenant.clone()) {
                self.newly_apart.push(tenant.clone());
            }
        }
        let id = KindId(self.fresh_id());
        let mut classes = BTreeSet::new();
        for (label, value) in can.labels.iter() {
            self.labelled.entry(label.clone()).or_default().entry(value.clone()).or_default().insert(id);
        }
        for (class_id, class) in &mut self.classes {
            if can.serves(&class.name) {
                if class.kinds.is_empty() && class.busy && class.name.wish.is_some() {
                    self.newly_served.push(*class_id);
                }
                class.kinds.insert(id);
                classes.insert(*class_id);
            }
        }
        self.kind_of.insert(can.clone(), id);
        self.kinds.insert(id, Kind { can: can.clone(), classes, workers: 0, free: BTreeSet::new() });
        id
    }

    /// Drops classes without a job.
    pub(crate) fn purge(&mut self) {
        let empty: Vec<ClassId> = self.classes.iter().filter(|(_, c)| !c.busy).map(|(id, _)| *id).collect();
        for id in empty {
            if let Some(class) = self.classes.remove(&id) {
                self.class_of.remove(&class.name);
                for kind in class.kinds {
                    if let Some(kind) = self.kinds.get_mut(&kind) {
                        kind.classes.remove(&id);
                    }
                }
            }
        }
        // Not in proportion: idle ones are touched like others.
        self.classes_before_purge = self.classes.len() + self.classes_kept.0;
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

#[cfg(test)]
mod tests;
