//! What sessions ask for, by type and together.

use super::allocator::Allocator;

/// Sessions of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeDemand {
    /// The name of the type.
    pub name: String,
    /// Its priority class.
    pub class: u8,
    /// Sessions that have a place.
    pub held: u64,
    /// Sessions that wait for one.
    pub waiting: u64,
    /// What they all ask for, in instances.
    pub demand: f64,
}

impl Allocator {
    /// Sessions of each type with what they ask for, in the order of the policy. A series of these by type can be
    /// forecast on its own; the forecasts add up, as demands do.
    pub fn by_type(&self) -> Vec<TypeDemand> {
        let types = &self.policy().types;
        let mut waiting = vec![0u64; types.len()];
        for kind in self.waiting_kinds() {
            waiting[kind] += 1;
        }
        let held = self.held_by_type();
        let each = types.iter().zip(held).zip(waiting);
        each.map(|((t, &held), waiting)| TypeDemand {
            name: t.name.clone(),
            class: t.class,
            held,
            waiting,
            demand: (held + waiting) as f64 * t.weight,
        })
        .collect()
    }

    /// What all sessions ask for, those that wait included, in instances.
    pub fn demand(&self) -> f64 {
        self.by_type().iter().map(|t| t.demand).sum()
    }

    /// What is to be served, in instances: all sessions, and the room that is kept free for higher classes. Where some
    /// wait, what may get sessions is not enough, however it is filled: then it is so much more than that.
    pub fn wanted(&self) -> f64 {
        let each = self.by_type();
        let all: f64 = each.iter().map(|t| t.demand).sum();
        let types = self.policy().types.iter().zip(&each);
        let waiting: f64 = types.map(|(t, now)| now.waiting as f64 * t.weight).sum();
        let all = all + self.policy().reserve();
        if waiting > 0.0 { all.max(self.open_hosts() as f64 + waiting) } else { all }
    }
}
