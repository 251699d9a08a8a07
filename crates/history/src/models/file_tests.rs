//! Export and import: what leaves comes back, and what is damaged or foreign does not come in.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::script::{at, body, by, described};
use super::{ModelFileError, ModelId, ModelRefusal, ModelState, Promotion};
use crate::error::HistoryError;
use crate::store::Store;

/// An exported model, made once.
fn exported() -> &'static [u8] {
    static EXPORTED: OnceLock<Vec<u8>> = OnceLock::new();
    EXPORTED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let id = store.models().add(at(1), &by(), &described("web", "gbdt"), &body(1)).unwrap().record.id;
        store.models().promote(at(2), &by(), id, Promotion::Forced).unwrap();
        store.models().export(id).unwrap()
    })
}

fn refused(content: &[u8]) -> ModelFileError {
    match super::file::read(content) {
        Ok(_) => panic!("taken in"),
        Err(error) => error,
    }
}

#[test]
fn an_exported_champion_comes_back_as_a_challenger_with_its_provenance() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // Another repository, in which the numbers mean something else.
    store.models().add(at(1), &by(), &described("other", "lstm"), &body(2)).unwrap();
    let taken = store.models().import(at(5), &by(), exported(), None).unwrap().record;
    assert_eq!((taken.id, taken.imported_from), (ModelId::new(2), Some(ModelId::new(1))));
    assert_eq!((taken.state, taken.replaced, taken.described.parent), (ModelState::Challenger, None, None));
    assert_eq!(taken.described, described("web", "gbdt"));
    assert_eq!(taken.why, "imported: nightly");
    assert_eq!(store.models().body(taken.id).unwrap().1, body(1));
    assert_eq!(store.models().champion("web", "gbdt").unwrap(), None);
    let again = store.models().import(at(6), &by(), exported(), None).unwrap_err();
    assert!(matches!(again, HistoryError::Model(ModelRefusal::AlreadyHere { id }) if id == taken.id));
    let elsewhere = store.models().import(at(6), &by(), exported(), Some("api")).unwrap().record;
    assert_eq!(elsewhere.workload(), "api");
}

#[test]
fn each_kind_of_wrong_file_is_named() {
    let good = exported();
    assert_eq!(refused(b""), ModelFileError::Foreign);
    assert_eq!(refused(b"timestamp,value\n0,1\n"), ModelFileError::Foreign);
    assert_eq!(refused(b"\x89PNG\r\n\x1a\nsomething"), ModelFileError::Foreign);
    let as_text: Vec<u8> = good.iter().copied().filter(|byte| *byte != b'\r').collect();
    assert_eq!(refused(&as_text), ModelFileError::AsText);
    let mut newer = good.to_vec();
    newer[8] = 9;
    assert_eq!(refused(&newer), ModelFileError::Format { found: 9 });
    assert!(matches!(refused(&good[..20]), ModelFileError::Truncated { found: 20, .. }));
    let expected = good.len() as u64;
    assert_eq!(refused(&good[..good.len() - 1]), ModelFileError::Truncated { found: expected - 1, expected });
    let longer = [good, b"xx"].concat();
    assert_eq!(refused(&longer), ModelFileError::Excess { extra: 2 });
    let mut flipped = good.to_vec();
    flipped[good.len() / 2] ^= 1;
    assert_eq!(refused(&flipped), ModelFileError::Damaged);
}

#[test]
fn a_refused_file_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = store.models().import(at(1), &by(), &exported()[..100], None).unwrap_err();
    assert!(error.to_string().contains("cut off: it has 100 bytes"), "{error}");
    assert_eq!((store.stats().unwrap().models, store.stats().unwrap().events), (0, 0));
}

proptest! {
    #[test]
    fn no_changed_file_is_taken_in_and_none_panics(
        at in any::<prop::sample::Index>(), mask in 1..=255u8, cut in any::<prop::sample::Index>(),
    ) {
        let good = exported();
        let mut flipped = good.to_vec();
        flipped[at.index(good.len())] ^= mask;
        prop_assert!(super::file::read(&flipped).is_err());
        prop_assert!(super::file::read(&good[..cut.index(good.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_checksum_never_panic(described in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut content = exported()[..20].to_vec();
        content.extend_from_slice(&(described.len() as u32).to_le_bytes());
        content.extend_from_slice(&0u64.to_le_bytes());
        content.extend_from_slice(&described);
        let checksum = super::Fingerprint::of(&content).0;
        content.extend_from_slice(&checksum);
        prop_assert!(super::file::read(&content).is_err());
    }
}
