//! What sharing promises, first in examples, then for any supply and any claims.

use proptest::prelude::*;

use super::*;

fn cores(n: u64) -> Resources {
    Resources { millicores: n * 1000, memory: 1 << 40 }
}

fn supply(n: u64, weights: &[f64]) -> Supply {
    Supply { size: cores(n), tenants: weights.iter().map(|w| Tenant { weight: *w, quota: None }).collect() }
}

fn claim(workload: usize, tenant: usize, class: u8, minimum: u32, active: u32, standby: u32) -> Claim {
    let needs = Resources { millicores: 1000, memory: 1 << 20 };
    Claim { workload, tenant, class, needs, minimum, active, standby }
}

fn counts(grants: &[Grant]) -> Vec<(u32, u32)> {
    grants.iter().map(|g| (g.active, g.standby)).collect()
}

#[test]
fn a_lower_class_loses_standby_before_active_and_never_its_minimum() {
    let low = claim(0, 0, 10, 2, 4, 3);
    let shared = |high: u32| grant(&supply(12, &[1.0]), &[low, claim(1, 0, 200, 1, high, 0)]);
    assert_eq!(counts(&shared(5)), [(4, 3), (5, 0)]);
    assert_eq!(counts(&shared(7)), [(4, 1), (7, 0)]);
    assert_eq!(counts(&shared(9)), [(3, 0), (9, 0)]);
    assert_eq!(counts(&shared(40)), [(2, 0), (10, 0)]);
    let refused = shared(9)[0].refused.unwrap();
    assert_eq!((refused.cause, refused.sake), (Cause::Priority, Some(1)));
    let refused = shared(40)[1].refused.unwrap();
    assert_eq!((refused.cause, refused.sake), (Cause::Supply, None), "minimums are nobody's gain");
}

#[test]
fn inside_a_class_tenants_get_by_weight_and_what_one_leaves_goes_to_the_others() {
    let claims = [claim(0, 0, 1, 0, 50, 0), claim(1, 1, 1, 0, 50, 0), claim(2, 1, 1, 0, 50, 0)];
    let shared = grant(&supply(12, &[1.0, 2.0]), &claims);
    assert_eq!(counts(&shared), [(4, 0), (4, 0), (4, 0)]);
    assert_eq!(shared[0].refused.unwrap().cause, Cause::Share);
    let modest = [Claim { active: 1, ..claims[0] }, claims[1], claims[2]];
    assert_eq!(counts(&grant(&supply(12, &[1.0, 2.0]), &modest)), [(1, 0), (6, 0), (5, 0)]);
}

#[test]
fn shares_are_counted_by_the_scarcer_resource() {
    // One asks for much memory, the other for many cores: each gets as large a share of what it needs most.
    let size = Resources { millicores: 9_000, memory: 18 };
    let tenants = vec![Tenant { weight: 1.0, quota: None }; 2];
    let mut claims = [claim(0, 0, 1, 0, 99, 0), claim(1, 1, 1, 0, 99, 0)];
    claims[0].needs = Resources { millicores: 1_000, memory: 4 };
    claims[1].needs = Resources { millicores: 3_000, memory: 1 };
    assert_eq!(counts(&grant(&Supply { size, tenants }, &claims)), [(3, 0), (2, 0)]);
}

#[test]
fn a_quota_binds_whatever_is_free() {
    let mut supply = supply(12, &[1.0]);
    supply.tenants[0].quota = Some(cores(3));
    let shared = grant(&supply, &[claim(0, 0, 1, 1, 5, 2)]);
    assert_eq!(counts(&shared), [(3, 0)]);
    assert_eq!(shared[0].refused.unwrap().cause, Cause::Quota);
}

const TENANTS: usize = 3;

fn any_claims(equal: bool) -> impl Strategy<Value = Vec<Claim>> {
    let size = (1u64..5, 1u64..5).prop_map(move |(millicores, memory)| match equal {
        true => Resources { millicores: 1, memory: 1 },
        false => Resources { millicores, memory },
    });
    let one = (0..TENANTS, 0u8..3, size, 0u32..3, 0u32..8, 0u32..4);
    prop::collection::vec(one, 1..12).prop_map(|drawn| {
        let numbered = drawn.into_iter().enumerate();
        let claim = |(workload, (tenant, class, needs, minimum, more, standby)): (usize, _)| {
            let active: u32 = minimum + more;
            Claim { workload, tenant, class, needs, minimum, active, standby }
        };
        numbered.map(claim).collect()
    })
}

fn any_supply() -> impl Strategy<Value = Supply> {
    let quota = prop::option::weighted(0.3, (1u64..60, 1u64..60));
    let tenant = (0.25f64..4.0, quota).prop_map(|(weight, quota)| Tenant {
        weight,
        quota: quota.map(|(millicores, memory)| Resources { millicores, memory }),
    });
    (0u64..120, 0u64..120, prop::collection::vec(tenant, TENANTS))
        .prop_map(|(millicores, memory, tenants)| Supply { size: Resources { millicores, memory }, tenants })
}

fn sum<'a>(of: impl Iterator<Item = (&'a Claim, u32)>) -> Resources {
    of.fold(Resources::NONE, |sum, (claim, count)| sum.plus(claim.needs.times(count)))
}

fn minimum(claim: &Claim, grant: &Grant) -> u32 {
    claim.minimum.min(grant.active)
}

fn of_tenant(claims: &[Claim], grants: &[Grant], tenant: usize) -> Resources {
    let own = claims.iter().zip(grants).filter(|(claim, _)| claim.tenant == tenant);
    sum(own.map(|(claim, grant)| (claim, grant.total())))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn never_more_than_there_is_or_was_asked_for(supply in any_supply(), claims in any_claims(false)) {
        let grants = grant(&supply, &claims);
        prop_assert!(sum(claims.iter().zip(&grants).map(|(c, g)| (c, g.total()))).fits(supply.size));
        for (at, tenant) in supply.tenants.iter().enumerate() {
            let used = of_tenant(&claims, &grants, at);
            prop_assert!(tenant.quota.is_none_or(|quota| used.fits(quota)), "{used:?} of {tenant:?}");
        }
        for (claim, grant) in claims.iter().zip(&grants) {
            prop_assert!(grant.active <= claim.active && grant.standby <= claim.standby);
            let all = (grant.active, grant.standby) == (claim.active, claim.standby);
            prop_assert_eq!(grant.refused.is_none(), all, "what is refused has a cause");
        }
    }

    #[test]
    fn minimums_come_first(supply in any_supply(), claims in any_claims(false)) {
        let grants = grant(&supply, &claims);
        // A minimum that has no room is short by what other minimums take, not by anybody's wishes.
        let minimums = sum(claims.iter().zip(&grants).map(|(c, g)| (c, minimum(c, g))));
        let room = supply.size.minus(minimums);
        for (claim, grant) in claims.iter().zip(&grants).filter(|(c, g)| g.active < c.minimum) {
            let own = claims.iter().zip(&grants).filter(|(c, _)| c.tenant == claim.tenant);
            let used = sum(own.map(|(c, g)| (c, minimum(c, g)))).plus(claim.needs);
            let bound = supply.tenants[claim.tenant].quota.is_some_and(|quota| !used.fits(quota));
            prop_assert!(bound || !claim.needs.fits(room), "{claim:?} got {grant:?} of {room:?}");
        }
    }

    #[test]
    fn nothing_is_left_that_somebody_could_use(supply in any_supply(), claims in any_claims(false)) {
        let grants = grant(&supply, &claims);
        let room = supply.size.minus(sum(claims.iter().zip(&grants).map(|(c, g)| (c, g.total()))));
        for (claim, grant) in claims.iter().zip(&grants) {
            let used = of_tenant(&claims, &grants, claim.tenant).plus(claim.needs);
            let bound = supply.tenants[claim.tenant].quota.is_some_and(|quota| !used.fits(quota));
            let all = grant.total() == claim.active + claim.standby;
            prop_assert!(all || bound || !claim.needs.fits(room), "{claim:?} got {grant:?} with {room:?} left");
        }
    }

    #[test]
    fn no_class_is_short_while_a_lower_one_has_more_than_its_minimum(
        supply in any_supply(), claims in any_claims(false),
    ) {
        let grants = grant(&supply, &claims);
        let room = supply.size.minus(sum(claims.iter().zip(&grants).map(|(c, g)| (c, g.total()))));
        for (claim, granted) in claims.iter().zip(&grants) {
            if granted.active == claim.active || granted.refused.is_some_and(|r| r.cause == Cause::Quota) {
                continue;
            }
            // All that is below, and everybody's standbys.
            let below = claims.iter().zip(&grants).map(|(c, g)| {
                let active = if c.class < claim.class { g.active - minimum(c, g) } else { 0 };
                (c, active + g.standby)
            });
            let taken = room.plus(sum(below));
            let quota = supply.tenants[claim.tenant].quota;
            let bound = quota.is_some_and(|quota| !claim.needs.times(granted.active + 1).fits(quota));
            prop_assert!(bound || !claim.needs.fits(taken), "{claim:?} got {granted:?}, {taken:?} is below it");
        }
    }

    #[test]
    fn more_weight_never_gets_less(
        mut supply in any_supply(), claims in any_claims(true), tenant in 0..TENANTS, factor in 1.0f64..8.0,
    ) {
        let before = of_tenant(&claims, &grant(&supply, &claims), tenant);
        supply.tenants[tenant].weight *= factor;
        let after = of_tenant(&claims, &grant(&supply, &claims), tenant);
        prop_assert!(before.fits(after), "{before:?} became {after:?}");
    }

    #[test]
    fn the_order_of_the_claims_does_not_matter(
        supply in any_supply(), claims in any_claims(false), turn in 0usize..12, swap in any::<bool>(),
    ) {
        let mut other = claims.clone();
        other.rotate_left(turn % claims.len());
        if swap {
            other.reverse();
        }
        let by_number = |claims: &[Claim]| {
            let grants = grant(&supply, claims);
            let pairs = claims.iter().zip(grants).map(|(c, g)| (c.workload, g));
            pairs.collect::<BTreeMap<usize, Grant>>()
        };
        prop_assert_eq!(by_number(&claims), by_number(&other));
    }

    #[test]
    fn equal_tenants_of_one_class_differ_by_one_instance_at_most(
        n in 0u64..40, active in 10u32..30, standby in 0u32..5,
    ) {
        let claims: Vec<Claim> = (0..TENANTS).map(|at| claim(at, at, 1, 0, active, standby)).collect();
        let got: Vec<u32> =
            grant(&supply(n, &[1.0; TENANTS]), &claims).iter().map(|g| g.total()).collect();
        prop_assert!(got.iter().max().unwrap() - got.iter().min().unwrap() <= 1, "{got:?}");
    }
}
