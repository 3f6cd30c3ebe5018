//! What the patterns of one tree may cost: whoever writes into a tree writes its ignore files, and each takes memory for as
//! long as it stands.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What all patterns of a tree may cost: some 60,000 ordinary lines. Compiled they take 64 MiB at most, by measurement.
const COST_MAX: usize = 8 << 20;
/// What a line costs beside its bytes, and each of its wildcards: an automaton has states for them.
const STEP_COST: usize = 64;

/// What is left of the costs of a tree. Shared by all that compile for it.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A part of a budget, given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Spent {
    cost: usize,
    of: Option<Budget>,
}

impl Budget {
    /// Nothing is spent.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(COST_MAX)))
    }

    /// Nothing is spent yet by this one.
    pub(super) fn begin(&self) -> Spent {
        Spent { cost: 0, of: Some(self.clone()) }
    }
}

impl Spent {
    /// Takes what a line costs; `false` where that is more than is left.
    pub(super) fn spend(&mut self, line: &[u8]) -> bool {
        let Some(Budget(left)) = &self.of else { return true };
        let cost = cost(line);
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost)).is_ok();
        if taken {
            self.cost += cost;
        }
        taken
    }
}

/// What a line costs.
pub(super) fn cost(line: &[u8]) -> usize {
    let wildcards = line.iter().filter(|byte| matches!(byte, b'*' | b'?' | b'[')).count();
    STEP_COST * (1 + wildcards) + line.len()
}

impl Drop for Spent {
    fn drop(&mut self) {
        if let Some(Budget(left)) = &self.of {
            left.fetch_add(self.cost, Ordering::Relaxed);
        }
    }
}
